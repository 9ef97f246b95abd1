"""How a system generates, whatever it is asked to generate: the half of a recipe that a profile decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pipelines.recipe import Codec, Conditioning, LoraApplication, Precision, Quantization, Resize
from pipelines.scheduler import Scheduler


def frame_rule(num_frames: int) -> int:
    """Diffusers 0.42.1 pipelines: n with n % 4 != 1 becomes n // 4 * 4 + 1 (40 -> 41, 10 -> 9)."""
    return num_frames if num_frames % 4 == 1 else max(num_frames // 4 * 4 + 1, 1)


def low_vram_frame_rule(num_frames: int) -> int:
    """ai-toolkit's own T2V pipeline under low_vram: (n - 1) // 4 * 4 + 1 (40 -> 37)."""
    return (num_frames - 1) // 4 * 4 + 1


FrameRuleName = Literal["diffusers", "low_vram"]


FRAME_RULES: dict[FrameRuleName, Callable[[int], int]] = {"diffusers": frame_rule, "low_vram": low_vram_frame_rule}
"""How a number of frames becomes one the VAE can hold (4n + 1), by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """How a server draws, whatever it is asked to draw: the profile half of an inference recipe."""

    checkpoint: str
    text_encoder: str | None
    scheduler: Scheduler
    lora_application: LoraApplication
    precision: Precision
    frame_rule: FrameRuleName
    resize: Resize
    vae_tiling: bool
    quantization: Quantization
    codec: Codec
    boundary: float | None = None
    conditioning: Conditioning | None = None
    transformers: str | None = None
    vae: str | None = None
    compiled: bool = False
