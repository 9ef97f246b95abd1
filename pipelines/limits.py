"""Limits: what of a recipe this version cannot generate, and the rest, which it generates all the same."""

from __future__ import annotations

import dataclasses

from pipelines.comfyui_schedules import why_not_split
from pipelines.comfyui_text import not_known
from pipelines.drift import Factor
from pipelines.quantization import Quantization, unsupported
from pipelines.recipe import Recipe
from pipelines.scheduler import COMFYUI


def limits_of(recipe: Recipe) -> dict[Factor, str]:
    """The factors of a recipe that this version cannot generate, each with the reason."""
    reasons: dict[Factor, str | None] = {
        "quantization": unsupported(recipe.quantization),
        "text_encoding": _why_not_read(recipe),
    }
    return {factor: reason for factor, reason in reasons.items() if reason is not None}


def why_not_sampled(recipe: Recipe) -> str | None:
    """The reason why this version cannot sample as a recipe says; None if it can."""
    if recipe.scheduler.family != COMFYUI:
        return None
    if recipe.guidance_scale < 1:
        return f"cfg {recipe.guidance_scale:g}: ComfyUI guides below 1 too, not supported yet; supported: 1 and above"
    if recipe.compiled:
        return "`compiled` with a sampler of ComfyUI's is not supported yet; remove `compiled`"
    if recipe.split is not None:
        sampler = str(dict(recipe.scheduler.settings)["sampler"])
        if (reason := why_not_split(sampler)) is not None:
            return reason
    sigmas = recipe.scheduler.sigmas(recipe.steps)
    if len(set(sigmas)) < len(sigmas):
        return f"{recipe.steps} steps: some would be at the same noise level as the one before; use fewer"
    return None


def within_limits(recipe: Recipe) -> Recipe:
    """The recipe without what this version cannot generate: equal to `recipe` if there is no such thing."""
    limits = limits_of(recipe)
    if "text_encoding" in limits:
        recipe = dataclasses.replace(recipe, text_encoding="diffusers")
    if "quantization" not in limits:
        return recipe
    text_encoder = Quantization(text_encoder=recipe.quantization.text_encoder)
    rest = text_encoder if unsupported(text_encoder) is None else Quantization()
    return dataclasses.replace(recipe, quantization=rest)


def _why_not_read(recipe: Recipe) -> str | None:
    """The reason why it is not known how ComfyUI reads a prompt, among those that reach the pixels."""
    if recipe.text_encoding != "comfyui":
        return None
    texts = (recipe.prompt, recipe.negative_prompt) if recipe.guidance > 1 else (recipe.prompt,)
    return next(filter(None, map(not_known, texts)), None)
