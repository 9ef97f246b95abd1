"""A search where ComfyUI may have made one side tries what its graphs have; no other search gets longer."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from parity.case.load import Case, load_case
from parity.diagnosis.hypotheses import axes
from pipelines.recipe import Recipe
from pipelines.scheduler import comfyui_schedule
from tests.support.paths import ROOT

OF_COMFYUI = {"sampler", "schedule", "text_encoding", "clip_image", "eight_bit"}


def of(name: str) -> Case:
    return load_case(ROOT / "cases" / f"{name}.yaml")


def tried(case: Case, factor: str) -> list[Recipe]:
    (axis,) = (axis for axis in axes(case) if axis.factor == factor)
    return [dataclasses.replace(case.preview, **option.changes) for option in axis.options(case.preview)]


def a_file(case: Case) -> Case:
    return dataclasses.replace(case, output=Path("other.mp4"))


@pytest.mark.parametrize("name", ["shapes-scheduler", "i2v-waving-reference", "wan22-t2v-guitar-reference"])
def test_other_searches_do_not_get_longer(name: str) -> None:
    case = of(name)
    assert not OF_COMFYUI & {axis.factor for axis in axes(case)}
    assert all(recipe.split is None for recipe in tried(case, "scheduler"))


def test_a_file_of_unknown_origin_may_be_comfyuis() -> None:
    case = a_file(of("shapes-faithful"))
    assert {axis.factor for axis in axes(case)} >= OF_COMFYUI - {"clip_image"}
    schedules = [recipe.scheduler for recipe in tried(case, "sampler")]
    assert schedules[:2] == [comfyui_schedule("euler", "simple", shift) for shift in (8.0, 5.0)]
    assert comfyui_schedule("uni_pc", "simple", 8.0) in schedules
    assert "clip_image" in {axis.factor for axis in axes(a_file(of("i2v-waving-faithful")))}


def test_two_experts_are_split_at_half_and_by_samplers_that_can_be() -> None:
    case = a_file(of("wan22-t2v-guitar-faithful"))
    splits = [recipe.split for recipe in tried(case, "boundary")]
    assert splits == [None, None, case.preview.steps // 2]
    assert not any("uni_pc" in str(recipe.scheduler) for recipe in tried(case, "sampler"))


def test_a_side_of_comfyui_keeps_its_sampler_while_the_shift_varies() -> None:
    case = of("shapes-faithful")
    schedule = comfyui_schedule("dpmpp_2m", "beta", 8.0)
    case = dataclasses.replace(case, preview=dataclasses.replace(case.preview, scheduler=schedule))
    shifts = [recipe.scheduler for recipe in tried(case, "shift")]
    assert comfyui_schedule("dpmpp_2m", "beta", 3.0) in shifts
    assert {str(schedule).split(", shift")[0] for schedule in shifts} == {"dpmpp_2m, beta"}


def test_an_extra_lora_is_tried_without_and_with() -> None:
    case = of("shapes-faithful")
    file = of("t2v-guitar-faithful").preview.lora_files[0]
    more = dataclasses.replace(
        case.inference,
        lora_files=(*case.inference.lora_files, file),
        lora_scales=(*case.inference.lora_scales, 0.5),
    )
    assert "extra_loras" not in {axis.factor for axis in axes(case)}
    counts = [len(recipe.lora_files) for recipe in tried(dataclasses.replace(case, inference=more), "extra_loras")]
    assert counts == [1, 2]
