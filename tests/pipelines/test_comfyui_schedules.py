"""Schedules of ComfyUI: against the lists that its own functions made, and what has no list."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from pipelines.comfyui_schedules import SCHEDULES, comfyui_sigmas, high_noise_steps
from pipelines.errors import CaseError
from pipelines.scheduler import comfyui_schedule
from tests.support.paths import DATA

RECORDED = json.loads((DATA / "comfyui" / "sigmas.json").read_text())
SPLITS = json.loads((DATA / "comfyui" / "splits.json").read_text())


def lists(kind: str) -> Iterator[tuple[float, str, int, list[float]]]:
    for shift, schedules in RECORDED[kind].items():
        for schedule, by_steps in schedules.items():
            for steps, sigmas in by_steps.items():
                yield 8.0 if shift == "default" else float(shift), schedule, int(steps), sigmas


@pytest.mark.parametrize(
    ("kind", "sampler", "basic"),
    [
        ("scheduler", "euler", False),
        ("scheduler", "uni_pc", True),
        ("ksampler_discard_penultimate", "uni_pc", False),
        ("ksampler_discard_penultimate", "dpm_2", False),
    ],
)
def test_all_lists_are_comfyuis(kind: str, sampler: str, basic: bool) -> None:
    found = list(lists(kind))
    assert len(found) == 225
    for shift, schedule, steps, theirs in found:
        ours = comfyui_schedule(sampler, schedule, shift, basic=basic).sigmas(steps)
        assert len(ours) == len(theirs), (schedule, shift, steps)
        assert np.abs(np.subtract(ours, theirs)).max() < 1e-6, (schedule, shift, steps)


def test_every_scheduler_is_recorded() -> None:
    assert set(SCHEDULES) == {schedule for _, schedule, _, _ in lists("scheduler")}


def test_some_lists_are_longer_than_asked_for() -> None:
    """ddim_uniform takes every 33rd of 1000 levels from the second for 30 steps: 31 of them, and 0."""
    assert len(comfyui_sigmas("euler", "ddim_uniform", 3.0, 30)) == 32


def test_some_lists_are_shorter() -> None:
    assert len(comfyui_sigmas("euler", "beta", 3.0, 600)) < 601


def test_beta_has_the_levels_that_scipy_gives() -> None:
    """ComfyUI asks scipy for the quantiles. The middle, 499.5, is a tie to round."""
    betaincinv = importlib.import_module("scipy.special").betaincinv

    model = comfyui_sigmas("euler", "simple", 3.0, 1000)[:-1]
    for steps in range(1, 121):
        places = np.rint(betaincinv(0.6, 0.6, 1 - np.arange(steps) / steps) * 999).astype(int)
        assert comfyui_sigmas("euler", "beta", 3.0, steps)[:-1] == tuple(model[999 - place] for place in places)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_one_step_and_a_thousand(schedule: str) -> None:
    for steps in (*range(1, 60), 1000):
        sigmas = comfyui_sigmas("euler", schedule, 5.0, steps)
        assert sigmas[-1] == 0
        assert sigmas[0] <= 1
        assert list(sigmas) == sorted(sigmas, reverse=True)
        assert np.isfinite(sigmas).all()


def test_denoise_takes_the_end_of_a_longer_list() -> None:
    assert comfyui_sigmas("euler", "simple", 5.0, 10, denoise=0.5) == comfyui_sigmas("euler", "simple", 5.0, 20)[-11:]
    longer = comfyui_sigmas("uni_pc", "simple", 5.0, 20)
    assert comfyui_sigmas("uni_pc", "simple", 5.0, 10, denoise=0.5) == longer[-11:]
    assert str(comfyui_schedule("euler", "simple", 5.0, denoise=0.5)) == "euler, simple, shift 5, denoise 0.5 (ComfyUI)"


def test_steps_before_a_boundary() -> None:
    for name, recorded in SPLITS.items():
        _, shift, schedule, _, boundary = name.split()
        for steps, split in recorded.items():
            sigmas = comfyui_schedule("euler", schedule, float(shift)).sigmas(int(steps))
            assert high_noise_steps(sigmas, float(boundary)) == split, (name, steps)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sampler": "er_sde"}, "er_sde.*not supported yet; supported: euler"),
        ({"schedule": "bong_tangent"}, "bong_tangent.*not supported yet; supported: normal"),
        ({"shift": 0.0}, "shift 0"),
        ({"shift": float("nan")}, "shift nan"),
        ({"shift": 1e-30}, "shift 1e-30"),
        ({"shift": 1e9}, r"shift 1e\+09"),
        ({"denoise": 0.0}, "denoise 0"),
        ({"denoise": 1e-9}, "denoise 1e-09"),
        ({"denoise": 1.5}, "denoise 1.5"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"sampler": "euler", "schedule": "simple", "shift": 5.0} | changes
    with pytest.raises(CaseError, match=said):
        comfyui_schedule(**given)
