"""Adds differences to weights in float32, in memory that is used again: fresh memory costs more than the sums do."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pipelines.engine.lora_layers import Layer, LowRank, to_device

if TYPE_CHECKING:
    import torch


class Merger:
    """Merges into one weight after another with buffers of the largest one's size, on the weight's device."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, torch.device], torch.Tensor] = {}

    def delta(self, layer: Layer, weight: torch.Tensor) -> torch.Tensor:
        """Return a layer's difference at scale 1, float32, in the shape of its weight. It holds until the next call."""
        there = to_device(layer, weight.device)
        return there.delta(self._buffer("delta", weight)) if isinstance(there, LowRank) else there.delta()

    def add(self, weight: torch.Tensor, terms: Iterable[tuple[torch.Tensor, float]]) -> None:
        """Let a weight become W.float() + scale * difference of each term, in turn, cast back to W's dtype once.

        A product is rounded before it is added: `add_` with `alpha` may fuse the two, which rounds otherwise.
        """
        import torch

        with torch.no_grad():
            is_float32 = weight.dtype == torch.float32
            total = weight if is_float32 else self._buffer("total", weight).copy_(weight)
            for delta, scale in terms:
                total.add_(delta if scale == 1 else torch.mul(delta, scale, out=self._buffer("term", weight)))
            if not is_float32:
                weight.copy_(total)

    def _buffer(self, name: str, like: torch.Tensor) -> torch.Tensor:
        import torch

        size = math.prod(like.shape)
        buffer = self._buffers.get((name, like.device))
        if buffer is None or buffer.numel() < size:
            buffer = torch.empty(size, dtype=torch.float32, device=like.device)
            self._buffers[name, like.device] = buffer
        return buffer[:size].view(like.shape)
