"""The numbers of quantized weights: how each qtype of ai-toolkit rounds a weight, and how a layer computes with it.

They hold for ai-toolkit at 27a03a91 (0.12.26) on a CPU, with the versions that it pins: optimum-quanto 0.2.4 (qfloat8,
qint8), torchao 0.10.0 (float8, int8; uint2 to uint7 are ai-toolkit's own code with torchao's numbers) and its own
nvfp4 and convrot. "w" is the weight in the dtype of training, of shape (out, in); a row is one output channel.
"""

from __future__ import annotations

import functools
import re
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch.nn.functional import linear

from pipelines.quantization import Quantization

Codes = dict[str, torch.Tensor]
"""The stored tensors of one weight. All are integers or bytes, so that no cast of a whole model can round them."""

_EPS = torch.finfo(torch.float32).eps


class Rounding(ABC):
    """One qtype."""

    bias_apart = False
    """True if the bias is added to the rounded product, which rounds a second time."""

    def takes(self, out_features: int, in_features: int) -> bool:  # noqa: ARG002
        """True if a layer of this size is quantized; ai-toolkit leaves others as they are."""
        return True

    @abstractmethod
    def encode(self, w: torch.Tensor) -> Codes:
        """Round a weight (out, in)."""

    @abstractmethod
    def decode(self, codes: Codes, shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
        """The rounded weight (out, in) that the layer multiplies with. `dtype` is that of w."""

    def weight(self, codes: Codes, shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
        """The rounded weight in the basis of w, for all who want to see or change a plain weight."""
        return self.decode(codes, shape, dtype)

    def forward(
        self, codes: Codes, shape: tuple[int, int], dtype: torch.dtype, x: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """The layer's output for x (…, in)."""
        return self.product(x, self.decode(codes, shape, dtype).to(x.dtype), bias)

    def product(self, x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """Return x W^T + bias, with the bias fused or apart."""
        if not self.bias_apart:
            return linear(x, w, bias)
        output = torch.matmul(x.reshape(-1, x.shape[-1]), w.t()).view(*x.shape[:-1], w.shape[0])
        return output if bias is None else output + bias


class Quanto(Rounding):
    """qfloat8 (e4m3 or e5m2) and qint8: a scale per row in w's dtype."""

    bias_apart = True

    def __init__(self, storage: torch.dtype) -> None:
        self.storage = storage

    def encode(self, w: torch.Tensor) -> Codes:
        return _by_rows(self._encode, w)

    def _encode(self, w: torch.Tensor) -> Codes:
        is_float = self.storage.is_floating_point
        info = torch.finfo(self.storage) if is_float else torch.iinfo(self.storage)
        scale = w.abs().amax(dim=1, keepdim=True) / info.max
        code = w / scale
        code = (code if is_float else torch.round(code)).clamp(info.min, info.max).to(self.storage)
        return {"code": _bytes(code), "scale": _bytes(scale)}

    def decode(self, codes: Codes, shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
        return codes["scale"].view(dtype) * codes["code"].view(self.storage).view(shape).to(dtype)

    def forward(
        self, codes: Codes, shape: tuple[int, int], dtype: torch.dtype, x: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        x = x.to(dtype)
        packed = self.storage == torch.int8 and dtype == torch.bfloat16 and x.device.type == "cpu"
        if not packed or shape[1] % 8:  # it is asked for at any multiple of 4, but torch 2.13 crashes at an odd one
            return super().forward(codes, shape, dtype, x, bias)
        code, scale = codes["code"].view(torch.int8), codes["scale"].view(dtype).flatten()
        output = torch._weight_int8pack_mm(x.reshape(-1, shape[1]), code, scale).view(*x.shape[:-1], shape[0])
        return output if bias is None else output + bias


class Float8(Rounding):
    """float8: like qfloat8, but multiplied with the reciprocal of the scale, and the bias fused."""

    def encode(self, w: torch.Tensor) -> Codes:
        return _by_rows(self._encode, w)

    def _encode(self, w: torch.Tensor) -> Codes:
        largest = torch.finfo(torch.float8_e4m3fn).max
        scale = (w.abs().amax(dim=1, keepdim=True) / largest).clamp(min=_EPS)
        code = (w * scale.reciprocal()).clamp(-largest, largest).to(torch.float8_e4m3fn)
        return {"code": _bytes(code), "scale": _bytes(scale)}

    def decode(self, codes: Codes, shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
        return codes["code"].view(torch.float8_e4m3fn).view(shape).to(dtype) * codes["scale"].view(dtype)


class Int8(Rounding):
    """int8: the product with the codes, times the scale, plus the bias, each rounded."""

    def encode(self, w: torch.Tensor) -> Codes:
        scale = (w.abs().amax(dim=1, keepdim=True) / 127.5).clamp(min=_EPS)
        code = torch.round(w * (1.0 / scale)).clamp(-128, 127).to(torch.int8)
        return {"code": _bytes(code), "scale": _bytes(scale)}

    def decode(self, codes: Codes, shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
        return codes["code"].view(torch.int8).view(shape).to(dtype) * codes["scale"].view(dtype)

    def forward(
        self, codes: Codes, shape: tuple[int, int], dtype: torch.dtype, x: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        code, scale = codes["code"].view(torch.int8).view(shape), codes["scale"].view(dtype).flatten()
        output = torch.matmul(x.reshape(-1, shape[1]), code.to(x.dtype).t()) * scale
        output = output.view(*x.shape[:-1], shape[0])
        return output if bias is None else output + bias


class Uint(Rounding):
    """uint2 to uint7: groups of 64 inputs with a scale and a zero point, in w's dtype. uint8 takes no layer."""

    _GROUP = 64

    def __init__(self, bits: int) -> None:
        self.bits = bits

    def takes(self, out_features: int, in_features: int) -> bool:  # noqa: ARG002
        return self.bits < 8 and in_features % self._GROUP == 0

    def encode(self, w: torch.Tensor) -> Codes:
        most = 2**self.bits - 1
        groups = w.reshape(w.shape[0], -1, self._GROUP)
        low, high = groups.amin(dim=2, keepdim=True), groups.amax(dim=2, keepdim=True)
        low, high = low.clamp(max=0), high.clamp(min=0)  # 0 is always representable
        scale = ((high - low) / float(most)).clamp(min=_EPS)
        zero = (-torch.round(low / scale)).clamp(0, most).to(torch.int32)
        code = (torch.round(groups * (1.0 / scale)) + zero).clamp(0, most).to(torch.uint8)
        return {"code": pack(code.flatten(), self.bits), "scale": _bytes(scale), "zero": zero.to(torch.uint8)}

    def decode(self, codes: Codes, shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
        code = unpack(codes["code"], self.bits).view(shape[0], -1, self._GROUP)
        return ((code.to(dtype) - codes["zero"].to(dtype)) * codes["scale"].view(dtype)).view(shape)


class Nvfp4(Rounding):
    """nvfp4: 4-bit floats with an 8-bit float scale for 16 inputs and a float32 one for the tensor."""

    BLOCK = 16
    _VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
    _EDGES = (0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0)

    def takes(self, out_features: int, in_features: int) -> bool:  # noqa: ARG002
        return in_features % self.BLOCK == 0

    def encode(self, w: torch.Tensor) -> Codes:
        w = w.float()
        whole = w.abs().amax() / (6.0 * 448.0)
        whole = torch.where(whole > 0, whole, torch.ones_like(whole))
        blocks = w.view(w.shape[0], -1, self.BLOCK)
        base = blocks.abs().amax(dim=-1) / (6.0 * whole)
        scale, error = base.to(torch.float8_e4m3fn), None
        for share in torch.linspace(0.70, 1.10, 9, dtype=torch.float64):
            tried = (base * float(share)).to(torch.float8_e4m3fn)
            z, unit = self._in_units(blocks, tried, whole)
            rounded = self._values(w.device)[self._codes(z)] * torch.sign(z) * unit
            tried_error = (blocks - rounded).square().sum(-1)
            if error is None:
                scale, error = tried, tried_error
            else:
                better = tried_error < error
                scale, error = torch.where(better, tried, scale), torch.where(better, tried_error, error)
        z, _ = self._in_units(blocks, scale, whole)
        code = self._codes(z).to(torch.uint8) | ((z < 0).to(torch.uint8) << 3)
        return {"code": pack(code.flatten(), 4), "scale": _bytes(scale), "whole": _bytes(whole.reshape(1))}

    def decode(self, codes: Codes, shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
        code = unpack(codes["code"], 4)
        value = self._values(code.device)[(code & 7).int()] * torch.where((code & 8) > 0, -1.0, 1.0)
        unit = codes["scale"].view(torch.float8_e4m3fn).float() * codes["whole"].view(torch.float32).reshape(())
        blocks = value.view(shape[0], -1, self.BLOCK) * unit.view(shape[0], -1, 1)
        return blocks.view(shape).to(dtype)

    def _in_units(
        self, blocks: torch.Tensor, scale: torch.Tensor, whole: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        unit = (scale.float() * whole).unsqueeze(-1)
        unit = torch.where(unit > 0, unit, torch.ones_like(unit))
        return (blocks / unit).clamp(-6.0, 6.0), unit

    def _codes(self, z: torch.Tensor) -> torch.Tensor:
        return torch.bucketize(z.abs(), torch.tensor(self._EDGES, device=z.device))

    def _values(self, device: torch.device) -> torch.Tensor:
        return torch.tensor(self._VALUES, device=device)


class Turned(Rounding):
    """convrot: the weight is turned by a Hadamard matrix in blocks of its inputs, and the layer's input likewise."""

    def __init__(self, inner: Rounding, divisor: int) -> None:
        """`inner` rounds the turned weight. `divisor`: the number of outputs is a multiple of it."""
        self._inner = inner
        self._divisor = divisor

    def takes(self, out_features: int, in_features: int) -> bool:
        return in_features % 16 == 0 and out_features % self._divisor == 0 and block_of(in_features) >= 16

    def encode(self, w: torch.Tensor) -> Codes:
        return self._inner.encode(turned(w.float()))

    def decode(self, codes: Codes, shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
        return self._inner.decode(codes, shape, torch.float32).to(dtype)

    def weight(self, codes: Codes, shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
        return turned(self.decode(codes, shape, torch.float32)).to(dtype)  # the matrix is its own inverse

    def forward(
        self, codes: Codes, shape: tuple[int, int], dtype: torch.dtype, x: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        return super().forward(codes, shape, dtype, turned(x), bias)


class RowInt8(Rounding):
    """int8 in float32, with a scale per row: what convrot8 does to the turned weight."""

    def encode(self, w: torch.Tensor) -> Codes:
        scale = w.abs().amax(dim=1, keepdim=True) / 127
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        return {"code": _bytes(torch.round(w / scale).clamp(-127, 127).to(torch.int8)), "scale": _bytes(scale)}

    def decode(self, codes: Codes, shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
        return (codes["code"].view(torch.int8).view(shape).float() * codes["scale"].view(torch.float32)).to(dtype)


class GroupInt(Rounding):
    """2 to 7 bits in float32, with searched and refitted scales for groups, expressed on the row's 8-bit grid."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self._most = 2 ** (bits - 1) - 1

    def encode(self, w: torch.Tensor) -> Codes:
        size = 128
        while w.shape[1] % size:
            size //= 2
        groups = w.reshape(w.shape[0], -1, size)
        scale = self._refitted(groups, self._searched(groups))
        code = self._rounded(groups, scale).to(torch.int8)
        scale = scale.squeeze(-1)
        row = scale.amax(dim=1, keepdim=True) * (self._most / 127.0)
        row = torch.where(row > 0, row, torch.ones_like(row))
        packed = pack((code.flatten() + self._most).to(torch.uint8), self.bits)
        return {"code": packed, "ratio": _bytes(scale / row), "row": _bytes(row)}

    def decode(self, codes: Codes, shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
        code = unpack(codes["code"], self.bits).float() - self._most
        ratio = codes["ratio"].view(torch.float32).unsqueeze(-1)
        on_row = torch.round(code.view(*ratio.shape[:2], -1) * ratio).clamp(-127, 127)
        return (on_row.view(shape) * codes["row"].view(torch.float32)).to(dtype)

    def _rounded(self, groups: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return torch.round(groups / scale).clamp(-self._most, self._most)

    def _searched(self, groups: torch.Tensor) -> torch.Tensor:
        """The best of sixteen shares of each group's range, by squared error."""
        largest = groups.abs().amax(-1, keepdim=True)
        largest = torch.where(largest > 0, largest, torch.ones_like(largest))
        scale: torch.Tensor = largest / self._most
        error: torch.Tensor | None = None
        for share in torch.linspace(0.2, 1.0, 16, dtype=torch.float64):
            tried = largest * (float(share) / self._most)
            tried_error = (groups - self._rounded(groups, tried) * tried).square().sum(-1, keepdim=True)
            if error is None:
                scale, error = tried, tried_error
            else:
                better = tried_error < error
                scale, error = torch.where(better, tried, scale), torch.where(better, tried_error, error)
        return scale

    def _refitted(self, groups: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """Two least-squares fits of the scale to the codes."""
        for _ in range(2):
            code = self._rounded(groups, scale)
            above, below = (groups * code).sum(-1, keepdim=True), (code * code).sum(-1, keepdim=True)
            scale = torch.where((below > 0) & (above > 0), above / below.clamp(min=1e-12), scale)
        return scale


@functools.cache
def rounding_of(qtype: str) -> Rounding:
    """The rounding of one of `pipelines.quantization.QTYPES`. Raises KeyError for another name."""
    qtype = Quantization(qtype).effective.transformer or qtype
    made: dict[str, Callable[[], Rounding]] = {
        "qfloat8": lambda: Quanto(torch.float8_e4m3fn),
        "qfloat8_e5m2": lambda: Quanto(torch.float8_e5m2),
        "qint8": lambda: Quanto(torch.int8),
        "float8": Float8,
        "int8": Int8,
        "nvfp4": Nvfp4,
        "convrot4": lambda: Turned(Nvfp4(), 16),
        "convrot8": lambda: Turned(RowInt8(), 8),
    }
    if (match := re.fullmatch(r"uint([2-8])", qtype)) is not None:
        return Uint(int(match[1]))
    if (match := re.fullmatch(r"convrotint([2-7])", qtype)) is not None:
        return Turned(GroupInt(int(match[1])), 8)
    return made[qtype]()


def block_of(in_features: int) -> int:
    """The largest power of 4 that divides a number of inputs, at most 256."""
    block = 1
    while block < 256 and in_features % (block * 4) == 0:
        block *= 4
    return block


def turned(x: torch.Tensor) -> torch.Tensor:
    """Turn x (…, in): times the block Hadamard matrix, in its own dtype."""
    block = block_of(x.shape[-1])
    matrix = _hadamard(block).to(x.device, x.dtype)
    product: torch.Tensor = torch.matmul(x.reshape(-1, x.shape[-1] // block, block), matrix)
    return product.reshape(x.shape)


@functools.cache
def _hadamard(block: int) -> torch.Tensor:
    """Kronecker powers of the 4 x 4 matrix with one -1 a row, over the root of its size: symmetric and orthogonal."""
    four = torch.ones(4, 4) - 2 * torch.eye(4).flip(0)
    matrix: torch.Tensor = four
    while matrix.shape[0] < block:
        matrix = torch.kron(matrix, four)
    scaled: torch.Tensor = matrix / block**0.5
    return scaled


def pack(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Codes below 2**bits (n, uint8; n a multiple of 8) in bits * n / 8 bytes: fields of 4, 2 and 1 bits apart."""
    parts, low = [], 0
    for width in (4, 2, 1):
        if bits & width:
            fields = ((codes >> low) & (2**width - 1)).view(8 // width, -1)
            part = fields[0].clone()
            for number in range(1, 8 // width):
                part |= fields[number] << (number * width)
            parts.append(part)
            low += width
    return torch.cat(parts)


def unpack(packed: torch.Tensor, bits: int) -> torch.Tensor:
    """The codes that `pack` made bytes of."""
    count = packed.numel() * 8 // bits
    codes = torch.zeros(count, dtype=torch.uint8, device=packed.device)
    start = low = 0
    for width in (4, 2, 1):
        if bits & width:
            part = packed[start : start + count * width // 8]
            fields = codes.view(8 // width, -1)
            for number in range(8 // width):
                fields[number] |= ((part >> (number * width)) & (2**width - 1)) << low
            start, low = start + part.numel(), low + width
    return codes


def _by_rows(encode: Callable[[torch.Tensor], Codes], w: torch.Tensor) -> Codes:
    """Encode a weight some rows at a time, so that what is computed on the way takes little memory."""
    found: Codes = {}
    for start in range(0, w.shape[0], 128):
        for name, part in encode(w[start : start + 128]).items():
            if name not in found:
                found[name] = part.new_empty(w.shape[0], *part.shape[1:])
            found[name][start : start + 128] = part
    return found


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(torch.uint8)
