"""Where the two experts of Wan 2.2 14B switch: at a share of the timesteps, or after a number of steps (ComfyUI)."""

from __future__ import annotations

from pipelines.comfyui_schedules import SCHEDULES, comfyui_sigmas, high_noise_steps
from pipelines.recipe import Recipe
from pipelines.schedule_parts import parts_of


def steps_before(recipe: Recipe, boundary: float) -> int | None:
    """The steps of a recipe whose noise is at or above `boundary`; None where only diffusers knows its sigmas."""
    parts = parts_of(recipe.scheduler)
    if parts is None or parts.schedule not in SCHEDULES:
        return None
    sigmas = comfyui_sigmas(
        parts.sampler,
        parts.schedule,
        parts.shift,
        recipe.steps,
        denoise=parts.denoise,
        basic=parts.basic,
    )
    return high_noise_steps(sigmas, boundary)


def boundaries_differ(one: Recipe, other: Recipe) -> bool:
    """True if the experts switch elsewhere.

    A split is compared with the other side's boundary on the schedule that is split: a difference of the schedules is
    no difference of the boundary.
    """
    if one.split is None and other.split is None:
        return one.boundary != other.boundary
    if one.split is not None and other.split is not None:
        return one.split != other.split
    split, bounded = (one, other) if one.split is not None else (other, one)
    return bounded.boundary is None or steps_before(split, bounded.boundary) != split.split


def switch_in_words(preview: Recipe, inference: Recipe) -> str:
    """Where both sides switch, if one of them splits by steps: empty if neither does, or if it is not known."""
    if inference.split is None or preview.split is not None or preview.boundary is None:
        return ""
    at = steps_before(inference, preview.boundary)
    if at is None:
        return ""
    return f"split at {inference.split} of {inference.steps}; the trainer's boundary {preview.boundary:g} is at {at}"
