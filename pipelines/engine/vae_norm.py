"""The RMS norms of the Wan VAE as ai-toolkit computed them while it had its own copy of the VAE's code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.engine.lora import Undo, nothing
from pipelines.recipe import VaeNorm

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline


def apply(pipe: DiffusionPipeline, norm: VaeNorm) -> Undo:
    """Make the norms of a pipeline's VAE normalize in the VAE's dtype. The returned function undoes it exactly.

    `WanRMS_norm` of diffusers 0.42.1 normalizes half precision in float32; that of ai-toolkit before 883d60eb
    (toolkit/models/wan21/autoencoder_kl_wan.py), and of diffusers before 5fc2bd2c, in the input's own dtype.
    """
    if norm == "float32":
        return nothing
    from diffusers.models.autoencoders.autoencoder_kl_wan import WanRMS_norm

    norms = [module for module in pipe.vae.modules() if isinstance(module, WanRMS_norm)]
    for module in norms:
        module.forward = _in_own_dtype(module)

    def undo() -> None:
        for module in norms:
            del module.forward

    return undo


def _in_own_dtype(norm: torch.nn.Module) -> object:
    """The forward of a norm whose input, of any shape with channels first or last, keeps its dtype."""
    import torch

    def forward(x: torch.Tensor) -> torch.Tensor:
        normalized = torch.nn.functional.normalize(x, dim=1 if norm.channel_first else -1)
        scaled: torch.Tensor = normalized * norm.scale * norm.gamma + norm.bias  # type: ignore[operator]
        return scaled

    return forward
