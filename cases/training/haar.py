"""The initialisation of the VAE's training: a coarse image pyramid instead of noise.

From random weights most of the training goes into passing block colours through: normalisation keeps directions and
loses lengths, and sixteen channels are few. Here the first latents begin as a block's mean colour and its slopes in x,
y and time, beside a channel that is constant, so that lengths survive, and each value beside its negative, since
silu(x) - silu(-x) = x. Everything else begins small and random, and everything is trained.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

HALF = 16
CONSTANT = 15
"""The channels of each half: 0-2 mean of red, green, blue, 3-5 their slope in x, 6-8 in y, 9-11 in time, then 15."""
RANDOM = 0.2
"""The share of diffusers' own initialisation that is kept."""


@torch.no_grad()
def begin(vae: Any) -> None:
    """Overwrite the weights of an AutoencoderKLWan of base_dim 16, dim_mult [1, 2, 3] and patch_size 2."""
    for module in vae.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            module.weight.mul_(RANDOM)
            assert module.bias is not None
            module.bias.zero_()
        if type(module).__name__ == "WanAttentionBlock":
            module.proj.weight.zero_()
    _encoder(vae.encoder)
    _decoder(vae.decoder)
    vae.quant_conv.weight.zero_()
    vae.post_quant_conv.weight.zero_()
    for channel in range(HALF):
        vae.quant_conv.weight[channel, channel] = vae.post_quant_conv.weight[channel, channel] = 1
    vae.quant_conv.bias[HALF:] = -5  # log variance: little noise at first


def _encoder(encoder: Any) -> None:
    first, (block, down, wider, down_again, widest) = encoder.conv_in, encoder.down_blocks
    del block
    for color in range(3):
        for pixel in range(4):  # patchify: two columns of two rows
            at = (4 * color + pixel, 2, 1, 1)
            first.weight[(color, *at)] += 0.25
            first.weight[(3 + color, *at)] += 0.25 if pixel >= 2 else -0.25
            first.weight[(6 + color, *at)] += 0.25 if pixel % 2 else -0.25
    first.weight[CONSTANT], first.bias[CONSTANT] = 0, 1
    _down(down, 1)
    for channel in range(HALF):
        wider.conv_shortcut.weight[channel, channel] += 1
        wider.conv_shortcut.weight[HALF + channel, channel] -= 1
    _down(down_again, 2)
    for channel in range(2 * HALF):
        widest.conv_shortcut.weight[channel, channel] += 1
    for channel in range(HALF):
        encoder.conv_out.weight[channel, channel, 2, 1, 1] += 0.5
        encoder.conv_out.weight[channel, HALF + channel, 2, 1, 1] -= 0.5


def _down(down: Any, halves: int) -> None:
    space, time = down.resample[1].weight, down.time_conv.weight
    for start in range(0, halves * HALF, HALF):
        for channel in range(HALF):
            space[start + channel, start + channel, :2, :2] += 0.25
            time[start + channel, start + channel, 1:] += 0.5
        for color in range(start, start + 3):
            space[3 + color, color, :2, :2] += torch.tensor([[-0.25, 0.25], [-0.25, 0.25]])
            space[6 + color, color, :2, :2] += torch.tensor([[-0.25, -0.25], [0.25, 0.25]])
            time[9 + color, color, 1:, 0, 0] += torch.tensor([-0.5, 0.5])


def _decoder(decoder: Any) -> None:
    values = list(range(12))  # the latent channels that are passed on, each with its negative
    for value in range(HALF):
        decoder.conv_in.weight[value, value, 2, 1, 1] += 0.4
        decoder.conv_in.weight[HALF + value, value, 2, 1, 1] -= 0.4
    decoder.conv_in.weight[47], decoder.conv_in.bias[47] = 0, 1
    first, second, last = decoder.up_blocks
    del last
    # 48 channels -> 24: values 0-8, their negatives, slopes in time, constant
    _up(first.upsamplers[0], [*values[:9], *(HALF + value for value in values[:9]), *values[9:], 12, 13, 47])
    for channel in range(24):
        second.resnets[0].conv_shortcut.weight[channel, channel] += 1
    # 24 (of 32) -> 16: colors, their negatives, slopes, constant
    _up(second.upsamplers[0], [0, 1, 2, 9, 10, 11, 3, 4, 5, 6, 7, 8, 18, 19, 20, 23])
    for color in range(3):
        for pixel in range(4):
            decoder.conv_out.weight[4 * color + pixel, color, 2, 1, 1] += 0.5
            decoder.conv_out.weight[4 * color + pixel, 3 + color, 2, 1, 1] -= 0.5


def _up(up: Any, sources: list[int]) -> None:
    space, time = up.resample[1].weight, up.time_conv.weight
    channels = time.shape[1]
    for channel in range(channels):
        time[channel, channel, 2] += 1
        time[channels + channel, channel, 2] += 1
    for out, source in enumerate(sources):
        space[out, source, 1, 1] += 1
