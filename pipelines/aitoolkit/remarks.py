"""Remarks on a preview beside its recipe: why it cannot be reproduced, and what lies outside the recipe.

Every rule holds for ostris/ai-toolkit at 27a03a91 (0.12.26) unless a line names another version.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.aitoolkit.job import Job, Sample
from pipelines.aitoolkit.job_folder import VideoName
from pipelines.catalog import Model
from pipelines.files.words import shorten
from pipelines.graph import floor_size
from pipelines.recipe import Conditioning, LoraApplication


@dataclass(frozen=True, slots=True, kw_only=True)
class Remarks:
    """The `obstacles` and `notes` that one step of reading a job contributes to a recipe."""

    obstacles: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __add__(self, other: Remarks) -> Remarks:
        return Remarks(obstacles=self.obstacles + other.obstacles, notes=self.notes + other.notes)


OLD_LOKR = (
    "LoKr that is not merged, generated before e44c34a9 (2026-07-15, inside 0.10.24): each layer then computed with "
    "its weight plus the network's in the weight's dtype, which is not supported yet; a job of one scale, without "
    "quantization, is merged and supported"
)


def known_residuals(job: Job, application: LoraApplication | None, conditioning: Conditioning | None) -> Remarks:
    """The differences that remain even with the right recipe, because no file on disk holds what caused them."""
    notes = []
    if application is not None and job.save_dtype not in ("float32", "fp32", "float"):
        live = "EMA weights" if job.use_ema else "float32 weights"
        notes.append(
            f"generated with the live {live}, but the file is rounded to {job.save_dtype}: an unavoidable residual"
        )
    if conditioning is not None and conditioning.noise == "cuda":
        notes.append(
            "generated on a GPU: the noise in the control image's latents came from its generator, whose numbers "
            "depend on the GPU model; another model, or a CPU, cannot reproduce the last bits"
        )
    return Remarks(notes=tuple(notes))


def job_obstacles(job: Job, model: Model) -> list[str]:
    """The reasons why no preview of a job can be reproduced, whatever its prompt."""
    obstacles = []
    if job.network_type is None:
        obstacles.append("the job trains no network (full fine-tune): there is no LoRA to serve")
    elif job.network_type.lower() not in ("lora", "lokr"):  # compared in lower case (LoRASpecialNetwork)
        obstacles.append(f"network.type {job.network_type}: only lora and lokr are supported")
    if model.needs_control_image and model.experts is None and job.low_vram:
        obstacles.append("low_vram I2V raises with current diffusers; what older versions generated is not known")
    return obstacles


def sample_remarks(job: Job, sample: Sample, model: Model, video: VideoName | None, index: int) -> Remarks:
    """The reasons why a sample's preview cannot be reproduced, and notes that should make the reader look twice."""
    obstacles, notes = [], []
    if job.has_first_sample and video is not None and video.step == 0:
        obstacles.append("step 0 may be generated from the config's `first_sample` section, which is not read")
    if sample.seed is None:
        obstacles.append("seed -1: ai-toolkit chose a random seed and did not record it")
    obstacles += job_obstacles(job, model)
    for name in ("num_frames", "sample_steps", "fps"):
        if getattr(sample, name) < 1:
            obstacles.append(f"{name} {getattr(sample, name)}: ai-toolkit fails on it")
    if sample.neg is None:
        obstacles.append("no `neg`: ai-toolkit itself crashes on Wan without a negative prompt")
    width, height = floor_size(sample.width, 8), floor_size(sample.height, 8)
    if model.trainer_size_divisor < 16 and (width % 16 or height % 16):
        obstacles.append(
            f"{width}x{height} is not a multiple of 16: diffusers refuses it, ai-toolkit does not round it down"
        )
    if video is not None and video.index != index:
        notes.append(f"the video's name says prompt {video.index}, the case says sample {index}")
    if sample.lost is not None:
        notes.append(
            f"ai-toolkit cuts a prompt at every `--`: {shorten(sample.lost, 60)!r} was no part of it, by a stray `--`"
        )
    if job.arch is None:
        notes.append("the config names no model.arch; the case's model is assumed")
    return Remarks(obstacles=tuple(obstacles), notes=(*notes, *job.notes))
