"""How long a generation took, as results.json and baselines record it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """The time of a case's own generation: denoising and decoding, and nothing that is done once or elsewhere.

    Neither downloads, hashing and loading weights, merging a LoRA, encoding texts and images nor writing files count.
    """

    seconds: float
    """Seconds a step times steps, plus the decode; with `--repeat` the median over all generations."""
    step: float
    """Seconds of a denoising step: the mean without the first, which also compiles and allocates."""
    decode: float
    """Seconds of the decode."""
    generations: int
    """The number of generations that were measured: more than 1 with `--repeat`."""
    machine: str
    """The kind of machine: its GPU, or CPU, threads and kernels; offload mode and workers that share it, if any."""
