"""Findings: what differs between two recipes, named before any model runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from parity.case import Case
from parity.factors import CATALOGUE
from parity.result import Evidence, FindingResult
from pipelines.drift import FACTORS, LORA_FACTORS, differing_factors, lora_field
from pipelines.recipe import Recipe


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
