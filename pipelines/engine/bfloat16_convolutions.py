"""The VAE's bfloat16 convolutions on a CPU, in the bits of torch's slow path and about ten times as fast.

Under portable kernels oneDNN has no bfloat16 convolution, and torch 2.13.0 falls back to `aten::slow_conv3d_forward`
and `aten::_slow_conv2d_forward`: columns of the input, and `at::native::cpublas::gemm` (BlasKernel.cpp), which computes
each output by itself, striding through memory. It adds the products, exact in float32, to four partial sums in turn;
what is left over of them goes to the first, and the sums are added up from the first to the last. The same is done here
for all outputs at a time: product k of every output is one rank-1 update. At the widths of a real VAE that takes a
fortieth of the time, and 16 MB for the columns instead of gigabytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from pipelines import cpu_kernels
from pipelines.engine.lora import Undo, nothing

if TYPE_CHECKING:
    import torch

_PARTIAL_SUMS = 4
"""`ilp_factor` of `sum` in BlasKernel.cpp."""
_COLUMNS = 2**22
"""The number of float32 values in one block of columns."""
_WORTHWHILE = 2**13
"""The number of output values below which torch's own path is faster."""

Forward = Callable[["torch.Tensor", "torch.Tensor", "torch.Tensor | None"], "torch.Tensor"]


def apply(vae: Any) -> Undo:
    """Speed up a VAE's convolutions where portable kernels are in force. The returned function undoes it.

    Every input that is not bfloat16 on the CPU goes to torch as before.
    """
    from torch.nn import Conv2d, Conv3d

    if cpu_kernels.in_force() != "portable":
        return nothing
    layers: list[Any] = [module for module in vae.modules() if isinstance(module, Conv2d | Conv3d)]
    layers = [layer for layer in layers if layer.groups == 1 and {*layer.dilation} == {1} and _pads_with_zeros(layer)]
    for layer in layers:
        layer._conv_forward = _faster(layer, layer._conv_forward)

    def undo() -> None:
        for layer in layers:
            del layer._conv_forward

    return undo


def _pads_with_zeros(layer: Any) -> bool:
    return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


def _faster(layer: Any, original: Forward) -> Forward:
    def forward(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        import torch

        flat = weight.dim() == 4
        fits = x.device.type == "cpu" and x.dtype == weight.dtype == torch.bfloat16 and x.dim() == weight.dim()
        large = weight.shape[0] * x[:, 0].numel() >= _WORTHWHILE
        if not fits or not large or bias is None or (len(x) > 1 and not flat):
            return original(x, weight, bias)
        padded = torch.nn.functional.pad(x, [side for pad in reversed(layer.padding) for side in (pad, pad)])
        if not flat:
            return convolve(padded, weight, bias, layer.stride)
        video = convolve(padded.transpose(0, 1)[None], weight[:, :, None], bias, (1, *layer.stride))
        return video[0].transpose(0, 1).contiguous()

    return forward


def convolve(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, stride: tuple[int, ...]) -> torch.Tensor:
    """Convolve `x`, of shape (1, C, T, H, W), without padding, all in bfloat16, in torch's bits."""
    import torch

    windows = x[0].float()
    for axis in range(3):
        windows = windows.unfold(1 + axis, weight.shape[2 + axis], stride[axis])
    windows = windows.permute(0, 4, 5, 6, 1, 2, 3)  # channels, a kernel's positions; the output's positions
    outputs, products = weight.shape[0], weight[0].numel()
    factors, first = weight.float().reshape(outputs, products).unbind(1), bias.float()[:, None]
    even = products - products % _PARTIAL_SUMS
    result = torch.empty(outputs, *windows.shape[4:], dtype=x.dtype)
    for times, rows in _blocks(windows.shape[4], windows.shape[5], max(1, _COLUMNS // products // windows.shape[6])):
        block = windows[..., times, rows, :]
        columns = block.reshape(products, -1).unbind(0)
        sums = torch.zeros(_PARTIAL_SUMS, outputs, len(columns[0])).unbind(0)
        for k in range(products):
            sums[k % _PARTIAL_SUMS if k < even else 0].addr_(factors[k], columns[k])
        total = sums[0]
        for partial in sums[1:]:
            total += partial
        result[:, times, rows] = (first + total).view(outputs, *block.shape[4:])
    return result[None]


def _blocks(frames: int, height: int, rows: int) -> Iterator[tuple[slice, slice]]:
    """Divide frames of `height` rows into blocks of about `rows` rows: whole frames, or parts of one."""
    deep, tall = max(1, rows // height), min(rows, height)
    for frame in range(0, frames, deep):
        for row in range(0, height, tall):
            yield slice(frame, frame + deep), slice(row, row + tall)
