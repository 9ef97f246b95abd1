"""What a search tries besides where ComfyUI may have made one side: other searches do not get longer by it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from parity.case.load import Case
from parity.diagnosis.axis import Axis, Option
from pipelines.comfyui_schedules import SPLIT_SAMPLERS
from pipelines.recipe import ClipImage, Dtype, EightBit, Recipe, TextEncoding
from pipelines.schedule_parts import Parts, parts_of
from pipelines.scheduler import COMFYUI, comfyui_schedule

_SAMPLERS = ("euler", "uni_pc", "dpmpp_2m", "res_multistep", "heun")
_SCHEDULES = ("simple", "normal", "beta", "sgm_uniform")
DTYPES: tuple[Dtype, ...] = ("float16", "bfloat16")
"""float16 is ComfyUI's own choice on a GPU, bfloat16 that of `--bf16-unet`; its VAE is bfloat16 (0.3.64)."""


def involves_comfyui(case: Case) -> bool:
    """True if ComfyUI may have made one side: a graph or a part of one says so, or a file has come from anywhere."""
    families = (case.preview.scheduler.family, case.inference.scheduler.family)
    return COMFYUI in families or case.output is not None or case.comfyui is not None


def _samplers(recipe: Recipe) -> Iterator[Option]:
    """Try the schedules of the official templates as a whole, then other samplers on the current schedule."""
    now = parts_of(recipe.scheduler) or Parts(sampler="euler", schedule="normal", shift=recipe.scheduler.shift)
    known = [(sampler, "simple", shift) for sampler in ("euler", "uni_pc") for shift in (8.0, 5.0)]
    for sampler, schedule, shift in (*known, *((name, now.schedule, now.shift) for name in _SAMPLERS)):
        if recipe.boundary is None or sampler in SPLIT_SAMPLERS:
            made = comfyui_schedule(sampler, schedule, shift, denoise=now.denoise)
            yield Option(label=str(made), changes={"scheduler": made})


def _schedules(recipe: Recipe) -> Iterator[Option]:
    now = parts_of(recipe.scheduler)
    if now is None:
        return
    for name in _SCHEDULES:
        made = comfyui_schedule(now.sampler, name, now.shift, denoise=now.denoise, basic=now.basic)
        yield Option(label=str(made), changes={"scheduler": made})


def _encodings(_: Recipe) -> Iterator[Option]:
    for name in get_args(TextEncoding):
        yield Option(label=name, changes={"text_encoding": name})


def _clip_images(recipe: Recipe) -> Iterator[Option]:
    if recipe.control_image is not None and recipe.boundary is None and not recipe.expand_timesteps:
        for name in get_args(ClipImage):
            yield Option(label=name.replace("_", ", "), changes={"clip_image": name})


def _eight_bits(_: Recipe) -> Iterator[Option]:
    for name in get_args(EightBit):
        yield Option(label=name, changes={"eight_bit": name})


AXES = (
    Axis(factor="sampler", options=_samplers),
    Axis(factor="schedule", options=_schedules),
    Axis(factor="text_encoding", options=_encodings),
    Axis(factor="clip_image", options=_clip_images),
    Axis(factor="eight_bit", options=_eight_bits, only_rounds=True),
)
