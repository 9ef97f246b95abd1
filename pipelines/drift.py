"""Drift: the factors in which two recipes differ, and recipes with some factors taken from another.

A factor is a group of fields that has one cause; a counterfactual is `take(recipe, factor, other)`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeGuard

from pipelines.recipe import EXPERT_PARTS, Expert, LoraFile, Recipe, frame_duration

Factor = Literal[
    "checkpoint",
    "prompt",
    "negative_prompt",
    "snapping",
    "frame_count",
    "steps",
    "guidance",
    "seed",
    "scheduler",
    "boundary",
    "lora_file",
    "lora_file_high",
    "lora_file_low",
    "lora_scale",
    "lora_scale_high",
    "lora_scale_low",
    "lora_application",
    "precision",
    "quantization",
    "control_image",
    "resize",
    "conditioning",
    "compilation",
    "vae_tiling",
    "vae_norm",
    "merge_residue",
    "codec",
    "fps",
]
"""Everything that can drift between two recipes."""

FACTORS: dict[Factor, tuple[str, ...]] = {
    "checkpoint": ("weights",),
    "prompt": ("prompt", "text_encoding"),
    "negative_prompt": ("negative_prompt",),
    "snapping": ("width", "height"),
    "frame_count": ("num_frames",),
    "steps": ("steps",),
    "guidance": ("guidance_scale",),
    "seed": ("seed",),
    "scheduler": ("scheduler",),
    "boundary": ("boundary", "split"),
    "lora_file": ("lora_files",),
    "lora_file_high": ("lora_files",),
    "lora_file_low": ("lora_files",),
    "lora_scale": ("lora_scales",),
    "lora_scale_high": ("lora_scales",),
    "lora_scale_low": ("lora_scales",),
    "lora_application": ("lora_application",),
    "precision": ("precision", "float32_steps", "vae_dtype", "eight_bit"),
    "quantization": ("quantization",),
    "control_image": ("control_image",),
    "resize": ("resize", "clip_image"),
    "conditioning": ("conditioning",),
    "compilation": ("compiled",),
    "vae_tiling": ("vae_tiling",),
    "vae_norm": ("vae_norm",),
    "merge_residue": ("earlier_merges",),
    "codec": ("codec",),
    "fps": ("fps",),
}
"""The fields of a recipe behind every factor."""


LORA_FACTORS: dict[Factor, Expert | None] = {
    "lora_file": None,
    "lora_file_high": "high",
    "lora_file_low": "low",
    "lora_scale": None,
    "lora_scale_high": "high",
    "lora_scale_low": "low",
}
"""The factors about one expert's LoRA; None: the LoRA of a model's only transformer."""


_OF_AN_IMAGE: tuple[Factor, ...] = ("resize", "conditioning")
"""The factors about what is done with a control image: none without one."""


def is_factor(name: str) -> TypeGuard[Factor]:
    """True for the name of a factor; the name may come from a file."""
    return name in FACTORS


def lora_field(recipe: Recipe, factor: Factor) -> tuple[LoraFile | float, ...]:
    """The files or scales that one of LORA_FACTORS is about."""
    which = 0 if factor.startswith("lora_file") else 1
    return tuple(pair[which] for pair in recipe.loras(LORA_FACTORS[factor]))


def _effective(recipe: Recipe, name: str) -> Any:
    """The part of a field that reaches the pixels, so that a difference without effect is not called drift."""
    value = getattr(recipe, name)
    if name == "prompt" or name == "negative_prompt":
        return " ".join(value.split())  # diffusers' prompt_clean folds white space
    if name in ("width", "height", "num_frames"):
        return value.applied
    if name == "guidance_scale":
        return recipe.guidance
    if name == "weights":
        return tuple(value.places().values())
    if name == "vae_tiling":
        return recipe.tiles
    if name == "vae_norm" and recipe.precision.dtype == "float32":
        return "float32"
    if name == "quantization":
        return value.effective
    if name == "float32_steps" and recipe.precision.dtype == "float32":
        return False
    if name == "vae_dtype" and value == recipe.precision.dtype:
        return None
    return frame_duration(value) if name == "fps" else value


def differing_factors(preview: Recipe, inference: Recipe) -> list[Factor]:
    """The factors in which two recipes generate different videos, in FACTORS order."""
    found: list[Factor] = []
    for factor, names in FACTORS.items():
        if factor in LORA_FACTORS:
            ours, theirs = lora_field(preview, factor), lora_field(inference, factor)
            missing = factor.startswith("lora_scale") and not (ours and theirs)  # the missing file is the factor
            if ours != theirs and not missing:
                found.append(factor)
            continue
        if factor == "negative_prompt" and preview.guidance <= 1 and inference.guidance <= 1:
            continue  # never read without guidance
        if factor == "lora_application" and not (preview.lora_files and inference.lora_files):
            continue  # the missing file is the factor
        if factor in _OF_AN_IMAGE and (preview.control_image is None or inference.control_image is None):
            continue  # the missing image is the factor
        if factor == "fps" and preview.num_frames.applied == inference.num_frames.applied == 1:
            continue  # a still has no frame rate
        if any(_effective(preview, name) != _effective(inference, name) for name in names):
            found.append(factor)
    return found


_NO_SETTINGS = ("checkpoint", "codec", "fps")
"""Factors that are no setting of a generation: its weights, and what only touches the file."""


def frames_key(recipe: Recipe) -> tuple[Any, ...]:
    """Recipes with equal keys generate equal frames: everything but what only touches the file."""
    return (*settings_key(recipe), _effective(recipe, "weights"))


def settings_key(recipe: Recipe) -> tuple[Any, ...]:
    """`frames_key` without the weights: recipes with equal keys and weights of equal content generate equal frames."""
    if recipe.guidance <= 1:
        recipe = dataclasses.replace(recipe, negative_prompt="")
    if not recipe.lora_files:
        recipe = dataclasses.replace(recipe, lora_scales=(), lora_application="merged")
    names = (name for factor, fields in FACTORS.items() if factor not in _NO_SETTINGS for name in fields)
    return (recipe.pipeline, *(_effective(recipe, name) for name in dict.fromkeys(names)))


def latents_key(recipe: Recipe) -> tuple[Any, ...]:
    """Recipes with equal keys denoise to equal latents.

    Tiling counts where a control image goes through the VAE in tiles, the VAE's norm wherever it goes through it at
    all; elsewhere they affect the decode alone.
    """
    norm = recipe.vae_norm if recipe.control_image is not None else "float32"
    return frames_key(dataclasses.replace(recipe, vae_tiling=recipe.encodes_tiled, vae_norm=norm))


def take(recipe: Recipe, factor: Factor, other: Recipe) -> Recipe:
    """`recipe` with one factor's fields taken from `other`."""
    if factor in LORA_FACTORS:
        return _take_lora(recipe, factor, other)
    names = FACTORS[factor]
    if factor == "control_image" and (recipe.control_image is None) != (other.control_image is None):
        names = (*names, "pipeline", *(name for factor in _OF_AN_IMAGE for name in FACTORS[factor]))
    return dataclasses.replace(recipe, **{name: getattr(other, name) for name in names})


