"""What differs between a preview and a ComfyUI graph: parts of a schedule, experts by steps, LoRAs, text, pixels."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest

from parity.factors.findings import find_differences
from pipelines.drift import Factor, differing_factors, frames_key, latents_key, take, take_all
from pipelines.recipe import Expert, LoraFile, Precision, Recipe, Resize
from pipelines.scheduler import Scheduler, comfyui_schedule, flow_schedule
from tests.support.oracle import sample_recipe

TRAINERS = flow_schedule("flow_match_euler", 3.0)


def comfyui(sampler: str = "euler", schedule: str = "normal", shift: float = 3.0, **more: Any) -> Scheduler:
    return comfyui_schedule(sampler, schedule, shift, **more)


@pytest.fixture
def preview() -> Recipe:
    return sample_recipe("t2v_basic", 0)


@pytest.fixture
def wan22() -> Recipe:
    """Euler, shift 5, 20 steps: 0.875 lies after step 8."""
    return dataclasses.replace(sample_recipe("wan22_t2v", 0), steps=20)


def differing(preview: Recipe, **changes: Any) -> list[Factor]:
    return differing_factors(preview, dataclasses.replace(preview, **changes))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (comfyui(), []),
        (comfyui("ddim"), []),  # euler, bit for bit
        (comfyui(shift=3.0000000000000004), []),  # as a browser writes 3
        (comfyui(basic=True), []),  # another grid for uni_pc and dpm_2 alone
        (comfyui("uni_pc"), ["sampler"]),
        (comfyui(schedule="simple"), ["schedule"]),
        (comfyui(denoise=0.5), ["schedule"]),
        (comfyui(shift=8.0), ["shift"]),
        (comfyui("uni_pc", "simple", 8.0), ["sampler", "schedule", "shift"]),
        (flow_schedule("unipc", 3.0), ["scheduler"]),
        (flow_schedule("flow_match_euler", 5.0), ["scheduler"]),
    ],
    ids=str,
)
def test_a_schedule_differs_in_its_parts(preview: Recipe, schedule: Scheduler, expected: list[Factor]) -> None:
    assert preview.scheduler == TRAINERS
    assert differing(preview, scheduler=schedule) == expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (comfyui("uni_pc", basic=True), comfyui("uni_pc"), ["sampler"]),
        (comfyui(schedule="linear_quadratic"), comfyui(schedule="linear_quadratic", shift=8.0), []),
        (comfyui(schedule="beta"), comfyui("heun", "beta", 5.0), ["sampler", "shift"]),
        (flow_schedule("unipc", 3.0), comfyui(), ["scheduler"]),  # an old preview: nothing in ComfyUI repeats it
        (flow_schedule("flow_match_euler", 3.0, use_karras_sigmas=True), comfyui(), ["scheduler"]),
    ],
    ids=str,
)
def test_other_pairs_of_schedules(preview: Recipe, one: Scheduler, other: Scheduler, expected: list[Factor]) -> None:
    assert differing(dataclasses.replace(preview, scheduler=one), scheduler=other) == expected


def test_parts_are_taken_one_by_one_and_end_in_the_previews_own_schedule(preview: Recipe) -> None:
    inference = dataclasses.replace(preview, scheduler=comfyui("uni_pc", "simple", 8.0))
    assert take(inference, "shift", preview).scheduler == comfyui("uni_pc", "simple", 3.0)
    assert take(preview, "schedule", inference).scheduler == comfyui(schedule="simple")
    for order in itertools.permutations(("sampler", "schedule", "shift")):
        names: list[Any] = list(order)
        assert take_all(inference, names, preview).scheduler is preview.scheduler
        assert take_all(preview, names, inference).scheduler is inference.scheduler
    unipc = dataclasses.replace(preview, scheduler=flow_schedule("unipc", 3.0))
    assert take(inference, "scheduler", unipc).scheduler == unipc.scheduler


def test_the_fix_of_a_part_is_a_node_and_no_python(preview: Recipe) -> None:
    found = find_differences(preview, dataclasses.replace(preview, scheduler=comfyui("uni_pc", "simple", 8.0)))
    assert [(finding.preview, finding.inference, finding.fix, finding.code) for finding in found] == [
        ("euler", "uni_pc", "set sampler_name euler in KSampler", None),
        ("normal", "simple", "set scheduler normal in KSampler", None),
        ("3", "8", "set shift 3 in ModelSamplingSD3, one for each transformer", None),
    ]


@pytest.mark.parametrize(
    ("schedule", "split", "expected"),
    [
        (comfyui(shift=5.0), 8, []),
        (comfyui(shift=5.0), 10, ["boundary"]),
        (comfyui(schedule="simple", shift=5.0), 9, ["schedule"]),
        (comfyui(schedule="simple", shift=5.0), 8, ["schedule", "boundary"]),
        (comfyui(schedule="simple", shift=8.0), 11, ["schedule", "shift"]),
    ],
    ids=str,
)
def test_a_split_is_compared_on_its_own_schedule(
    wan22: Recipe, schedule: Scheduler, split: int, expected: list[Factor]
) -> None:
    inference = dataclasses.replace(wan22, scheduler=schedule, split=split, boundary=0.9)
    assert differing_factors(wan22, inference) == expected
    assert differing_factors(inference, wan22) == expected
    for order in itertools.permutations(expected):
        fixed = take_all(inference, order, wan22)
        assert not expected or frames_key(fixed) == frames_key(wan22)
        assert differing_factors(take_all(wan22, order, inference), inference) == []


def test_a_boundary_that_was_right_moves_with_the_steps(wan22: Recipe) -> None:
    """A split at 8 is right for 20 steps, and wrong for 30, where the preview's boundary lies after step 13."""
    inference = dataclasses.replace(wan22, scheduler=comfyui(shift=5.0), split=8)
    longer = dataclasses.replace(wan22, steps=30)
    assert differing_factors(longer, inference) == ["steps"]
    assert frames_key(take(inference, "steps", longer)) == frames_key(longer)
    broken = take(longer, "steps", inference)
    assert (broken.steps, differing_factors(broken, inference)) == (20, [])


