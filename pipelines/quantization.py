"""Quantization: which weights of a model are stored in fewer bits, how, and what this version can generate of it.

The rules hold for ostris/ai-toolkit at 27a03a91 (0.12.26): toolkit/util/quantize.py and the quantizers beside it,
optimum-quanto 0.2.4 and torchao 0.10.0 as it pins them. Nothing here imports torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipelines.files.words import did_you_mean

_SAME = {"qfloat8_e4m3fn": "qfloat8", "convrotint8": "convrot8", "convrotbitnet": "convrotint2"}
"""Names of the same numbers."""

_WITHOUT_EFFECT = "uint8"
"""ai-toolkit accepts this qtype and leaves every layer as it is."""

QTYPES: tuple[str, ...] = (
    "qfloat8",
    "qfloat8_e4m3fn",
    "qfloat8_e5m2",
    "qint8",
    "float8",
    "int8",
    *(f"uint{bits}" for bits in range(2, 9)),
    "nvfp4",
    "convrot4",
    "convrot8",
    "convrotbitnet",
    *(f"convrotint{bits}" for bits in range(2, 9)),
)
"""The qtypes that this version generates."""

_QUANTO = re.compile(r"q(float|int)\d.*")
"""The qtypes of optimum-quanto, which cannot be combined with an adapter."""

_NOT_YET = re.compile(
    r"qint[24]|qfloat8_e4m3fnuz|orbit(vq)?[234]|convrotcomfyw4a4|fp8(_e4m3fn|_e4m3fn_fast|_e5m2|_scaled)?"
)
"""The other qtypes that ai-toolkit knows, and those of ComfyUI's files and UNETLoader (`fp8…`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryAdapter:
    """An accuracy recovery adapter: a file that names the layers to quantize and corrects them. Compared by content."""

    path: Path = field(compare=False)
    """Where it is; if it is missing, as the job names it."""
    sha256: str | None
    """None: the file is not on this machine."""
    network: Literal["lora", "lokr"] = "lora"

    def __str__(self) -> str:
        return f"adapter {self.path.name} ({'missing' if self.sha256 is None else f'sha256 {self.sha256[:12]}'})"


@dataclass(frozen=True, slots=True)
class Quantization:
    """Linear layers quantized after loading."""

    transformer: str | None = None
    """The qtype of the transformers; None: not quantized."""
    text_encoder: str | None = None
    """The qtype of the text encoder, of which all linear layers are quantized; None: not quantized."""
    kept: tuple[str, ...] = ()
    """The beginnings of the names of the transformers' layers that stay as they are."""
    adapter: RecoveryAdapter | None = None
    """The layers that it names are quantized, no others."""

    def __post_init__(self) -> None:
        if self.transformer is None:
            object.__setattr__(self, "adapter", None)
        if self.transformer is None or self.adapter is not None:  # nothing to keep, or the adapter decides
            object.__setattr__(self, "kept", ())

    def __bool__(self) -> bool:
        return bool(self.transformer or self.text_encoder)

    def __str__(self) -> str:
        transformer = self.transformer and f"transformer {self.transformer}"
        if transformer and self.kept:
            transformer += f" (not {', '.join(self.kept)})"
        if transformer and self.adapter is not None:
            transformer += f" with {self.adapter}"
        text_encoder = self.text_encoder and f"text encoder {self.text_encoder}"
        return ", ".join(part for part in (transformer, text_encoder) if part) or "none"

    @property
    def effective(self) -> Quantization:
        """What reaches the pixels: one name for equal numbers, and no qtype that quantizes nothing."""
        transformer, text_encoder = (name and _SAME.get(name, name) for name in (self.transformer, self.text_encoder))
        return Quantization(
            transformer=None if transformer == _WITHOUT_EFFECT and self.adapter is None else transformer,
            text_encoder=None if text_encoder == _WITHOUT_EFFECT else text_encoder,
            kept=self.kept,
            adapter=self.adapter,
        )


def stored_bytes(qtype: str, rows: int, columns: int, width: int) -> int | None:
    """The bytes of a linear layer's weight (rows, columns) in a qtype of `QTYPES`; None: the layer stays as it is.

    `width`: bytes of a number in the dtype of training. Scales and zero points are counted, the bias is not.
    """
    name, count = _SAME.get(qtype, qtype), rows * columns
    if name.startswith("uint"):
        bits = int(name.removeprefix("uint"))
        return None if bits > 7 or columns % 64 else count * bits // 8 + count // 64 * (width + 1)
    if name == "nvfp4":
        return None if columns % 16 else count // 2 + count // 16 + 4
    if name.startswith("convrot"):
        bits = int(name.removeprefix("convrotint").removeprefix("convrot"))
        if columns % 16 or rows % (16 if name == "convrot4" else 8):
            return None
        if name == "convrot4":
            return stored_bytes("nvfp4", rows, columns, width)
        group = next(size for size in (128, 64, 32, 16) if columns % size == 0)
        return count + 4 * rows if name == "convrot8" else count * bits // 8 + 4 * (count // group + rows)
    return count + rows * width  # eight bits, and a scale for each row


def unsupported(quantization: Quantization) -> str | None:
    """Say what of a quantization this version cannot generate, and why; None if it can generate all of it."""
    parts = {"transformer": quantization.transformer, "text encoder": quantization.text_encoder}
    for part, qtype in parts.items():
        if qtype is not None and (reason := _unknown(qtype)):
            return f"{part} {qtype}: {reason}"
    adapter = quantization.adapter
    if adapter is None:
        return None
    if quantization.transformer is not None and _QUANTO.fullmatch(quantization.transformer):
        return f"transformer {quantization.transformer} with an adapter: ai-toolkit itself crashes on it"
    if adapter.sha256 is None:
        return (
            f"the accuracy recovery adapter {adapter.path} is not on this machine; it says which layers are quantized. "
            f"Copy {adapter.path.name} into the job's folder"
        )
    if adapter.network != "lora":
        return f"{adapter.path.name} is a LoKr adapter, which is not supported yet; only LoRA adapters are"
    return None


def _unknown(qtype: str) -> str | None:
    """Why a qtype cannot be generated; None if it can."""
    if qtype in QTYPES:
        return None
    if _NOT_YET.fullmatch(qtype):
        return "this quantization is not supported yet"
    return f"not a qtype that ai-toolkit 0.12.26 knows{did_you_mean(qtype, list(QTYPES))}"
