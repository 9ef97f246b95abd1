"""Casts a loaded pipeline as the trainer does, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipelines.engine.checkpoint import load_vae
from pipelines.engine.lora import Undo, nothing
from pipelines.recipe import EXPERT_PARTS, Precision, Recipe

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


def float32_outputs(pipe: DiffusionPipeline) -> Undo:
    """Cast what the transformers return to float32, so that guidance and schedule compute and keep latents in it."""

    def cast_output(_module: torch.nn.Module, _inputs: object, output: object) -> object:
        return tuple(tensor.float() for tensor in output) if isinstance(output, tuple) else output

    parts: list[Any] = [getattr(pipe, name, None) for name in dict.fromkeys(EXPERT_PARTS.values())]
    handles = [part.register_forward_hook(cast_output) for part in parts if part is not None]

    def undo() -> None:
        for handle in handles:
            handle.remove()

    return undo


def other_vae(pipe: Any, recipe: Recipe, token: str | None = None) -> Undo:
    """Replace the VAE if the recipe has a dtype for it alone; the pipeline's own is kept for the way back.

    It is read again: float32 weights cannot be had from rounded ones.
    """
    if recipe.vae_computes == recipe.precision.dtype:
        return nothing
    own, pipe.vae = pipe.vae, load_vae(recipe, recipe.vae_computes, token)

    def undo() -> None:
        pipe.vae = own

    return undo


def _put(module: torch.nn.Module, name: str, tensor: torch.Tensor) -> None:
    """Replace a parameter or buffer, on its current device."""
    import torch

    parameter, buffer = module._parameters.get(name), module._buffers.get(name)
    if parameter is not None:
        module._parameters[name] = torch.nn.Parameter(tensor.to(parameter.device), requires_grad=False)
    elif buffer is not None:
        module._buffers[name] = tensor.to(buffer.device)
