"""Casts a loaded pipeline as the trainer does, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.engine.lora import Undo, nothing
from pipelines.recipe import Precision

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline


def cast(pipe: DiffusionPipeline, precision: Precision) -> Undo:
    """Cast a pipeline that `from_pretrained` loaded to a precision. The returned function undoes it exactly.

    ai-toolkit (toolkit/models/wan21 at 27a03a91) calls `.to(dtype=…)` on every part after loading, so the modules
    that diffusers keeps in float32 are rounded too. They are small, so their originals are kept for the way back.
    """
    import torch

    if precision.fp32_modules == "kept":
        return nothing
    dtype: torch.dtype = getattr(torch, precision.dtype)
    originals: list[tuple[torch.nn.Module, str, torch.Tensor]] = []
    for part in pipe.components.values():
        if not isinstance(part, torch.nn.Module):
            continue
        for module in part.modules():
            for tensors in (module._parameters, module._buffers):
                for name, tensor in tensors.items():
                    if tensor is not None and tensor.is_floating_point() and tensor.dtype != dtype:
                        originals.append((module, name, tensor.detach()))
                        _put(module, name, tensor.detach().to(dtype))

    def undo() -> None:
        for module, name, tensor in originals:
            _put(module, name, tensor)

    return undo


def _put(module: torch.nn.Module, name: str, tensor: torch.Tensor) -> None:
    """Replace a parameter or buffer, on its current device."""
    import torch

    parameter, buffer = module._parameters.get(name), module._buffers.get(name)
    if parameter is not None:
        module._parameters[name] = torch.nn.Parameter(tensor.to(parameter.device), requires_grad=False)
    elif buffer is not None:
        module._buffers[name] = tensor.to(buffer.device)
