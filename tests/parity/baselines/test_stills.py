"""The stills that a baseline keeps: which, how large, whole after any kill, and never a reason to fail."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from parity.baselines.file import BaselineStill, from_text, still_folder, to_text
from parity.baselines.in_run import RunGate
from parity.baselines.noise import Noise
from parity.baselines.store import Store
from parity.cli.main import main
from parity.results.case import CaseResult
from parity.results.json_text import from_json
from tests.support.baseline_samples import ENVIRONMENT, baseline_of, result, sha, state, video, write_run
from tests.support.report_cases import draw_stills

WORST_SECOND = [40.0, 40.0, 30.0, *[40.0] * 6]
BASELINES = Path("baselines")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def with_stills(case_id: str = "guitar", name: str = "now", shift: int = 0, **changes: Any) -> CaseResult:
    """A result whose output has stills on disk, in the run of that name."""
    frames = f"artifacts/{case_id}/output_frames"
    folder = Path("reports/out") / name / frames
    shutil.rmtree(folder, ignore_errors=True)
    draw_stills(folder, 9, shift=shift)
    return result(case_id, psnr=WORST_SECOND, artifacts={"output_frames": frames}, **changes)


def kept(case_id: str = "guitar") -> list[str]:
    """The stills in a baseline's folder."""
    return sorted(path.name for path in (BASELINES / still_folder(case_id)).glob("*"))


def listed(case_id: str = "guitar") -> list[str]:
    """The stills that a baseline lists; each must be there with the content that was accepted."""
    baseline = from_text((BASELINES / f"{case_id}.json").read_text())
    for still in baseline.stills:
        data = (BASELINES / still_folder(case_id) / still.file).read_bytes()
        assert hashlib.sha256(data).hexdigest() == still.sha256
    return [still.file for still in baseline.stills]


def frames_of(names: list[str]) -> list[int]:
    return [int(name.partition("-")[0]) for name in names]


