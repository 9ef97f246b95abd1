"""Models as ComfyUI keeps its encoders of text and images: weights stored in float16, everything computed in float32.

ComfyUI a125cd84 (0.3.64, 2025-10-12) casts the weights up layer by layer.
"""

from __future__ import annotations

from typing import Any

import torch


class Float16Linear(torch.nn.Linear):
    """A linear layer that stores its weight in float16 and multiplies in float32; `weight` is computed when read."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        torch.nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.bias = layer.bias
        self.stored = torch.nn.Parameter(layer.weight.detach().half(), requires_grad=False)

    @property
    def weight(self) -> torch.Tensor:  # type: ignore[override]
        """The weight (out, in), float32."""
        return self.stored.float()


def store_in_float16(model: Any) -> Any:
    """Round all weights of a loaded model to float16, and let it compute in float32. Returns the model.

    Only the weights of linear layers and tables of embeddings stay float16: they are nearly all of it.
    """
    modules = list(model.named_modules())
    tables = {id(module.weight) for _, module in modules if isinstance(module, torch.nn.Embedding)}
    for name, module in modules:
        if isinstance(module, torch.nn.Linear):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, Float16Linear(module))
        elif isinstance(module, torch.nn.Embedding):
            module.register_forward_hook(lambda _module, _inputs, rows: rows.float())
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_floating_point() and not name.endswith(".stored"):
            tensor.data = tensor.data.half() if id(tensor) in tables else tensor.data.half().float()
    return model
