"""Graphs: the half of a recipe that a profile decides, whatever is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal

from pipelines.catalog import Model
from pipelines.quantization import Quantization
from pipelines.recipe import (
    ClipImage,
    Codec,
    Conditioning,
    Dtype,
    EarlierMerge,
    EightBit,
    LoraApplication,
    LoraFile,
    Precision,
    Recipe,
    Resize,
    TextEncoding,
    VaeNorm,
)
from pipelines.scheduler import Scheduler
from pipelines.weights import Weights


def frame_rule(num_frames: int) -> int:
    """The rule of the pipelines of diffusers 0.42.1: n with n % 4 != 1 becomes n // 4 * 4 + 1 (40 -> 41, 10 -> 9)."""
    return num_frames if num_frames % 4 == 1 else max(num_frames // 4 * 4 + 1, 1)


def low_vram_frame_rule(num_frames: int) -> int:
    """The rule of Wan 2.2 I2V and 5B, and of ai-toolkit's own T2V pipeline under low_vram: (n - 1) // 4 * 4 + 1."""
    return (num_frames - 1) // 4 * 4 + 1


FrameRuleName = Literal["diffusers", "low_vram"]


FRAME_RULES: dict[FrameRuleName, Callable[[int], int]] = {"diffusers": frame_rule, "low_vram": low_vram_frame_rule}
"""The rules, by name, that turn a number of frames into one that the VAE can hold (4n + 1)."""


def floor_size(asked: int, divisor: int) -> int:
    """The trainer's rule: a size rounded down to a multiple of 8, at least 64, and then to one of `divisor`."""
    return max(64, asked - asked % 8) // divisor * divisor


SizeRuleName = Literal["reference", "trainer", "comfyui"]


SIZE_RULES: dict[SizeRuleName, Callable[[int, Model], int]] = {
    "reference": lambda asked, model: asked // model.size_divisor * model.size_divisor,
    "trainer": lambda asked, model: floor_size(asked, model.trainer_size_divisor),
    "comfyui": lambda asked, _model: asked // 8 * 8,
}
"""The rules, by name, that turn a width or height in pixels into the model's: the server's, the trainer's, ComfyUI's.

ComfyUI (0.3.64) floors to the latent's grid of 8 pixels, also where its node offers steps of 16.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """The way a system generates: what the recipes of all its videos have in common, and its rules of size."""

    weights: Weights
    scheduler: Scheduler
    lora_application: LoraApplication
    precision: Precision
    frame_rule: FrameRuleName
    size_rule: SizeRuleName
    resize: Resize
    vae_tiling: bool
    quantization: Quantization
    codec: Codec
    boundary: float | None = None
    conditioning: Conditioning | None = None
    vae_norm: VaeNorm = "float32"
    earlier_merges: tuple[EarlierMerge, ...] = ()
    compiled: bool = False
    split: int | None = None
    text_encoding: TextEncoding = "diffusers"
    clip_image: ClipImage = "resized"
    float32_steps: bool = False
    vae_dtype: Dtype | None = None
    eight_bit: EightBit = "rounded"
    extra_loras: tuple[tuple[LoraFile, float], ...] = ()
    """LoRAs with their scales that are loaded besides those that are asked for."""


_SHARED = tuple(item.name for item in fields(Graph) if item.name not in ("frame_rule", "size_rule", "extra_loras"))
"""A recipe has these fields too."""


def fields_of(graph: Graph, *, with_image: bool) -> dict[str, Any]:
    """The fields of a recipe that a graph decides. Without a control image, nothing is resized or conditioned."""
    shared = {name: getattr(graph, name) for name in _SHARED}
    return shared if with_image else shared | {"resize": None, "conditioning": None}


def graph_of(recipe: Recipe, frame_rule: FrameRuleName, size_rule: SizeRuleName) -> Graph:
    """The graph behind a recipe. One that resizes nothing stands for the resize that trainer and server share."""
    shared = {name: getattr(recipe, name) for name in _SHARED}
    rules = {"frame_rule": frame_rule, "size_rule": size_rule}
    return Graph(**shared | rules | {"resize": recipe.resize or Resize()})
