"""Which frames are shown, where not all of them are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from parity.results.frames import spread, worst_frame
from tests.support.report_cases import NO_LPIPS, drifted_case, psnr, ssim


def test_the_worst_frame_follows_the_metric(tmp_path: Path) -> None:
    case = drifted_case(tmp_path)
    lpips = replace(NO_LPIPS, unavailable=None, per_frame=(0.1, 0.4, 0.2))
    assert worst_frame(case) == 6
    assert worst_frame(replace(case, metrics={"lpips": lpips})) == 1
    assert worst_frame(replace(case, metrics={"lpips": NO_LPIPS})) is None
    assert worst_frame(replace(case, metrics={"psnr": psnr([None, None])})) is None
    assert worst_frame(replace(case, metrics={"ssim": ssim([1.0, 1.0])})) is None
    assert worst_frame(replace(case, metrics={})) is None


@pytest.mark.parametrize(
    ("total", "count", "worst", "frames"),
    [
        (41, 5, 23, [0, 10, 23, 30, 40]),
        (41, 5, 20, [0, 10, 20, 30, 40]),
        (41, 5, None, [0, 10, 20, 30, 40]),
        (41, 5, 1, [0, 1, 20, 30, 40]),
        (41, 5, 39, [0, 10, 20, 39, 40]),
        (41, 2, 23, [0, 23]),
        (41, 1, 23, [23]),
        (41, 1, None, [0]),
        (9, 100, 3, list(range(9))),
        (1, 5, 0, [0]),
        (41, 0, 23, []),
        (0, 5, None, []),
    ],
)
def test_the_worst_frame_is_kept_and_others_spread_from_first_to_last(
    total: int, count: int, worst: int | None, frames: list[int]
) -> None:
    assert spread(total, count, worst) == frames


def test_every_choice_has_as_many_frames_as_asked_for() -> None:
    for total in (2, 3, 5, 17, 81):
        for count in range(1, total + 1):
            for worst in (None, 0, total // 2, total - 1):
                frames = spread(total, count, worst)
                assert len(set(frames)) == count
                assert frames == sorted(frames)
                assert worst is None or worst in frames
                assert count < 3 or {0, total - 1} <= set(frames)
