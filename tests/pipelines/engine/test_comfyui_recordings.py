"""The engine generates what real ComfyUI generated: every recording, its recipe read from its own graph.

Decibels: latents against the recording's range, frames of 255 against those that ComfyUI's save nodes were given. In
float32 nothing but rounding is left, so floors are far above any setting's effect. Below, the transformers of ComfyUI
and diffusers round in other places, and the floors are what that leaves: any change of rounding moves them by 0.5.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from pipelines.drift import latents_key
from pipelines.engine.engine import Engine
from pipelines.errors import UnreproducibleError
from pipelines.recipe import Dtype
from tests.support.comfyui import COMFYUI, decibels, recorded_frames, recorded_latents, recorded_recipe

if TYPE_CHECKING:
    import torch

pytestmark = pytest.mark.draws


class Row(NamedTuple):
    """One recording and the least it must be met with."""

    name: str
    dtype: Dtype
    latents: float
    frames: float | None = None


MET = (
    Row("t2v-euler-normal-3", "float32", 140, 90),
    Row("t2v-euler-simple-8", "float32", 140, 90),
    Row("t2v-cfg-1", "float32", 140),
    Row("t2v-custom-sampler", "float32", 140),
    Row("t2v-lora-0.5", "float32", 140),
    Row("t2v-lora-loader-clip", "float32", 140),
    Row("t2v-no-lora", "float32", 140),
    Row("t2v-no-shift-node", "float32", 140),
    Row("t2v-two-loras", "float32", 140, 90),
    Row("t2v-weighted-prompt", "float32", 140),
    Row("t2v-sched-sgm_uniform", "float32", 140),
    Row("t2v-sched-ddim_uniform", "float32", 140),
    Row("t2v-sched-beta", "float32", 140),
    Row("t2v-sched-karras", "float32", 140),
    Row("t2v-sched-exponential", "float32", 140),
    Row("t2v-sched-kl_optimal", "float32", 140),
    Row("t2v-sched-linear_quadratic", "float32", 140),
    Row("t2v-sampler-ddim", "float32", 140),
    Row("t2v-sampler-heun", "float32", 140),
    Row("t2v-sampler-dpm_2", "float32", 138),
    Row("t2v-sampler-dpmpp_2m", "float32", 138),
    Row("t2v-sampler-res_multistep", "float32", 138),
    Row("t2v-sampler-deis", "float32", 125),
    Row("t2v-sampler-ipndm", "float32", 125),
    Row("t2v-sampler-lcm", "float32", 138),
    Row("t2v-sampler-euler_ancestral", "float32", 138),
    Row("t2v-unipc-simple-8", "float32", 100),  # one unit in the last place of one coefficient costs 20 dB
    Row("t2v-custom-unipc", "float32", 100),
    Row("t2v-sampler-uni_pc_bh2", "float32", 100),
    Row("i2v-euler-normal-3", "float32", 140, 90),
    Row("i2v-exact-size", "float32", 140),
    Row("wan22-t2v-20-10", "float32", 140, 85),
    Row("wan22-t2v-as-preview", "float32", 140),
    Row("wan22-i2v-20-10", "float32", 140, 85),
    Row("t2v-euler-normal-3", "float16", 78.5, 55),
    Row("t2v-euler-normal-3", "bfloat16", 60.5),
    Row("t2v-euler-simple-8", "bfloat16", 57),
    Row("t2v-lora-0.5", "bfloat16", 57.5),
    Row("t2v-two-loras", "bfloat16", 59.5),
    Row("t2v-unipc-simple-8", "bfloat16", 52),
    Row("i2v-euler-normal-3", "bfloat16", 58, 51),
    Row("wan22-t2v-20-10", "bfloat16", 61, 47.5),
    Row("wan22-i2v-20-10", "bfloat16", 65, 44),
)
REFUSED: tuple[tuple[str, Dtype, str], ...] = (
    ("t2v-odd-size", "float32", "no multiples of 16 are not supported yet"),
    ("t2v-fp8", "float16", "fp8_e4m3fn: this quantization is not supported yet"),
    ("t2v-fp8", "bfloat16", "fp8_e4m3fn: this quantization is not supported yet"),
)


@pytest.fixture(scope="module")
def own_engine() -> Engine:
    return Engine("cpu")


@pytest.fixture(scope="module")
def generated() -> dict[Any, torch.Tensor]:
    """Latents by what decides them: several graphs ask for the same."""
    return {}


@pytest.mark.parametrize("row", MET, ids=[f"{row.name}-{row.dtype}" for row in MET])
def test_recording(own_engine: Engine, generated: dict[Any, torch.Tensor], row: Row) -> None:
    recipe = recorded_recipe(row.name, row.dtype)
    key = latents_key(recipe)
    if key not in generated:
        generated[key] = own_engine.denoise(recipe)
    latents = generated[key]
    assert decibels(latents.float().numpy(), recorded_latents(row.name, row.dtype)) >= row.latents
    if row.frames is not None:
        frames = own_engine.decode(latents, recipe)
        assert decibels(frames, recorded_frames(row.name, row.dtype), 255) >= row.frames


@pytest.mark.parametrize(("name", "dtype", "reason"), REFUSED)
def test_recording_that_cannot_be_had(own_engine: Engine, name: str, dtype: Dtype, reason: str) -> None:
    with pytest.raises(UnreproducibleError, match=reason):
        own_engine.denoise(recorded_recipe(name, dtype))


def test_every_recording_has_a_row() -> None:
    there = {(path.parent.name, path.name) for path in COMFYUI.glob("*/*") if path.is_dir()}
    assert sorted([(row.name, row.dtype) for row in MET] + [(name, dtype) for name, dtype, _ in REFUSED]) == sorted(
        there
    )


@pytest.mark.parametrize(
    ("changes", "latents", "frames"),
    [
        ({"text_encoding": "diffusers"}, 120, 90),  # its weights do not fit into float16
        ({"split": 9}, 60, 60),
        ({"eight_bit": "rounded"}, 150, 52),
    ],
)
def test_a_row_falls_below_with_one_setting_wrong(
    own_engine: Engine, changes: dict[str, Any], latents: float, frames: float
) -> None:
    """Must-fail of the table: at most this much is left of `wan22-t2v-20-10`."""
    recipe = dataclasses.replace(recorded_recipe("wan22-t2v-20-10"), **changes)
    got = own_engine.denoise(recipe)
    assert decibels(got.numpy(), recorded_latents("wan22-t2v-20-10")) < latents
    assert decibels(own_engine.decode(got, recipe), recorded_frames("wan22-t2v-20-10"), 255) < frames
