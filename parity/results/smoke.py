"""A smoke run (`--blocks`) as results.json records it: hashes of its stages, and no video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.files.words import plural

NOT_A_COMPARISON = "smoke, not compared with the preview"
"""What is said of a smoke run wherever its result is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmokeResult:
    """A run of a few transformer blocks."""

    blocks: tuple[int, ...]
    """The blocks that were loaded, from 0."""
    layers: int
    """The number of blocks that the whole transformer has."""
    steps: int
    """Denoising steps that were made."""
    frames: int
    """Frames whose latents were denoised."""
    width: int
    """In pixels."""
    height: int
    """In pixels."""
    stages: Mapping[str, str]
    """The SHA-256 of each stage, in the order in which a generation passes them."""

    @property
    def extent(self) -> str:
        """What was run, in words: `block 0 of 30, 2 steps, 9 frames of 832x480`."""
        several = len(self.blocks) > 1
        blocks = f"block{'s' if several else ''} {', '.join(map(str, self.blocks))} of {self.layers}"
        steps = plural(self.steps, "step")
        return f"{blocks}, {steps}, {plural(self.frames, 'frame')} of {self.width}x{self.height}"
