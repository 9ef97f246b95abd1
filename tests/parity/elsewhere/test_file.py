"""Cases whose output is a file made elsewhere: what real ComfyUI saved, against the trainer's preview of the demo."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from parity.case.load import DEMO, load_case
from parity.case.progress import Quiet
from parity.cli.main import main
from parity.comparison.compare import read_preview
from parity.cost.estimate import job_of_run
from parity.elsewhere.compare import compare_made
from parity.elsewhere.evidence import findings_of
from parity.elsewhere.file import read_made
from parity.results.case import CaseResult
from parity.results.json_text import from_json
from parity.run.resume import still_holds
from parity.run.session import Session
from parity.run.task import Task
from pipelines.engine.engine import Engine
from pipelines.errors import CaseError
from pipelines.media.video import Frames, encode
from pipelines.recipe import Codec
from reports.github import summary
from reports.junit import junit
from reports.render import render
from tests.support.sessions import options

RECORDED = Path(__file__).parents[2] / "data" / "comfyui"
SHAPES = DEMO / "jobs" / "shapes_t2v"
PREVIEW = SHAPES / "samples" / "1795354594924__000000500_0.webp"
BY_THE_GRAPH = {"text_encoding", "schedule", "shift", "eight_bit"}
"""The factors in which `t2v-euler-simple-8` differs from that preview, besides its codec."""


def saved(graph: str, suffix: str) -> Path:
    """A file that a save node of real ComfyUI wrote, in float32."""
    return next((RECORDED / graph / "float32").glob(f"*_{suffix}"))


def recorded(graph: str) -> Frames:
    frames: Frames = np.load(RECORDED / graph / "float32" / "frames.npz")["frames"]
    return frames


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A writer of cases of the preview against a file."""

    def write(output: Path | str, **keys: Any) -> Path:
        preview = {"config": str(SHAPES / "config.yaml"), "sample": 0, "video": str(PREVIEW), "toolkit": "0.12.26"}
        case = {"model": "wan21_1b", "checkpoint": str(DEMO / "models" / "shapes-t2v"), "preview": preview}
        path = tmp_path / "case.yaml"
        path.write_text(yaml.safe_dump(case | {"output": str(output)} | keys))
        return path

    return write


FLOAT32 = {"base": "comfyui", "precision": {"dtype": "float32"}}
"""What the graph does not say of the recordings: they ran on a CPU."""


class NoEngine:
    """The engine of a run in which nothing is generated."""

    offload = "none"

    def on_phase(self, *_: object) -> None: ...

    def close(self) -> None: ...


def run(path: Path, out: Path, engine: Engine | None = None, **given: Any) -> CaseResult:
    """Run a case; without an engine any generation fails."""
    with Session(options(out, **given), engine or NoEngine()) as session:  # type: ignore[arg-type]
        result = session.run_case(load_case(path), Quiet())
        session.finish([result.id])
    return result


def evidence(result: CaseResult) -> dict[str, str]:
    return {finding.factor: finding.evidence for finding in result.findings}


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".webp", ".png"])
def test_what_comfyui_saved_is_compared_and_nothing_generated(suffix: str, write: Write, tmp_path: Path) -> None:
    """Set as the trainer sets it: what is left is 8 bit, text rounding and the codec."""
    result = run(write(saved("t2v-euler-normal-3", suffix), pipeline=FLOAT32), tmp_path / "out")
    assert result.file is not None
    assert result.file.made_by == "ComfyUI"
    assert result.file.graph is not None
    assert any("dtype" in sentence for sentence in result.file.unknown)
    assert evidence(result) == {"text_encoding": "file", "eight_bit": "file", "codec": "pixels"}
    assert result.codec_floor is not None
    floor, psnr = result.codec_floor["psnr"], result.metrics["psnr"].mean
    assert floor is not None
    assert psnr == pytest.approx(floor, abs=1.5)  # all of the difference is the codecs', and the estimate says so
    assert "by the graph in the file: text_encoding, eight_bit" in result.verdict
    assert "the codecs alone cost about" in result.verdict
    assert "server" not in " ".join([result.verdict, *result.notes])


def test_what_the_graph_does_not_say_is_only_assumed(write: Write, tmp_path: Path) -> None:
    result = run(write(saved("t2v-euler-simple-8", ".mp4")), tmp_path / "out")
    assumed = dict.fromkeys(("precision", "vae_norm"), "expected")
    assert evidence(result) == dict.fromkeys(BY_THE_GRAPH, "file") | assumed | {"codec": "pixels"}
    assert "assumed, the graph does not say it: precision, vae_norm" in result.verdict
    fixes = {finding.factor: finding.fix for finding in result.findings}
    assert fixes["precision"].startswith("start ComfyUI with --fp32-unet")  # what a user of diffusers types is no help


