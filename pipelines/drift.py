"""Drift: the factors in which two recipes differ, and recipes with some factors taken from another.

A factor is a group of fields that has one cause; a counterfactual is `take(recipe, factor, other)`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, TypeGuard

from pipelines import lora_pairs
from pipelines.experts import boundaries_differ
from pipelines.recipe import EXPERT_PARTS, Expert, LoraFile, Recipe, frame_duration
from pipelines.schedule_parts import PARTS, both_parts, canonical, take_part

Factor = Literal[
    "checkpoint",
    "prompt",
    "negative_prompt",
    "text_encoding",
    "snapping",
    "frame_count",
    "steps",
    "guidance",
    "seed",
    "scheduler",
    "sampler",
    "schedule",
    "shift",
    "boundary",
    "lora_file",
    "lora_file_high",
    "lora_file_low",
    "lora_scale",
    "lora_scale_high",
    "lora_scale_low",
    "extra_loras",
    "lora_application",
    "precision",
    "quantization",
    "control_image",
    "resize",
    "clip_image",
    "conditioning",
    "compilation",
    "vae_tiling",
    "vae_norm",
    "merge_residue",
    "eight_bit",
    "codec",
    "fps",
]
"""Everything that can drift between two recipes."""

FACTORS: dict[Factor, tuple[str, ...]] = {
    "checkpoint": ("weights",),
    "prompt": ("prompt",),
    "negative_prompt": ("negative_prompt",),
    "text_encoding": ("text_encoding",),
    "snapping": ("width", "height"),
    "frame_count": ("num_frames",),
    "steps": ("steps",),
    "guidance": ("guidance_scale",),
    "seed": ("seed",),
    "scheduler": ("scheduler",),
    "sampler": ("scheduler",),
    "schedule": ("scheduler",),
    "shift": ("scheduler",),
    "boundary": ("boundary", "split"),
    "lora_file": ("lora_files",),
    "lora_file_high": ("lora_files",),
    "lora_file_low": ("lora_files",),
    "lora_scale": ("lora_scales",),
    "lora_scale_high": ("lora_scales",),
    "lora_scale_low": ("lora_scales",),
    "extra_loras": ("lora_files", "lora_scales"),
    "lora_application": ("lora_application",),
    "precision": ("precision", "float32_steps", "vae_dtype"),
    "quantization": ("quantization",),
    "control_image": ("control_image",),
    "resize": ("resize",),
    "clip_image": ("clip_image",),
    "conditioning": ("conditioning",),
    "compilation": ("compiled",),
    "vae_tiling": ("vae_tiling",),
    "vae_norm": ("vae_norm",),
    "merge_residue": ("earlier_merges",),
    "eight_bit": ("eight_bit",),
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


SCHEDULE_PARTS = PARTS
"""The factors that replace `scheduler` where both sides have these parts, and one is ComfyUI's."""

_OF_AN_IMAGE: tuple[Factor, ...] = ("resize", "clip_image", "conditioning")
"""The factors about what is done with a control image: none without one."""

_MOVE_THE_EXPERTS = ("scheduler", *SCHEDULE_PARTS, "steps")
"""The factors on which it depends after how many steps the experts of Wan 2.2 switch."""


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
    if name in ("prompt", "negative_prompt") and recipe.text_encoding == "diffusers":
        return " ".join(value.split())  # diffusers' prompt_clean folds white space
    if name in ("width", "height", "num_frames"):
        return value.applied
    if name == "guidance_scale":
        return recipe.guidance
    if name == "weights":
        return tuple(value.places().values())
    if name == "scheduler":
        return canonical(value)
    if name == "boundary" and recipe.split is not None:
        return None  # the split wins
    if name == "vae_tiling":
        return recipe.tiles
    if name == "vae_norm" and recipe.vae_computes == "float32":
        return "float32"
    if name == "quantization":
        return value.effective
    if name == "resize" and _fits(recipe):
        return None
    if name == "clip_image" and not _has_clip(recipe):
        return "resized"
    if name == "float32_steps" and recipe.precision.dtype == recipe.vae_computes == "float32":
        return False
    if name == "vae_dtype" and value == recipe.precision.dtype:
        return None
    return frame_duration(value) if name == "fps" else value


def _fits(recipe: Recipe) -> bool:
    """True if the control image has the video's size, so that no resize changes it, nor turns it by its EXIF."""
    image = recipe.control_image
    if image is None or (image.width, image.height) != (recipe.width.applied, recipe.height.applied):
        return False
    return b"Exif" not in image.data and b"eXIf" not in image.data


