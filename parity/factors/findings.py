"""Findings: what differs between two recipes, and whether they repeat, named before any model runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from parity.case.load import Case
from parity.factors.catalogue import CATALOGUE
from parity.results.case import Evidence, FindingResult
from pipelines.drift import FACTORS, LORA_FACTORS, differing_factors, lora_field
from pipelines.recipe import Recipe

_UNSEEDED = "the noise in its control image's latents comes from a generator that nobody seeds"
NEVER_TWICE = f"no two drawings of this request are alike: {_UNSEEDED}, so its figures are those of one drawing"
GPU_NOISE = (
    "the noise in the control image's latents comes from the GPU's generator, whose numbers depend on the GPU model: "
    "on another one this request gives another video"
)


def show_field(recipe: Recipe, name: str) -> str:
    """A recipe field for people; a dash for nothing."""
    value = getattr(recipe, name)
    if name == "seed" and value is None:
        return "random"
    if name == "compiled":
        return "torch.compile" if value else "-"
    return _words(value if isinstance(value, tuple) else (value,)) or "-"


def _words(items: Iterable[Any]) -> str:
    return ", ".join(f"{item:g}" if isinstance(item, float) else str(item) for item in items if item is not None)


def show(recipe: Recipe, factor: str) -> str:
    """A factor's value in a recipe, for people."""
    if factor == "snapping":
        width, height = recipe.width, recipe.height
        applied, asked = f"{width.applied}x{height.applied}", f"{width.asked}x{height.asked}"
        return applied if asked == applied else f"{applied} (asked {asked})"
    if factor in LORA_FACTORS:
        return _words(lora_field(recipe, factor)) or "none"
    shown = (show_field(recipe, name) for name in FACTORS[factor])
    return ", ".join(word for word in shown if word != "-") or "none"


def known_differences(case: Case) -> tuple[FindingResult, ...]:
    """What is known before anything is drawn. Of a server it is only what is expected."""
    return find_differences(case.preview, case.inference, "recipe" if case.target is None else "expected")


def find_differences(preview: Recipe, inference: Recipe, evidence: Evidence = "recipe") -> tuple[FindingResult, ...]:
    """One finding per differing factor, both values in words."""
    return tuple(
        FindingResult(
            factor=factor,
            preview=show(preview, factor),
            inference=show(inference, factor),
            note=CATALOGUE[factor].note,
            fix=CATALOGUE[factor].fix(preview),
            evidence=evidence,
        )
        for factor in differing_factors(preview, inference)
    )


def why_not(recipe: Recipe) -> str | None:
    """Why two drawings of a recipe need not be alike; None: they must be."""
    if not recipe.repeats:
        return _UNSEEDED
    if recipe.seed is None:
        return "the request has no seed"
    if recipe.compiled:
        return "torch.compile (max-autotune) chooses kernels by how fast they are at the time"
    return None


def notes_on_repeating(case: Case) -> tuple[str, ...]:
    """What the recipes alone say, without a drawing."""
    inference, preview = case.inference.conditioning, case.preview.conditioning
    if not case.inference.repeats:
        return (NEVER_TWICE,)
    on_gpu = inference is not None and inference.noise == "cuda"
    # Of a preview drawn on a GPU its own notes say so.
    return (GPU_NOISE,) if on_gpu and (preview is None or preview.noise != "cuda") else ()