# --- which
def test_accepting_keeps_the_worst_frame_and_the_first_and_the_last(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(with_stills())
    assert main(["baseline", "accept", "guitar", "--json"]) == 0
    assert frames_of(listed()) == [0, 2, 8]
    assert kept() == listed()
    said = json.loads(capsys.readouterr().out)["cases"][0]
    assert (said["stills"], said["notes"]) == ([0, 2, 8], [])
    source = Path("reports/out/now/artifacts/guitar/output_frames/0002.webp")
    assert (BASELINES / "guitar.stills" / listed()[1]).read_bytes() == source.read_bytes()
    assert main(["baseline", "check"]) == 0


def test_the_number_is_an_option_and_a_setting(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(with_stills())
    assert main(["baseline", "accept", "guitar", "--stills", "0"]) == 0
    assert (listed(), kept()) == ([], [])
    Path("pyproject.toml").write_text("[tool.wan-parity]\nbaseline-stills = 5\n")
    assert main(["baseline", "accept", "guitar"]) == 0
    assert "  guitar  changed  stills\n" in capsys.readouterr().out
    assert len(listed()) == 5
    assert main(["baseline", "accept", "guitar"]) == 0
    assert "  guitar  unchanged\n" in capsys.readouterr().out
    assert main(["baseline", "accept", "guitar", "--stills", "1"]) == 0
    assert frames_of(listed()) == [2]
    with pytest.raises(SystemExit):
        main(["baseline", "accept", "guitar", "--stills", "many"])
    assert "must be a whole number, 0 to 64" in capsys.readouterr().err


# --- how large
def noisy(path: Path, size: tuple[int, int], seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1] // 4, size[0] // 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(path, quality=90)


def test_large_stills_are_made_small_and_a_case_has_a_limit(capsys: pytest.CaptureFixture[str]) -> None:
    case = with_stills()
    folder = Path("reports/out/now") / case.artifacts["output_frames"]
    for path in folder.iterdir():
        path.unlink()
    for frame in range(4):
        noisy(folder / f"{frame:04}.webp", (960, 540), frame)
    assert (folder / "0002.webp").stat().st_size > 48 << 10
    write_run(case)
    assert main(["baseline", "accept", "guitar", "--stills", "4"]) == 0
    sizes = [(BASELINES / "guitar.stills" / name).stat().st_size for name in listed()]
    assert sum(sizes) <= 192 << 10
    assert f"guitar: {len(sizes)} stills of 4 kept: a case may have 192 KiB" in capsys.readouterr().out
    for name in listed():
        with Image.open(BASELINES / "guitar.stills" / name) as image:
            assert (image.format, image.size) == ("WEBP", (480, 270))
    assert 2 in frames_of(listed())


# --- results that have none, or none to trust
def test_results_without_stills_are_accepted_by_their_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    case = with_stills()
    write_run(case)
    assert main(["baseline", "accept", "guitar"]) == 0
    before = listed()
    shutil.rmtree("reports/out/now/artifacts")
    assert main(["baseline", "accept", "guitar"]) == 0
    assert listed() == before  # of the same video
    assert "unchanged" in capsys.readouterr().out
    write_run(replace(case, output=video("QRSTUVWXY")))
    assert main(["baseline", "accept", "guitar"]) == 0
    assert "guitar: no stills are kept: the results hold none of the output (any more)" in capsys.readouterr().out
    assert listed() == []
    assert main(["baseline", "check"]) == 0


def test_damaged_and_foreign_pictures_are_not_kept(capsys: pytest.CaptureFixture[str]) -> None:
    case = with_stills()
    folder = Path("reports/out/now") / case.artifacts["output_frames"]
    secret = Path("secret.webp")
    shutil.copyfile(folder / "0000.webp", secret)
    (folder / "0000.webp").unlink()
    (folder / "0000.webp").symlink_to(secret.resolve())
    (folder / "0002.webp").write_bytes(b"RIFF\0\0\0\0WEBPVP8 ")
    write_run(case)
    assert main(["baseline", "accept", "guitar", "--stills", "9"]) == 0
    assert frames_of(listed()) == [1, 3, 4, 5, 6, 7, 8]
    assert "guitar: frame 2 is not kept: 0002.webp: is not a WebP" in capsys.readouterr().out
    write_run(replace(case, id="other", artifacts={"output_frames": "../../../"}))
    assert main(["baseline", "accept", "other"]) == 0
    assert listed("other") == []


@pytest.mark.parametrize(
    "change",
    [
        {"file": "../../etc/passwd"},
        {"file": "0002-000000000000.webp"},
        {"frame": 3},
        {"frame": -2},
        {"sha256": "AB" * 32},
    ],
)
def test_a_baseline_names_no_other_file(change: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    write_run(with_stills())
    assert main(["baseline", "accept", "guitar"]) == 0
    data = json.loads(state()["guitar.json"])
    data["stills"][0] |= change
    (BASELINES / "guitar.json").write_text(json.dumps(data))
    assert main(["baseline", "check"]) == 2
    assert "guitar.json: stills.0.file: is not the name of its frame and sha256" in capsys.readouterr().err


def test_a_baseline_without_stills_is_as_good(capsys: pytest.CaptureFixture[str]) -> None:
    """An older file. Its pictures are added by accepting the same video again."""
    write_run(with_stills())
    assert main(["baseline", "accept", "guitar", "--stills", "0"]) == 0
    data = json.loads(state()["guitar.json"])
    del data["stills"]
    (BASELINES / "guitar.json").write_text(json.dumps(data))
    assert main(["baseline", "check"]) == 0
    assert main(["baseline", "accept", "guitar"]) == 0
    assert "changed  stills" in capsys.readouterr().out
    assert len(listed()) == 3


def test_missing_and_damaged_stills_are_said_and_fail_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(with_stills())
    assert main(["baseline", "accept", "guitar"]) == 0
    first, second, third = (BASELINES / "guitar.stills" / name for name in listed())
    first.unlink()
    second.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    third.write_bytes(third.read_bytes()[:-1])
    capsys.readouterr()
    assert main(["baseline", "check"]) == 0
    said = capsys.readouterr()
    assert "1 case: 1 unchanged" in said.out
    assert f"{first}: No such file or directory; the accepted frame 0 cannot be shown; the check needs no" in said.err
    assert f"{second}: a Git LFS pointer; run git lfs pull; the accepted frame 2" in said.err
    assert f"{third}: changed; the accepted frame 8" in said.err
    assert main(["baseline", "accept", "guitar"]) == 0  # mends them
    assert kept() == listed()


# --- replacing
@pytest.mark.parametrize(
    ("case_id", "folder"), [("../a b", "%2E.%2Fa%20b.stills"), ("größe", "gr%C3%B6%C3%9Fe.stills")]
)
def test_any_id_is_a_safe_folder_name(case_id: str, folder: str) -> None:
    case = replace(with_stills(), id=case_id)
    write_run(case)
    assert main(["baseline", "accept", case_id]) == 0
    assert [path.name for path in BASELINES.glob("*.stills")] == [folder]
    assert len(list((BASELINES / folder).iterdir())) == 3


def test_undo_brings_the_pictures_back_and_nothing_is_left_over() -> None:
    write_run(with_stills())
    assert main(["baseline", "accept", "guitar"]) == 0
    first = listed()
    (BASELINES / "guitar.stills" / "notes.txt").write_text("mine")
    write_run(with_stills(shift=3, output=video("QRSTUVWXY")), with_stills("piano"))
    assert main(["baseline", "accept", "guitar", "piano"]) == 0
    second = listed()
    assert set(second).isdisjoint(first)
    assert set(kept()) == {*first, *second, "notes.txt"}  # what undo needs, too
    assert main(["baseline", "undo"]) == 0
    assert listed() == first
    assert kept() == [*first, "notes.txt"]
    assert not (BASELINES / "piano.stills").exists()
    for shift in (4, 5):
        write_run(with_stills(shift=shift, output=video("QRSTUVWX" + str(shift))))
        assert main(["baseline", "accept", "guitar"]) == 0
    assert set(kept()).isdisjoint(first)  # two accepts ago


class KilledError(BaseException):
    """An exception that acts like a kill: only `finally` would run, and there is none."""


@contextmanager
def killed_at(limit: int) -> Iterator[None]:
    """Let `limit` changes below baselines/ happen, then die at the next, again and again."""
    changes = [0]

    def patched(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *args: Any, **options: Any) -> Any:
            if "baselines" in Path(path).parts:
                if changes[0] >= limit:
                    raise KilledError
                changes[0] += 1
            return original(path, *args, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for owner, names in ((Path, ("replace", "write_text", "write_bytes", "mkdir", "unlink", "rmdir")),):
            for name in names:
                patch.setattr(owner, name, patched(getattr(owner, name)))
        for name in ("copyfile", "rmtree"):
            patch.setattr(shutil, name, patched(getattr(shutil, name)))
        yield


def pictured(case: CaseResult, name: str) -> tuple[str, dict[str, bytes]]:
    """A baseline's text, and three stills that say `name` and their frames."""
    data = {BaselineStill.of(frame, sha(f"{name}{frame}")): f"{name}{frame}".encode() for frame in (2, 5, 8)}
    return to_text(replace(baseline_of(case), stills=tuple(data))), {still.file: data[still] for still in data}


def test_a_kill_at_any_moment_leaves_every_baseline_its_pictures() -> None:
    """Old or new; then another accept or undo finds its way, and leaves nothing behind."""
    (old, old_stills), (new, new_stills) = pictured(result(), "a"), pictured(result(frames="QRSTUVWXY"), "b")
    store = Store(BASELINES)
    ends = set()
    for limit in range(60):
        shutil.rmtree(BASELINES, ignore_errors=True)
        store.replace({"guitar": old}, {"guitar": old_stills})
        try:
            with killed_at(limit):
                store.replace({"guitar": new}, {"guitar": new_stills})
            break
        except KilledError:
            pass
        assert len(listed()) == 3
        ends.add(state()["guitar.json"] == old)
        store.clean()
        if limit % 2:
            store.replace({"guitar": new}, {"guitar": new_stills})
            assert state()["guitar.json"] == new
            assert len(listed()) == 3
        store.undo()
        if state():
            assert state()["guitar.json"] == old or limit % 2
            assert kept() == listed()
        else:  # nothing had begun: undone is the accept before
            assert kept() == []
    else:
        pytest.fail("never came to its end")
    assert ends == {True, False}


# --- in a run
def gate() -> RunGate:
    return RunGate.read(BASELINES, Noise())


def test_a_run_holds_what_was_accepted_beside_what_is_new() -> None:
    write_run(with_stills())
    assert main(["baseline", "accept", "guitar"]) == 0
    accepted = listed()
    new = with_stills(name="later", shift=3, output=video("abcdXfghZ"))
    out = Path("reports/out/later")
    gated = gate()(new, ENVIRONMENT, out)
    check = gated.baseline
    assert check is not None
    assert check.accepted_output == result().output
    assert check.accepted_means["psnr"] == pytest.approx(350 / 9, abs=1e-3)
    assert check.frames_changed == (4, 8)
    assert check.accepted_factors == ()
    shown = out / gated.artifacts["baseline_frames"]
    assert shown == out / "artifacts/guitar/baseline_frames"
    for name in accepted:
        frame = name.partition("-")[0]
        assert (shown / f"{frame}.webp").read_bytes() == (BASELINES / "guitar.stills" / name).read_bytes()
    assert len(list(shown.iterdir())) == 3
    assert gate()(gated, ENVIRONMENT, out) == gated  # as after --resume
    assert gated.by_own_rules() == new
    path = write_run(gated, name="later")
    assert from_json(path.read_text()).cases == (gated,)
    (BASELINES / "guitar.stills" / accepted[0]).unlink()
    again = gate()(gated, ENVIRONMENT, out)
    assert again.baseline is not None
    assert again.status == gated.status
    assert "the accepted frame 0 cannot be shown" in again.baseline.notes[-1]
    assert len(list(shown.iterdir())) == 2


def test_a_report_can_be_judged_by_baselines(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(with_stills())
    assert main(["baseline", "accept", "guitar"]) == 0
    path = write_run(with_stills(shift=3, output=video("abcdXfghi")))
    capsys.readouterr()
    assert main(["report", str(path), "--out", "plain.html"]) == 0
    assert main(["report", str(path), "--out", "judged.html", "--baselines", "baselines"]) == 0
    assert "frame 4 changed" not in Path("plain.html").read_text()
    assert "changed since it was accepted" in Path("judged.html").read_text()
    assert (path.parent / "artifacts/guitar/baseline_frames/0002.webp").exists()
    assert from_json(path.read_text()).cases[0].baseline is None  # the results stay as the run wrote them
    assert main(["report", str(path), "--out", "x.html", "--baselines", "basslines"]) == 2
    assert "--baselines: folder not found: basslines" in capsys.readouterr().err


def test_no_results_json_can_have_pictures_written_outside_its_folder() -> None:
    write_run(with_stills())
    assert main(["baseline", "accept", "guitar"]) == 0
    for frames in ("../../../output_frames", str(Path.cwd().parent / "x/output_frames"), ""):
        gated = gate()(result(artifacts={"output_frames": frames}), ENVIRONMENT, Path("reports/out/now"))
        assert "baseline_frames" not in gated.artifacts
    assert not Path("baseline_frames").exists()


def test_pictures_that_cannot_be_copied_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(with_stills())
    assert main(["baseline", "accept", "guitar"]) == 0

    def full(*_: Any) -> int:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        gated = gate()(with_stills(), ENVIRONMENT, Path("reports/out/now"))
    assert gated.baseline is not None
    assert not gated.failed
    assert gated.baseline.notes[-1].endswith(
        "cannot be copied to reports/out/now/artifacts/guitar/baseline_frames: No space left on device"
    )
    assert "baseline_frames" not in gated.artifacts
    assert [path.name for path in Path("reports/out/now/artifacts/guitar").iterdir()] == ["output_frames"]