def test_closeness_proves_nothing_that_only_rounds(write: Write) -> None:
    """A graph's recipe in bfloat16 is as close to a float32 file as rounding lets it be: no dtype is known by that."""
    case = load_case(write(saved("t2v-euler-simple-8", ".mp4")))
    preview = read_preview(case.video, case.preview)
    compared = compare_made(case, preview, read_made(case))
    known = dataclasses.replace(compared.known, proof="likely")
    found = findings_of(case, known, compared.comparison, compared.made)
    assert {finding.factor: finding.evidence for finding in found} == evidence(compared.result)


@pytest.fixture
def plain(tmp_path: Path) -> Callable[[Codec], Path]:
    """A writer of files of the recorded frames that hold no graph."""

    def plain(codec: Codec) -> Path:
        path = tmp_path / f"plain.{'png' if codec.format == 'apng' else codec.format}"
        path.write_bytes(encode(recorded("t2v-euler-normal-3"), codec, 8))
        return path

    return plain


def test_a_file_without_a_graph_says_what_it_lacks(
    plain: Callable[[Codec], Path], write: Write, tmp_path: Path
) -> None:
    result = run(write(plain(Codec("webm", 32)), tolerance={"psnr": 25}), tmp_path / "out")
    assert result.status == "passed"
    assert evidence(result) == {"codec": "pixels"}
    assert result.file is not None
    assert result.file.graph is None
    lacking = " ".join(result.file.unknown)
    for setting in (
        "Prompt: the preview's is p0stcard a red square",
        "Seed: the preview's is 1",
        "Steps:",
        "LoRA file:",
    ):
        assert setting in lacking
    notes = " ".join(result.notes)
    assert "holds no metadata" in notes
    assert "`pipeline: {base: comfyui, graph: …}`" in notes


def test_what_is_written_of_a_file_without_a_graph_is_only_expected(
    plain: Callable[[Codec], Path], write: Write, tmp_path: Path
) -> None:
    path = write(plain(Codec("webp", None)), pipeline="reference", expect=["codec", "scheduler"])
    result = run(path, tmp_path / "out")
    found = evidence(result)
    assert found["codec"] == "pixels"
    assert found["scheduler"] == found["lora_application"] == "expected"
    assert result.status == "drifted"
    assert "unexpected difference: lora_application" in result.verdict
    assert "assumed from the reference profile, not verified: scheduler" in result.verdict


def test_another_size_and_length_are_shown_by_the_file(write: Write, tmp_path: Path) -> None:
    path = tmp_path / "cut.webp"
    path.write_bytes(encode(recorded("t2v-euler-normal-3")[:5, :48], Codec("webp", 80), 12))
    result = run(write(path), tmp_path / "out")
    assert {"snapping", "frame_count", "fps"} <= set(evidence(result))
    assert set(evidence(result).values()) == {"pixels"}
    assert result.status == "drifted"
    assert "the preview has 9 frames of 96x64, the output 5 frames of 96x48" in result.verdict


def test_a_file_that_was_changed_after_its_graph_surprises(write: Write, tmp_path: Path) -> None:
    """A folder of frames, one of which carries the graph: the others are fewer than it says."""
    folder = tmp_path / "frames"
    folder.mkdir()
    from PIL.PngImagePlugin import PngInfo

    tags = PngInfo()
    tags.add_text("prompt", (RECORDED / "t2v-euler-simple-8" / "float32" / "prompt.json").read_text())
    for number, frame in enumerate(recorded("t2v-euler-simple-8")[:5]):
        Image.fromarray(frame).save(folder / f"{number:03}.png", pnginfo=tags)
    result = run(write(folder, pipeline=FLOAT32), tmp_path / "out")
    assert any("the graph says 9, the file has 5" in note for note in result.notes)
    assert result.output is not None
    assert result.output.frames == 5
    assert (tmp_path / "out" / result.artifacts["output"]).read_bytes()[:4] == b"\x89PNG"


def test_a_missing_or_damaged_file_is_one_message(write: Write, tmp_path: Path) -> None:
    with pytest.raises(CaseError, match=r"case\.yaml:\d+: output: nowhere\.mp4 does not exist"):
        load_case(write("nowhere.mp4"))
    damaged = tmp_path / "half.webp"
    damaged.write_bytes(encode(recorded("t2v-euler-normal-3"), Codec("webp", 80), 8)[:3000])
    result = run(write(damaged), tmp_path / "out")  # an error of this case, not of the whole run
    assert result.status == "error"
    assert "half.webp: is not a complete video" in result.verdict
    assert "\n" not in result.verdict
    with pytest.raises(CaseError, match=r"half\.webp: its metadata cannot be read"):
        load_case(write(damaged, pipeline="comfyui"))


