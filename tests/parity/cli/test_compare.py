"""`parity compare`: the answer first, an exit code, JSON, a folder with the page; mistakes in one message."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import parity
from parity.cli.main import main
from pipelines.media.video import Frames
from tests.support.clips import animation, folder, shapes
from tests.support.paths import ROOT
from tests.support.report_cases import Page


@pytest.fixture(scope="module")
def source() -> Frames:
    return shapes()


@pytest.fixture(scope="module")
def pair(source: Frames, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A, and B one frame late."""
    place = tmp_path_factory.mktemp("pair")
    late = np.concatenate([source[:1], source[:-1]])
    return str(animation(place / "a.webp", source)), str(folder(place / "b", late))


def test_the_answer_comes_first(pair: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *pair]) == 1
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith("B is A, one frame late: its frames 1 to 8 are frames 0 to 7 of A; the rest is re-enc")
    assert lines[3].split() == ["A", pair[0], "webp", "9", "96x64", "16.13"]
    assert any(line.split()[:1] == ["PSNR"] for line in lines)
    assert "  note: the frame rates were not compared: a folder or a still has none" in lines
    assert err == ""


def test_the_same_video_exits_with_0(source: Frames, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = animation(tmp_path / "a.png", source), folder(tmp_path / "b", source)
    assert main(["compare", str(a), str(b)]) == 0
    assert capsys.readouterr().out.startswith("Identical, bit for bit: 9 frames of 96x64.\n")


def test_json_and_folder_hold_the_same(
    pair: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["compare", *pair, "--out", str(out), "--json"]) == 1
    printed, said = capsys.readouterr()
    found = json.loads(printed)
    assert found == json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    assert (found["schema_version"], found["outcome"], found["findings"][0]["change"]) == (1, "altered", "offset")
    assert found["pairs"] == [[number, number + 1] for number in range(8)]
    assert len(found["metrics"]["psnr"]["per_frame"]) == 8
    assert said.splitlines() == [str(out / "comparison.json"), str(out / "report.html")]
    page = Page((out / "report.html").read_text(encoding="utf-8"))
    assert found["sentence"] in page.text
    assert len(page.json("stills-0")["preview"]) == len(page.json("stills-0")["output"]) == 8
    assert "Cases" not in page.text
    assert "recipe" not in page.text.lower()


def test_python_gives_the_same(pair: tuple[str, str], tmp_path: Path) -> None:
    found = parity.compare(*pair, out=tmp_path / "out")
    assert isinstance(found, parity.PairResult)
    assert (found.same, found.exit_code) == (False, 1)
    kept = json.loads((tmp_path / "out" / "comparison.json").read_text(encoding="utf-8"))
    assert kept["sentence"] == found.sentence
    assert set(kept) == {field.name for field in dataclasses.fields(found)}


@pytest.mark.process
def test_identical_files_need_no_torch(source: Frames, tmp_path: Path) -> None:
    a, b = animation(tmp_path / "a.png", source), folder(tmp_path / "b", source)
    code = (
        "import sys\nfrom parity.cli.main import main\n"
        f"assert main(['compare', {str(a)!r}, {str(b)!r}]) == 0\nsys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False).returncode == 0


def test_vmaf_on_request(pair: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    main(["compare", *pair, "--metrics", "vmaf", "--json"])
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert list(metrics) == ["psnr", "ssim", "lpips", "vmaf"]
    assert len(metrics["vmaf"]["per_frame"]) == 8


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["{a}", "nowhere.mp4"], 3, "nowhere.mp4: cannot be read: No such file or directory"),
        (["{a}", "{a}"], 2, "are one and the same file; name two"),
        (["{a}", "{b}", "--metrics", "vamf"], 2, "unknown metric 'vamf'; did you mean vmaf?"),
        (["{a}", "{b}", "--out", "{run}"], 2, "holds the results of a run"),
        (["{a}", "{text}"], 3, "empty, or not a supported video format"),
        (["{a}"], 2, "for example: parity compare preview.webp comfyui.mp4"),
    ],
)
def test_mistakes_are_one_message(
    arguments: list[str],
    code: int,
    says: str,
    pair: tuple[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "results.json").write_text("{}")
    (tmp_path / "video.txt").write_text("no video")
    places = {"a": pair[0], "b": pair[1], "run": str(tmp_path), "text": str(tmp_path / "video.txt")}
    given = ["compare", *(argument.format(**places) for argument in arguments)]
    assert _exit_code(given) == code
    said = capsys.readouterr().err
    assert says in said
    assert "Traceback" not in said


def _exit_code(arguments: list[str]) -> object:
    try:
        return main(arguments)
    except SystemExit as end:
        return end.code
