"""Whether a LoRA file can change anything, and whether it did: from its matrices and a sample of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipelines.lora_keys import LoraKeys
from pipelines.ran import LoraRan
from pipelines.recipe import LoraFile

if TYPE_CHECKING:
    import torch

_SAMPLED_ROWS = 16


def effect_of(file: LoraFile, scale: float, found: LoraKeys, tensors: Mapping[str, torch.Tensor]) -> LoraRan:
    """What a LoRA file's matrices say before it is applied at a scale: its layers, and those that are exactly zero.

    `tensors` has the file's weights by their keys, `found` these keys by layer. A difference is a product of a layer's
    matrices: it is zero where one of them is. A bias is added to nothing.
    """
    empty = 0
    for parts in found.layers.values():
        factors = [tensors[key] for part, key in parts.items() if part != "bias"]
        bias = tensors[parts["bias"]] if "bias" in parts else None
        empty += any(map(_is_zero, factors)) and (bias is None or _is_zero(bias))
    return LoraRan(file=file.path.name, expert=file.expert, scale=scale, layers=len(found.layers), empty=empty)


def _is_zero(tensor: torch.Tensor) -> bool:
    whole = tensor.float() if tensor.element_size() == 1 else tensor  # torch reduces no float8
    return not bool(whole.any())


def sample(weight: torch.Tensor) -> torch.Tensor:
    """A copy of up to 16 rows of a weight, spread over all of it: enough to see whether it is another one."""
    return weight.detach()[:: max(1, len(weight) // _SAMPLED_ROWS)][:_SAMPLED_ROWS].clone()
