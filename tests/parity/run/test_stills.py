"""Stills of a diagnosis: which frames are kept, and what happens where they cannot be written."""

from __future__ import annotations

import errno
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from parity.results.case import CaseResult
from parity.results.diagnosis import Diagnosis
from parity.run.outdir import OutDir
from parity.run.stills import TrialStills
from parity.terminal.diagnosis import diagnosis_text
from pipelines.media.video import Frames
from tests.support.report_cases import drifted_case

LOSSY = Path("preview.webp")


@pytest.fixture
def case(tmp_path: Path) -> CaseResult:
    """13 frames of which the worst is 6; diagnosed."""
    return replace(drifted_case(tmp_path), diagnosis=Diagnosis(mode="full", sentence="", explained=None))


def video(frames: int = 13, level: int = 90) -> Frames:
    return np.full((frames, 16, 16, 3), level, dtype=np.uint8)


def test_equal_outputs_share_a_folder_and_the_requests_is_that_of_the_case(case: CaseResult, tmp_path: Path) -> None:
    stills = TrialStills(OutDir(tmp_path), case, LOSSY, 5)
    assert case.output is not None
    assert stills("as requested", case.output.sha256, video()) == "artifacts/t2v-guitar/output"
    first = stills("only LoRA's scale / ../fixed\0", "aa", video())
    assert first == "artifacts/t2v-guitar/trials/1-only-lora-s-scale-fixed"
    assert stills("scheduler fixed as well", "aa", video()) == first
    second = stills("only scheduler fixed", "bb", video(5))
    assert second == "artifacts/t2v-guitar/trials/2-only-scheduler-fixed"
    names = {place: sorted(path.name for path in (tmp_path / place).iterdir()) for place in (first, second)}
    assert names == {
        first: ["0000.webp", "0003.webp", "0006.webp", "0009.webp", "0012.webp"],
        second: ["0000.webp", "0003.webp"],  # a shorter video: those of the same frames that it has
    }
    with Image.open(tmp_path / first / "0006.webp") as image:
        assert image.size == (16, 16)
        assert abs(image.convert("RGB").getpixel((8, 8))[0] - 90) < 4  # type: ignore[index]


def test_a_lossless_preview_is_compared_raw_and_so_are_its_stills(case: CaseResult, tmp_path: Path) -> None:
    stills = TrialStills(OutDir(tmp_path), case, Path("preview.png"), 5)
    assert case.output is not None
    assert case.output.raw_sha256 is not None
    assert stills("as requested", case.output.raw_sha256, video()) == "artifacts/t2v-guitar/output"


def test_none_are_kept_where_none_are_asked_for(case: CaseResult, tmp_path: Path) -> None:
    stills = TrialStills(OutDir(tmp_path), case, LOSSY, 0)
    assert case.output is not None
    assert stills("as requested", case.output.sha256, video()) is None
    assert stills("only scheduler fixed", "aa", video()) is None
    noted = stills.noted(case)
    assert noted.diagnosis is not None
    assert noted.diagnosis.stills == 0
    assert noted.diagnosis.stills_missing is None
    assert not (tmp_path / "artifacts/t2v-guitar/trials").exists()


def test_a_full_disk_is_one_note_and_leaves_no_half_folder(
    case: CaseResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stills = TrialStills(OutDir(tmp_path), case, LOSSY, 5)
    assert stills("only seed fixed", "aa", video()) is not None
    save = Image.Image.save
    left = [2]

    def on_a_full_disk(self: Image.Image, *arguments: Any, **options: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(self, *arguments, **options)

    monkeypatch.setattr(Image.Image, "save", on_a_full_disk)
    assert stills("only scheduler fixed", "bb", video()) is None
    monkeypatch.undo()
    assert stills("only scheduler broken", "cc", video()) is None  # not tried again
    assert stills("seed fixed as well", "aa", video()) is None
    trials = tmp_path / "artifacts/t2v-guitar/trials"
    assert [path.name for path in trials.iterdir()] == ["1-only-seed-fixed"]
    noted = stills.noted(case)
    assert noted.diagnosis is not None
    said = noted.diagnosis.stills_missing or ""
    assert said.startswith("no stills were kept from “only scheduler fixed” on: ")
    assert str(tmp_path) in said
    assert "No space left" in said
    assert said in diagnosis_text(noted.diagnosis)
    assert noted.diagnosis.stills == 5


def test_the_last_room_is_left_to_results(case: CaseResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = shutil.disk_usage(tmp_path).free
    monkeypatch.setattr("parity.run.stills.RESERVE", free + (1 << 40))
    stills = TrialStills(OutDir(tmp_path), case, LOSSY, 5)
    assert stills("only seed fixed", "aa", video()) is None
    noted = stills.noted(case).diagnosis
    assert noted is not None
    assert "MiB are free, which are left to results" in (noted.stills_missing or "")
    assert not (tmp_path / "artifacts/t2v-guitar/trials").exists()


def test_what_a_killed_run_left_of_a_trial_is_cleared(tmp_path: Path) -> None:
    half = tmp_path / "artifacts" / "one" / "trials" / ".new-1-only-seed-fixed"
    half.mkdir(parents=True)
    (half / "0000.webp").write_bytes(b"half")
    out = OutDir(tmp_path)
    out.acquire()
    out.release()
    assert list(half.parent.iterdir()) == []