def test_the_note_says_where_the_split_has_to_be(wan22: Recipe) -> None:
    (found,) = find_differences(wan22, dataclasses.replace(wan22, scheduler=comfyui(shift=5.0), split=10))
    assert (found.factor, found.preview, found.inference) == ("boundary", "0.875", "split at 10 of 20")
    assert "end_at_step and start_at_step 8 of 20" in found.fix
    assert found.note == "split at 10 of 20; the trainer's boundary 0.875 is at 8"


def lora(name: str, expert: Expert | None = None) -> LoraFile:
    return LoraFile(path=Path(f"{name}.safetensors"), sha256=name * 12, expert=expert)


A, B, C = lora("a"), lora("b"), lora("c")


@pytest.mark.parametrize(
    ("preview_has", "inference_has", "expected"),
    [
        ([(A, 1.0)], [(A, 1.0), (B, 0.7)], ["extra_loras"]),
        ([(A, 1.0)], [(B, 0.7), (A, 1.0)], ["extra_loras"]),
        ([(A, 1.0)], [(B, 0.7), (A, 0.5)], ["lora_scale", "extra_loras"]),
        ([(A, 1.0)], [(B, 1.0), (C, 0.5)], ["lora_file", "extra_loras"]),
        ([(A, 1.0), (B, 0.5)], [(B, 0.5), (A, 1.0)], []),  # their order only rounds
        ([(A, 1.0), (B, 0.5)], [(B, 0.5)], ["extra_loras"]),
        ([(A, 1.0)], [(A, 1.0), (A, 1.0)], ["extra_loras"]),
        ([], [(A, 1.0), (B, 0.5)], ["lora_file"]),
        ([(A, 1.0)], [], ["lora_file"]),
    ],
    ids=str,
)
def test_several_loras(
    preview: Recipe,
    preview_has: list[tuple[LoraFile, float]],
    inference_has: list[tuple[LoraFile, float]],
    expected: list[Factor],
) -> None:
    one, other = (
        dataclasses.replace(
            preview, lora_files=tuple(file for file, _ in loras), lora_scales=tuple(scale for _, scale in loras)
        )
        for loras in (preview_has, inference_has)
    )
    assert differing_factors(one, other) == expected
    assert differing_factors(other, one) == expected
    for order in itertools.permutations(expected):
        assert not order or take_all(other, order, one) == one
        assert not order or take_all(one, order, other) == other
    for factor in expected:
        assert differing_factors(one, take(other, factor, one)) == [name for name in expected if name != factor]