def test_a_hostile_name_is_cleaned(write: Write, tmp_path: Path) -> None:
    path = tmp_path / "red\x1b[31m<b>\nline.webp"
    path.write_bytes(encode(recorded("t2v-euler-normal-3"), Codec("webp", 80), 8))
    result = run(write(path), tmp_path / "out")
    assert result.file is not None
    for text in (result.file.path, result.verdict, *result.notes, *result.file.unknown):
        assert "\x1b" not in text
        assert "\n" not in text
    out = tmp_path / "out"
    page = render(from_json((out / "results.json").read_text()), out)
    assert "<b> line.webp" not in page


def test_reports_show_the_file(write: Write, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(write(saved("t2v-euler-simple-8", ".mp4"), pipeline=FLOAT32), out)
    results = from_json((out / "results.json").read_text())
    page = render(results, out)
    words = ("The file differs from the preview", "File made elsewhere", "by the graph in the file", "mp4 key prompt")
    assert [text for text in (*words, "In which dtype it computed") if text not in page] == []
    assert b'name="file"' in junit(results)
    text = summary(results, out)
    assert "by the graph in the file: text" in text
    assert not [line for line in text.splitlines() if "server" in line]


def test_a_finished_comparison_is_kept_until_the_file_changes(write: Write, tmp_path: Path) -> None:
    file = tmp_path / "video.mp4"
    shutil.copyfile(saved("t2v-euler-simple-8", ".mp4"), file)
    path = write(file)
    known = run(path, tmp_path / "out", repeat=3)
    assert any("nothing was repeated (--repeat)" in note for note in known.notes)
    case = load_case(path)
    assert still_holds(known, case, Task())
    assert still_holds(known, case, Task(repeat=3))
    assert not still_holds(known, case, Task(diagnose="full"))
    file.write_bytes(encode(recorded("t2v-euler-simple-8"), Codec("mp4", 30), 8))
    assert not still_holds(known, dataclasses.replace(case), Task())


def test_nothing_is_planned_for_a_comparison(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(saved("t2v-euler-simple-8", ".mp4"), pipeline=FLOAT32)
    assert job_of_run(load_case(path)) is None
    assert main(["plan", "--json", str(path)]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["cost"] is None
    assert {finding["factor"]: finding["evidence"] for finding in row["findings"]} == dict.fromkeys(
        (*BY_THE_GRAPH, "codec"), "file"
    )


def test_a_baseline_of_a_file_holds_until_the_file_changes(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "video.mp4"
    shutil.copyfile(saved("t2v-euler-simple-8", ".mp4"), file)
    path, out = write(file, pipeline=FLOAT32), tmp_path / "out"
    run(path, out)
    results = ["--results", str(out / "results.json"), "--baselines", str(tmp_path / "baselines")]
    assert main(["baseline", "accept", "case", *results]) == 0
    run(path, out)
    assert main(["baseline", "check", *results]) == 0
    shutil.copyfile(saved("t2v-unipc-simple-8", ".mp4"), file)
    run(path, out)
    assert main(["baseline", "check", *results]) == 1
    printed = capsys.readouterr().out
    assert "the file changed" in printed
    assert "the code changed" not in printed


@pytest.mark.draws
def test_the_graph_of_an_mp4_is_proven_and_explained(write: Write, tmp_path: Path, engine: Engine) -> None:
    """Generated here and encoded alike, the graph's recipe gives the pixels of ComfyUI's own mp4."""
    path = write(saved("t2v-euler-simple-8", ".mp4"), pipeline=FLOAT32)
    result = run(path, tmp_path / "out", engine, diagnose="gains")
    assert set(evidence(result).values()) == {"pixels"}
    assert any("gives the file bit for bit" in note for note in result.notes)
    assert result.search is None
    assert result.diagnosis is not None
    assert result.diagnosis.explained
    assert {cost.factor for cost in result.diagnosis.factors} == {*BY_THE_GRAPH, "codec"}
    assert {cost.factor for cost in result.diagnosis.factors[:2]} == {"shift", "schedule"}
    codes = [result.code, result.diagnosis.code, *(cost.code for cost in result.diagnosis.factors)]
    assert codes == [None] * len(codes)  # no code of a diffusers pipeline sets what a graph does


@pytest.mark.draws
def test_frames_without_a_graph_are_found_up_to_rounding(
    plain: Callable[[Codec], Path], write: Write, tmp_path: Path, engine: Engine
) -> None:
    """The trainer's own settings give the file once they are cut to 8 bit as ComfyUI cuts them: no search is needed."""
    result = run(write(plain(Codec("apng", None))), tmp_path / "out", engine, diagnose="gains")
    assert evidence(result) == {"eight_bit": "likely", "codec": "pixels"}
    assert any("rounding alone" in note for note in result.notes)
    assert result.search is None
    assert result.diagnosis is not None
    assert result.diagnosis.explained
