"""An engine that remembers, for tests whose subject is what is tried and not how it is generated."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from pipelines.drift import frames_key, latents_key
from pipelines.engine.engine import Engine
from pipelines.engine.stages import OnStep, Trace
from pipelines.media.video import Frames
from pipelines.recipe import Recipe

if TYPE_CHECKING:
    import torch


class Remembering(Engine):
    """Denoises and decodes equal recipes once. `generate` does neither from memory, so what a search is to find is
    generated apart from what it finds."""

    def __init__(self) -> None:
        super().__init__("cpu")
        self._latents: dict[Hashable, torch.Tensor] = {}
        self._frames: dict[Hashable, Frames] = {}

    def generate(self, recipe: Recipe, on_step: OnStep | None = None, token: str | None = None) -> Frames:
        return super().decode(super().denoise(recipe, on_step, token), recipe, token)

    def denoise(
        self, recipe: Recipe, on_step: OnStep | None = None, token: str | None = None, trace: Trace | None = None
    ) -> torch.Tensor:
        key = latents_key(recipe)
        if trace is not None or not recipe.repeats:
            return super().denoise(recipe, on_step, token, trace)
        if key not in self._latents:
            self._latents[key] = super().denoise(recipe, on_step, token)
        return self._latents[key]

    def decode(self, latents: torch.Tensor, recipe: Recipe, token: str | None = None) -> Frames:
        key: tuple[Any, ...] = (latents.float().numpy().tobytes(), frames_key(recipe))
        if key not in self._frames:
            self._frames[key] = super().decode(latents, recipe, token)
        return self._frames[key]