def test_an_extra_lora_of_one_expert(wan22: Recipe) -> None:
    extra = lora("lightning", "low")
    high, low = wan22.lora_files
    inference = dataclasses.replace(wan22, lora_files=(high, low, extra), lora_scales=(1.0, 1.0, 1.0))
    (found,) = find_differences(wan22, inference)
    assert found.factor == "extra_loras"
    assert "lightning.safetensors" in found.inference
    assert "lightning.safetensors" not in found.preview + found.fix
    assert take(inference, "extra_loras", wan22) == wan22
    assert take(wan22, "extra_loras", inference) == inference


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"text_encoding": "comfyui"}, ["text_encoding"]),
        ({"text_encoding": "comfyui", "prompt": "woman playing the  guitar, on stage"}, ["prompt", "text_encoding"]),
        ({"prompt": "woman playing the  guitar, on stage"}, []),
        ({"eight_bit": "truncated"}, ["eight_bit"]),
        ({"clip_image": "original_center"}, []),  # there is no image
        ({"float32_steps": True}, ["precision"]),
        ({"vae_dtype": "float32"}, ["precision"]),
        ({"vae_dtype": "bfloat16"}, []),
    ],
    ids=str,
)
def test_what_else_comfyui_does_otherwise(preview: Recipe, changes: dict[str, Any], expected: list[Factor]) -> None:
    assert differing(preview, **changes) == expected


def test_in_float32_there_is_one_way_to_step_and_to_normalize(preview: Recipe) -> None:
    float32 = dataclasses.replace(preview, precision=Precision("float32", "kept"))
    assert differing(float32, float32_steps=True, vae_dtype="float32", vae_norm="vae_dtype") == []
    assert differing(dataclasses.replace(preview, vae_dtype="float32"), vae_norm="vae_dtype") == []


def test_clip_sees_an_image_in_wan21_alone() -> None:
    i2v = sample_recipe("i2v_basic", 0)
    assert differing(i2v, clip_image="original_stretched", resize=Resize("bilinear_no_antialias", "center")) == [
        "resize",
        "clip_image",
    ]
    assert differing(sample_recipe("wan22_i2v", 0), clip_image="original_stretched") == []


def test_an_image_of_the_videos_size_is_not_resized() -> None:
    i2v = sample_recipe("i2v_basic", 0)
    assert i2v.control_image is not None
    width, height = i2v.width.applied, i2v.height.applied
    changes: dict[str, Any] = {"resize": Resize("bilinear_no_antialias", "center")}
    fitting = dataclasses.replace(i2v.control_image, width=width, height=height)
    assert differing(i2v, **changes) == ["resize"]
    assert differing(dataclasses.replace(i2v, control_image=fitting), **changes) == []
    turned = dataclasses.replace(fitting, data=fitting.data + b"eXIf")
    assert differing(dataclasses.replace(i2v, control_image=turned), **changes) == ["resize"]


def test_names_that_are_not_supported_yet_are_differences_all_the_same(wan22: Recipe) -> None:
    unknown = Scheduler("comfyui", (("sampler", "er_sde"), ("schedule", "bong_tangent"), ("shift", 5.0)))
    inference = dataclasses.replace(wan22, scheduler=unknown, split=8)
    assert differing_factors(wan22, inference) == ["sampler", "schedule", "boundary"]
    assert str(take(wan22, "sampler", inference).scheduler) == "er_sde, normal, shift 5 (ComfyUI)"
    assert frames_key(take_all(inference, ["sampler", "schedule", "boundary"], wan22)) == frames_key(wan22)
    assert find_differences(wan22, inference)[0].inference == "er_sde"


def test_what_only_the_decode_does_shares_its_latents(preview: Recipe) -> None:
    other = dataclasses.replace(preview, eight_bit="truncated", vae_dtype="float32", vae_norm="vae_dtype")
    assert latents_key(other) == latents_key(preview)
    assert frames_key(other) != frames_key(preview)
    i2v = sample_recipe("i2v_basic", 0)
    assert latents_key(dataclasses.replace(i2v, vae_dtype="float32")) != latents_key(i2v)