def _take_lora(recipe: Recipe, factor: Factor, other: Recipe) -> Recipe:
    expert = LORA_FACTORS[factor]
    ours, theirs = recipe.loras(expert), other.loras(expert)
    if ours and theirs:
        is_file = factor.startswith("lora_file")
        pairs = zip(theirs if is_file else ours, ours if is_file else theirs, strict=True)
        taken = tuple((file, scale) for (file, _), (_, scale) in pairs)
    else:
        taken = theirs  # no file, no scale
    changed = with_loras(recipe, taken, expert)
    if recipe.lora_files and other.lora_files:
        return changed
    return dataclasses.replace(changed, lora_application=other.lora_application)


def with_loras(recipe: Recipe, loras: Sequence[tuple[LoraFile, float]], expert: Expert | None) -> Recipe:
    """`recipe` with other LoRAs, given with their scales, for one expert, or for a model's only transformer."""
    sides = {each: recipe.loras(each) for each in EXPERT_PARTS} | {expert: tuple(loras)}
    pairs = [pair for each in EXPERT_PARTS for pair in sides[each]]
    files, scales = tuple(file for file, _ in pairs), tuple(scale for _, scale in pairs)
    return dataclasses.replace(recipe, lora_files=files, lora_scales=scales)


def take_all(recipe: Recipe, factors: Iterable[Factor], other: Recipe) -> Recipe:
    """`recipe` with several factors' fields taken from `other`."""
    for factor in factors:
        recipe = take(recipe, factor, other)
    return recipe