def _has_clip(recipe: Recipe) -> bool:
    """True if a control image goes through CLIP: that of Wan 2.1."""
    return recipe.control_image is not None and recipe.boundary is None and not recipe.expand_timesteps


def differing_factors(preview: Recipe, inference: Recipe) -> list[Factor]:
    """The factors in which two recipes generate different videos, in FACTORS order."""
    return [factor for factor in FACTORS if _differs(factor, preview, inference)]


def _differs(factor: Factor, preview: Recipe, inference: Recipe) -> bool:
    if factor in LORA_FACTORS or factor == "extra_loras":
        experts = EXPERT_PARTS if factor == "extra_loras" else (LORA_FACTORS[factor],)
        differs = _LORAS[factor.removesuffix("_high").removesuffix("_low")][0]
        return any(differs(preview.loras(expert), inference.loras(expert)) for expert in experts)
    if factor == "scheduler" or factor in SCHEDULE_PARTS:
        return factor in _scheduling(preview, inference)
    if factor == "boundary":
        return boundaries_differ(preview, inference)
    if factor == "negative_prompt" and preview.guidance <= 1 and inference.guidance <= 1:
        return False  # never read without guidance
    if factor == "lora_application" and not (preview.lora_files and inference.lora_files):
        return False  # the missing file is the factor
    if factor in _OF_AN_IMAGE and (preview.control_image is None or inference.control_image is None):
        return False  # the missing image is the factor
    if factor == "fps" and preview.num_frames.applied == inference.num_frames.applied == 1:
        return False  # a still has no frame rate
    return any(_effective(preview, name) != _effective(inference, name) for name in FACTORS[factor])


def _scheduling(preview: Recipe, inference: Recipe) -> tuple[Factor, ...]:
    """The factors in which two schedules differ: the parts, where both have them, else `scheduler` as a whole."""
    pair = both_parts(preview.scheduler, inference.scheduler)
    if pair is None:
        return () if preview.scheduler == inference.scheduler else ("scheduler",)
    return tuple(part for part in SCHEDULE_PARTS if pair[0].of(part) != pair[1].of(part))


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

    Tiling counts where a control image goes through the VAE in tiles, the VAE's norm and dtype wherever it goes through
    it at all; elsewhere they affect the decode alone, as the way to 8 bit always does.
    """
    recipe = dataclasses.replace(recipe, vae_tiling=recipe.encodes_tiled, eight_bit="rounded")
    if recipe.control_image is None:
        recipe = dataclasses.replace(recipe, vae_norm="float32", vae_dtype=None)
    return frames_key(recipe)


def take(recipe: Recipe, factor: Factor, other: Recipe) -> Recipe:
    """`recipe` with one factor's fields taken from `other`."""
    if factor in LORA_FACTORS or factor == "extra_loras":
        return _take_lora(recipe, factor, other)
    names = FACTORS[factor]
    changes: dict[str, Any] = {name: getattr(other, name) for name in names}
    if factor in SCHEDULE_PARTS:
        changes = {"scheduler": take_part(recipe.scheduler, factor, other.scheduler)}
    if factor in _MOVE_THE_EXPERTS and not boundaries_differ(recipe, other):
        # A split that is right on one schedule is wrong on another one, where the same boundary is not.
        changes |= {"boundary": other.boundary, "split": other.split}
    if factor == "control_image" and (recipe.control_image is None) != (other.control_image is None):
        names = ("pipeline", *(name for factor in _OF_AN_IMAGE for name in FACTORS[factor]))
        changes |= {name: getattr(other, name) for name in names}
    return dataclasses.replace(recipe, **changes)


_LORAS: dict[str, tuple[Callable[..., bool], Callable[..., tuple[lora_pairs.Lora, ...]]]] = {
    "lora_file": (lora_pairs.files_differ, lora_pairs.take_files),
    "lora_scale": (lora_pairs.scales_differ, lora_pairs.take_scales),
    "extra_loras": (lora_pairs.extras_differ, lora_pairs.take_extras),
}
"""Whether the LoRAs of one transformer differ in a factor, and those of the first side with it taken from the other."""


def _take_lora(recipe: Recipe, factor: Factor, other: Recipe) -> Recipe:
    taken = _LORAS[factor.removesuffix("_high").removesuffix("_low")][1]
    changed = recipe
    for expert in EXPERT_PARTS if factor == "extra_loras" else (LORA_FACTORS[factor],):
        changed = with_loras(changed, taken(recipe.loras(expert), other.loras(expert)), expert)
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
