"""The values behind the keys of a LoRA file: frozen, one a module; each gives its difference and its side path."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.lora_keys import LoraKeys, Part

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class LowRank:
    """A LoRA layer, float32, with alpha / rank already in `down` and `up`."""

    down: torch.Tensor
    """(rank, in)."""
    up: torch.Tensor
    """(out, rank)."""
    bias: torch.Tensor | None = None
    """(out,): added to the module's bias at the LoRA's scale, as PEFT's `lora_bias` does."""

    def delta(self, out: torch.Tensor | None = None) -> torch.Tensor:
        """Return the difference of the weight at scale 1: (out, in), float32. `out`: the memory to write it to."""
        import torch

        return torch.matmul(self.up, self.down, out=out)

    def side(self, x: torch.Tensor, y: torch.Tensor, scale: float) -> torch.Tensor:
        """Return y + (B(A(x.float())) * scale).to(y.dtype) (ai-toolkit, network_mixins.py at 27a03a91)."""
        import torch

        side = torch.nn.functional.linear(torch.nn.functional.linear(x.float(), self.down), self.up, self.bias)
        return y + (side * scale).to(y.dtype)


@dataclass(frozen=True, slots=True)
class Kronecker:
    """A LoKr layer: its difference is the Kronecker product of two factors (ai-toolkit, lokr.py at 27a03a91)."""

    first: torch.Tensor
    """(out_l, in_m), float32."""
    second: tuple[torch.Tensor, ...]
    """(out_k, in_n), float32; or two matrices whose product it is."""
    alpha_scale: float
    """alpha / rank; 1 for two whole factors, whatever the file's alpha (ai-toolkit writes inf or 1e10 there)."""
    bias: None = None

    def delta(self) -> torch.Tensor:
        """Return the difference of the weight at scale 1: (out, in), float32."""
        import torch

        second = self.second[0] if len(self.second) == 1 else self.second[0] @ self.second[1]
        return torch.kron(self.first, second) * self.alpha_scale

    def side(self, x: torch.Tensor, y: torch.Tensor, scale: float) -> torch.Tensor:
        """Return y plus the difference's product with x, all of it in y's dtype and never as one matrix.

        So since e44c34a9 (2026-07-15, 0.10.24); before, each forward computed with W + difference in W's dtype.
        """
        import torch

        first, *second = (factor.to(y.dtype) for factor in (self.first, *self.second))
        x = x.to(y.dtype)
        part = x.reshape(*x.shape[:-1], first.shape[1], second[-1].shape[1])
        for factor in reversed(second):
            part = torch.einsum("...qs,os->...qo", part, factor)
        delta = torch.einsum("...qo,pq->...po", part, first * torch.tensor(self.alpha_scale, device=y.device))
        return y + delta.flatten(-2, -1) * torch.tensor(scale, device=y.device).to(y.dtype)


Layer = LowRank | Kronecker


def to_device(layer: Layer, device: torch.device) -> Layer:
    """Return the layer with its tensors on a device; itself if they are there."""
    if isinstance(layer, LowRank):
        if layer.down.device == device:
            return layer
        bias = None if layer.bias is None else layer.bias.to(device)
        return LowRank(layer.down.to(device), layer.up.to(device), bias)
    if layer.first.device == device:
        return layer
    second = tuple(factor.to(device) for factor in layer.second)
    return dataclasses.replace(layer, first=layer.first.to(device), second=second)


def make_layers(found: LoraKeys, tensors: Mapping[str, torch.Tensor]) -> dict[str, Layer]:
    """Make the layers of a file whose keys `check_coverage` has checked, by diffusers' module names."""
    return {name: _layer({part: tensors[key] for part, key in parts.items()}) for name, parts in found.layers.items()}


def _layer(parts: Mapping[Part, torch.Tensor]) -> Layer:
    import torch

    alpha = float(parts["alpha"].item()) if "alpha" in parts else None
    if any(part.startswith("w") for part in parts):
        first = [parts[part].float() for part in _FIRST if part in parts]
        second = tuple(parts[part].float() for part in _SECOND if part in parts)
        scale = 1.0
        if alpha is not None and (len(first) == 2 or len(second) == 2):
            scale = alpha / (second[1] if len(second) == 2 else first[1]).shape[0]
        return Kronecker(first[0] if len(first) == 1 else first[0] @ first[1], second, scale)
    bias = parts["bias"].float() if "bias" in parts else None
    if "diff" in parts:  # diffusers 0.42.1 makes it the down matrix, with an identity for up
        whole = parts["diff"].float()
        return LowRank(whole, torch.eye(whole.shape[0]), bias)
    down, up = parts["down"], parts["up"]
    if down.element_size() == 1:  # float8, which torch does not multiply
        down, up = down.float(), up.float()
    if alpha is not None:
        scale_down, scale_up = _split_scale(alpha / down.shape[0])
        down, up = down * scale_down, up * scale_up
    return LowRank(down.float(), up.float(), bias)


_FIRST: tuple[Part, ...] = ("w1", "w1_a", "w1_b")
_SECOND: tuple[Part, ...] = ("w2", "w2_a", "w2_b")


def _split_scale(scale: float) -> tuple[float, float]:
    """Divide a scale among down and up as diffusers 0.42.1 does (`get_alpha_scales`), in the file's dtype."""
    down, up = scale, 1.0
    while down * 2 < up:
        down, up = down * 2, up / 2
    return down, up
