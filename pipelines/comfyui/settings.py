"""What a ComfyUI graph of native Wan nodes asks for, as one frozen value: the step between a graph and a recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pipelines.scheduler import Scheduler, comfyui_schedule

DEFAULT_SHIFT = 8.0
"""The shift of every Wan model without a ModelSamplingSD3 node (ComfyUI 0.3.64)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraEntry:
    """One LoRA loader with a strength other than 0."""

    name: str
    """The file as the graph names it: a path below ComfyUI's `models/loras`."""
    strength: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One sampler with its chain of models: a Wan 2.1 graph has one, a Wan 2.2 14B graph two."""

    node: str
    """The sampler's id in the graph."""
    unet: str
    """The diffusion model's file, below `models/diffusion_models`; of a checkpoint loader its file."""
    weight_dtype: str = "default"
    """UNETLoader's: default, fp8_e4m3fn, fp8_e4m3fn_fast or fp8_e5m2."""
    loras: tuple[LoraEntry, ...] = ()
    """In the order in which they are applied."""
    shift: float | None = None
    """Of the last ModelSamplingSD3 before the sampler; None: there is no such node, which is 8 for a Wan model."""
    sampler: str
    schedule: str
    """The scheduler's name."""
    steps: int
    cfg: float
    seed: int
    denoise: float = 1.0
    start: int = 0
    """The first step of this stage."""
    end: int | None = None
    """The step after its last; None: all to the end."""
    add_noise: bool = True
    leftover_noise: bool = False
    basic_scheduler: bool = False
    """True for SamplerCustom* with BasicScheduler, whose grid differs for uni_pc and dpm_2."""

    @property
    def scheduler(self) -> Scheduler:
        """The schedule of a recipe. Raises CaseError for a sampler or scheduler that is not supported yet."""
        shift = DEFAULT_SHIFT if self.shift is None else round(self.shift, 9)  # the browser writes 5.000000000000001
        return comfyui_schedule(self.sampler, self.schedule, shift, denoise=self.denoise, basic=self.basic_scheduler)


@dataclass(frozen=True, slots=True, kw_only=True)
class Save:
    """The node that wrote the file."""

    node: str
    """Its class, e.g. SaveVideo."""
    format: Literal["mp4", "webm", "mkv", "webp", "png", "gif"]
    quality: int | None = None
    """WebP: 0 to 100; mp4 and webm: the crf."""
    lossless: bool = False
    truncates: bool = True
    """True if it cuts pixels to 8 bit; VHS_VideoCombine rounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that a graph says about one video."""

    stages: tuple[Stage, ...]
    """One, or two for Wan 2.2 14B: high noise, then low noise."""
    prompt: str
    """The positive text as it stands in the graph, with its weights."""
    negative_prompt: str
    text_encoder: str
    """CLIPLoader's file."""
    vae: str
    clip_vision: str | None = None
    """CLIPVisionLoader's file; None: no image, or Wan 2.2."""
    clip_crop: Literal["none", "center"] | None = None
    image: str | None = None
    """LoadImage's file, below ComfyUI's `input`; None: text to video."""
    width: int
    height: int
    length: int
    """Frames, as the graph asks for them."""
    batch_size: int = 1
    fps: float | None = None
    """None: the save node has none."""
    save: Save
    notes: tuple[str, ...] = ()
    """What was read and changes nothing, or had to be assumed."""
    places: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    """The node of the graph that holds each value, for people: `prompt`, `width`; of a stage, after its node's id,
    `3.steps`, `3.loras`. Empty: they were not read off a graph."""
