"""Findings: which factors differ between two recipes, and whether a recipe is repeatable. No model runs for this."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from parity.case.load import Case
from parity.factors.catalogue import CATALOGUE
from parity.factors.code import code_of
from parity.factors.comfyui_fixes import fix_on
from parity.results.case import Evidence, FindingResult
from pipelines.drift import FACTORS, LORA_FACTORS, SCHEDULE_PARTS, Factor, differing_factors, lora_field
from pipelines.experts import switch_in_words
from pipelines.limits import limits_of
from pipelines.recipe import RECIPE_DEFAULTS, ClipImage, Recipe, value_of
from pipelines.schedule_parts import parts_of

_UNSEEDED = "the noise in its control image's latents comes from an unseeded generator"
NEVER_TWICE = (
    f"no two generations of this request are identical: {_UNSEEDED}, so its figures are those of one generation"
)
GPU_NOISE = (
    "the noise in the control image's latents comes from the GPU's generator, whose numbers depend on the GPU model: "
    "on another model this request gives another video"
)


_QUIET = ("split", "text_encoding", "clip_image", "float32_steps", "vae_dtype", "eight_bit")
"""Fields that are shown only where they are not what diffusers does."""


_CLIP_IMAGE: dict[ClipImage, str] = {
    "resized": "the resized image",
    "original_stretched": "the original image, stretched",
    "original_center": "the original image, its center",
}


def show_field(recipe: Recipe, name: str) -> str:
    """Format a recipe's field, or a key of `to_dict`, for people; a dash stands for nothing."""
    value = recipe.weights if name == "weights" else value_of(recipe, name)
    if name == "seed" and value is None:
        return "random"
    if name == "compiled":
        return "torch.compile" if value else "-"
    if name in _QUIET and value == RECIPE_DEFAULTS[name]:
        return "-"
    if name == "float32_steps":
        return "float32 outside the transformer"
    if name == "vae_dtype":
        return f"VAE in {value}"
    if name == "split" and value is not None:
        return f"split at {value} of {recipe.steps}"
    if name == "clip_image":
        return _CLIP_IMAGE[recipe.clip_image]
    return _joined(value if isinstance(value, tuple) else (value,)) or "-"


def _joined(items: Iterable[Any]) -> str:
    return ", ".join(f"{item:g}" if isinstance(item, float) else str(item) for item in items if item is not None)


def show(recipe: Recipe, factor: Factor) -> str:
    """Format a factor's value in a recipe for people."""
    if factor == "snapping":
        width, height = recipe.width, recipe.height
        applied, asked = f"{width.applied}x{height.applied}", f"{width.asked}x{height.asked}"
        return applied if asked == applied else f"{applied} (asked {asked})"
    if factor in LORA_FACTORS:
        return _joined(lora_field(recipe, factor)) or "none"
    if factor == "extra_loras":
        loras = zip(recipe.lora_files, recipe.lora_scales, strict=True)
        return _joined(f"{file} at {scale:g}" for file, scale in loras) or "none"
    if factor in SCHEDULE_PARTS and (parts := parts_of(recipe.scheduler)) is not None:
        return parts.show(factor)
    if factor == "boundary" and recipe.split is not None:
        return show_field(recipe, "split")
    if factor == "clip_image":
        return _CLIP_IMAGE[recipe.clip_image]
    if factor in ("text_encoding", "eight_bit"):
        return str(value_of(recipe, factor))
    shown = (show_field(recipe, name) for name in FACTORS[factor])
    return ", ".join(value for value in shown if value != "-") or "none"


def note_on(factor: Factor, preview: Recipe, inference: Recipe) -> str:
    """One line that says what a difference in a factor means: of two experts where a split would have to be."""
    if factor == "boundary" and (switch := switch_in_words(preview, inference)):
        return switch
    if factor == "text_encoding" and "(" not in preview.prompt + preview.negative_prompt + inference.prompt:
        return "ComfyUI computes the text in float32: only rounding, for no word of this prompt has a weight"
    return CATALOGUE[factor].note


NOT_IN_A_GRAPH: tuple[Factor, ...] = ("precision", "vae_tiling", "vae_norm", "compilation")
"""Factors that no ComfyUI graph says: it names files, not the command line's dtypes, nor what lacked memory."""


def evidence_of(case: Case, factor: str) -> Evidence:
    """The evidence for a difference in the case's recipes before anything is generated or compared."""
    if not case.made_elsewhere:
        return "recipe"
    return "file" if case.comfyui is not None and factor not in NOT_IN_A_GRAPH else "expected"


def known_differences(case: Case) -> tuple[FindingResult, ...]:
    """Findings known before anything is generated; of a video made elsewhere what its graph says, or expectations.

    What this version cannot generate is a finding also if both sides have it: the output is generated without it.
    """
    if case.made_elsewhere:
        return tuple(
            dataclasses.replace(finding, evidence=evidence_of(case, finding.factor))
            for finding in find_differences(case.preview, case.inference)
        )
    left_out = limits_of(case.inference)
    found = {finding.factor: finding for finding in find_differences(case.preview, case.inference)}
    found |= {
        factor: FindingResult(
            factor=factor,
            preview=show(case.preview, factor),
            inference=f"generated without: {show(case.inference, factor)}",
            note=f"not supported yet, so the output is generated without it: {reason}",
        )
        for factor, reason in left_out.items()
    }
    return tuple(found[factor] for factor in FACTORS if factor in found)


def limits_in_words(case: Case) -> tuple[str, ...]:
    """What this version cannot generate of either side of a case, each with the reason and what is done instead."""
    ours = {} if case.made_elsewhere else limits_of(case.inference)
    return tuple(
        f"{factor} is not supported yet: {reason}; both sides are generated without it, everything else is compared"
        for factor, reason in (limits_of(case.preview) | ours).items()
    )


def find_differences(preview: Recipe, inference: Recipe, evidence: Evidence = "recipe") -> tuple[FindingResult, ...]:
    """Return one finding per differing factor, with both values as text."""
    return tuple(
        FindingResult(
            factor=factor,
            preview=show(preview, factor),
            inference=show(inference, factor),
            note=note_on(factor, preview, inference),
            fix=fix_on(factor, preview, inference),
            code=code_of(factor, preview),
            evidence=evidence,
        )
        for factor in differing_factors(preview, inference)
    )


def why_not_repeatable(recipe: Recipe) -> str | None:
    """Say why two generations of a recipe can differ; None if they must be identical."""
    if not recipe.repeats:
        return _UNSEEDED
    if recipe.seed is None:
        return "the request has no seed"
    if recipe.compiled:
        return "torch.compile (max-autotune) selects kernels by measured speed, which varies from run to run"
    return None


def notes_on_repeating(case: Case) -> tuple[str, ...]:
    """Notes on repeatability that follow from the recipes alone, without generating anything."""
    inference, preview = case.inference.conditioning, case.preview.conditioning
    if not case.inference.repeats:
        return (NEVER_TWICE,)
    on_gpu = inference is not None and inference.noise == "cuda"
    # The notes of a preview generated on a GPU already say so.
    return (GPU_NOISE,) if on_gpu and (preview is None or preview.noise != "cuda") else ()
