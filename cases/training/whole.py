"""AutoencoderKLWan over a whole clip at once, for training: diffusers 0.42.1 goes through it in chunks of 4 frames.

The convolutions are causal and every chunk sees the one before, so the numbers are the same but for rounding (`check`);
with `hasten` a step takes seven tenths of the time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def patchify(video: torch.Tensor, size: int) -> torch.Tensor:
    """Reshape (B, C, T, H, W) to (B, C * size * size, T, H / size, W / size), in diffusers' order of channels."""
    batch, channels, frames, height, width = video.shape
    x = video.view(batch, channels, frames, height // size, size, width // size, size)
    return x.permute(0, 1, 6, 4, 2, 3, 5).reshape(batch, -1, frames, height // size, width // size)


def unpatchify(x: torch.Tensor, size: int) -> torch.Tensor:
    """Undo `patchify`."""
    batch, _, frames, height, width = x.shape
    x = x.view(batch, -1, size, size, frames, height, width).permute(0, 1, 4, 5, 3, 6, 2)
    return x.reshape(batch, -1, frames, height * size, width * size)


def encode(vae: Any, video: torch.Tensor) -> torch.Tensor:
    """Encode (B, 3, 4n + 1, H, W) in -1 to 1 as mean and log variance, (B, 32, n + 1, H / 8, W / 8)."""
    encoder = vae.encoder
    x = encoder.conv_in(patchify(video, vae.config.patch_size or 1))
    for block in encoder.down_blocks:
        x = block(x)
        if getattr(block, "mode", "") == "downsample3d":  # the first frame stays alone
            x = torch.cat([x[:, :, :1], block.time_conv(x)], 2)
    x = encoder.mid_block(x)
    moments: torch.Tensor = vae.quant_conv(encoder.conv_out(encoder.nonlinearity(encoder.norm_out(x))))
    return moments


def decode(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Decode (B, 16, n + 1, H / 8, W / 8) to (B, 3, 4n + 1, H, W), not clamped."""
    decoder = vae.decoder
    x = decoder.mid_block(decoder.conv_in(vae.post_quant_conv(latents)))
    for block in decoder.up_blocks:
        for resnet in block.resnets:
            x = resnet(x)
        for up in block.upsamplers or ():
            if up.mode == "upsample3d" and x.shape[2] > 1:
                batch, channels, frames, height, width = x[:, :, 1:].shape
                twice = up.time_conv(x[:, :, 1:]).view(batch, 2, channels, frames, height, width)
                twice = twice.permute(0, 2, 3, 1, 4, 5).reshape(batch, channels, 2 * frames, height, width)
                x = torch.cat([x[:, :, :1], twice], 2)
            x = up(x)
    pixels: torch.Tensor = decoder.conv_out(decoder.nonlinearity(decoder.norm_out(x)))
    return unpatchify(pixels, vae.config.patch_size or 1)


class FastNorm(nn.Module):
    """WanRMS_norm in one pass, sharing its weight: x / |x| * sqrt(channels) * gamma."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.gamma, self.scale = norm.gamma, norm.scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise (B, C, …), keeping its shape."""
        normed: torch.Tensor = x * torch.rsqrt(x.square().sum(1, keepdim=True) + 1e-12) * (self.scale * self.gamma)
        return normed


def hasten(module: Any) -> None:
    """Replace every WanRMS_norm by `FastNorm`; names and weights do not change."""
    for name, child in list(module.named_children()):
        if type(child).__name__ == "WanRMS_norm":
            setattr(module, name, FastNorm(child))
        else:
            hasten(child)


@torch.no_grad()
def check(vae: Any) -> float:
    """Measure the largest difference from diffusers' own encode and decode, on noise."""
    video = torch.rand((1, 3, 9, 32, 48), generator=torch.Generator().manual_seed(0)) * 2 - 1
    moments = encode(vae, video)
    latents = moments[:, :16]
    pixels = decode(vae, latents).clamp(-1, 1)  # as AutoencoderKLWan.decode ends
    return max(
        float((moments - vae.encode(video).latent_dist.parameters).abs().max()),
        float((pixels - vae.decode(latents, return_dict=False)[0]).abs().max()),
    )
