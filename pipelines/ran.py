"""What a generation really ran, as it was observed: results.json records it beside what was asked. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipelines.recipe import Expert


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraRan:
    """What one LoRA file did."""

    file: str
    """The file's name."""
    expert: Expert | None
    """high or low: the expert of Wan 2.2 that it belongs to; null: there is one transformer."""
    scale: float
    """The scale that it was applied at."""
    layers: int
    """The number of layers that it applies to."""
    empty: int
    """Of these: layers whose difference is exactly zero, because one of its matrices is."""
    changed: int | None = None
    """Merged: weights of these layers in which bits changed, by up to 16 rows of each; null: nothing was merged into
    stored weights."""
    active: int | None = None
    """Adapter: layers on which it was switched on when the transformer was called; null: another application."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What was observed while a case's own generation ran, in its first pass through each transformer."""

    attention_backend: str | None
    """The attention backend of diffusers that was called, e.g. `native`; null: hidden in compiled code."""
    attention_kernels: Mapping[str, int] = field(default_factory=dict)
    """Torch's kernels, e.g. `flash_attention`, with the number of calls of one pass, as torch's own choice says for the
    tensors of each call; empty: another backend, or hidden in compiled code."""
    compiled_blocks: int | None = None
    """The number of transformer blocks that ran as compiled code; null: not asked for."""
    offloaded: tuple[str, ...] | None = None
    """Transformers whose weights were not on the GPU until they were called; null: no offload was asked for."""
    quantized_layers: Mapping[str, int] = field(default_factory=dict)
    """The number of layers with quantized weights, by transformer; empty: none was asked for."""
    loras: tuple[LoraRan, ...] = ()
    """What each LoRA did."""
    cpu_kernels: str | None = None
    """`portable` or `native (x86_64)`, with the instruction set that torch uses; null: a GPU computed."""
    not_as_asked: tuple[str, ...] = ()
    """What was asked for and did not run, one sentence each; empty: all ran."""
    notes: tuple[str, ...] = ()
    """What ran as asked and yet did nothing, such as a LoRA of zeros."""
