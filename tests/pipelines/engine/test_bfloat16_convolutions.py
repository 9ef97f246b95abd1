"""Faster convolutions in bfloat16 give the bits of torch's: here on noise, in test_oracle.py on recordings."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pipelines import cpu_kernels
from pipelines.engine import bfloat16_convolutions


def _noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).bfloat16()


@pytest.mark.parametrize(
    ("size", "weight", "stride"),
    [
        ((8, 6, 34, 50), (8, 8, 3, 3, 3), (1, 1, 1)),
        ((3, 3, 66, 98), (8, 3, 3, 3, 3), (1, 1, 1)),  # 81 products: one is left over of four partial sums
        ((8, 5, 32, 48), (8, 8, 3, 1, 1), (2, 1, 1)),
        ((96, 3, 18, 26), (96, 96, 3, 3, 3), (1, 1, 1)),  # a real VAE's channels: several blocks
        ((2, 6, 5, 7), (3, 2, 3, 3, 3), (1, 2, 3)),
        ((16, 2, 8, 8), (16, 16, 1, 1, 1), (1, 1, 1)),
    ],
)
@pytest.mark.parametrize("columns", [2**22, 2**14, 1], ids=["one block", "some", "row by row"])
def test_the_bits_of_slow_conv3d(
    size: tuple[int, ...], weight: tuple[int, ...], stride: tuple[int, int, int], columns: int, monkeypatch: Any
) -> None:
    assert cpu_kernels.in_force() == "portable"
    x, kernel, bias = _noise(1, *size), _noise(*weight), _noise(weight[0])
    expected = torch.nn.functional.conv3d(x, kernel, bias, stride)
    monkeypatch.setattr(bfloat16_convolutions, "_COLUMNS", columns)
    assert torch.equal(bfloat16_convolutions.convolve(x, kernel, bias, stride), expected)


def test_only_bfloat16_takes_the_other_path_and_it_can_be_undone(monkeypatch: Any) -> None:
    taken: list[torch.dtype] = []
    convolve = bfloat16_convolutions.convolve

    def noted(x: torch.Tensor, *others: Any) -> torch.Tensor:
        taken.append(x.dtype)
        return convolve(x, *others)

    monkeypatch.setattr(bfloat16_convolutions, "convolve", noted)
    vae = torch.nn.Conv3d(4, 4, 3).requires_grad_(False)
    expected = {dtype: vae.to(dtype)(_noise(1, 4, 6, 34, 50).to(dtype)) for dtype in (torch.bfloat16, torch.float32)}
    undo = bfloat16_convolutions.apply(vae)
    for dtype, frames in expected.items():
        assert torch.equal(vae.to(dtype)(_noise(1, 4, 6, 34, 50).to(dtype)), frames)
    assert taken == [torch.bfloat16]
    undo()
    vae.to(torch.bfloat16)(_noise(1, 4, 6, 34, 50))
    assert len(taken) == 1


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (torch.nn.Conv2d(8, 4, 3, padding=1), (4, 8, 64, 96)),
        (torch.nn.Conv2d(8, 4, 3, stride=2), (2, 8, 129, 97)),
        (torch.nn.Conv3d(8, 4, 3, padding=(0, 1, 2)), (1, 8, 5, 30, 40)),
        (torch.nn.Conv3d(8, 4, 3), (2, 8, 5, 30, 40)),  # two videos: torch's own
        (torch.nn.Conv2d(8, 4, 3, groups=2), (2, 8, 60, 60)),
        (torch.nn.Conv2d(8, 4, 3, padding=1, padding_mode="reflect"), (2, 8, 60, 60)),
        (torch.nn.Conv2d(8, 4, 3, padding="same", bias=False), (2, 8, 60, 60)),
    ],
    ids=str,
)
def test_layers_of_every_kind_keep_their_bits_and_layout(layer: torch.nn.Module, size: tuple[int, ...]) -> None:
    layer.requires_grad_(False).bfloat16()
    expected = layer(_noise(*size))
    bfloat16_convolutions.apply(layer)
    found = layer(_noise(*size))
    assert torch.equal(found, expected)
    assert found.stride() == expected.stride()  # a norm's order of summation follows the layout


def test_native_kernels_are_left_alone(monkeypatch: Any) -> None:
    monkeypatch.setenv(cpu_kernels.VARIABLE, "native")
    vae = torch.nn.Conv3d(4, 4, 3)
    bfloat16_convolutions.apply(vae)
    assert "_conv_forward" not in vars(vae)
