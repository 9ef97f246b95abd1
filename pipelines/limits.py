"""Limits: what of a recipe this version cannot generate, and the rest, which it generates all the same."""

from __future__ import annotations

import dataclasses

from pipelines.drift import Factor
from pipelines.quantization import Quantization, unsupported
from pipelines.recipe import Recipe


def limits_of(recipe: Recipe) -> dict[Factor, str]:
    """The factors of a recipe that this version cannot generate, each with the reason."""
    reason = unsupported(recipe.quantization)
    return {} if reason is None else {"quantization": reason}


def within_limits(recipe: Recipe) -> Recipe:
    """The recipe without what this version cannot generate: equal to `recipe` if there is no such thing."""
    if not limits_of(recipe):
        return recipe
    text_encoder = Quantization(text_encoder=recipe.quantization.text_encoder)
    rest = text_encoder if unsupported(text_encoder) is None else Quantization()
    return dataclasses.replace(recipe, quantization=rest)
