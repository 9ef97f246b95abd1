"""What ai-toolkit did: a job + sample index + toolkit version -> Recipe.

Every rule holds for ostris/ai-toolkit at 27a03a91 (0.12.26) unless a line names another version.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

from pipelines.aitoolkit.job import PROCESS, Job, Sample
from pipelines.aitoolkit.job_folder import VideoName, find_lora, lora_given
from pipelines.aitoolkit.rules import BOUNDARY, floor_size, scheduler_of, trainer_conditioning, trainer_frame_rule
from pipelines.catalog import Model, find_model
from pipelines.errors import CaseError, MediaError, UnreproducibleError
from pipelines.graph import FRAME_RULES
from pipelines.lora_files import lora_file
from pipelines.media.control_image import load as load_control_image
from pipelines.recipe import (
    Asked,
    Codec,
    Conditioning,
    ControlImage,
    LoraApplication,
    LoraFile,
    Precision,
    Recipe,
    Resize,
)
from pipelines.scheduler import Scheduler, flow_schedule


def preview_recipe(
    job: Job,
    index: int,
    *,
    model: Model,
    checkpoint: str | None = None,
    toolkit: str | None = None,
    video: VideoName | None = None,
    lora: Path | None = None,
    control_image: Path | None = None,
    unpairable: str | None = None,
) -> Recipe:
    """The recipe of prompt `index` (0-based) of a job.

    `checkpoint`: stands in where the config's own folder does not exist on this machine.
    `lora`, `control_image`: where these files lie now, if not where the job left them.
    `unpairable`: why nobody can repeat it; then its LoRA and control image are not looked for, nor its prompt missed.
    Raises CaseError for a missing index or control image, and for a job of another kind of model.
    """
    if unpairable is None and not 0 <= index < len(job.samples):
        raise CaseError(
            f"{job.document.path}: has {len(job.samples)} samples (0 to {len(job.samples) - 1}), not {index}"
        )
    if job.arch is not None and job.arch != model.arch:
        raise CaseError(f"{job.document.path}: trains {job.arch}, but {model.id} takes LoRAs of {model.arch}")
    sample = job.samples[index] if index < len(job.samples) else job.unlisted
    _check_numbers(job, sample)
    is_i2v = model.needs_control_image
    obstacles: list[str] = []
    notes: list[str] = []
    weights, text_encoder, vae = _checkpoint(job, model, checkpoint, notes)
    files = () if unpairable else _lora_files(job, video, lora, obstacles, notes)
    scheduler, assumed = scheduler_of(toolkit, video.drawn if video else None, model.trainer_shift)
    notes += [assumed] if assumed else []
    application = _lora_application(job)
    conditioning = trainer_conditioning(model, job.device)
    notes += _known_floors(job, scheduler, application if files else None, conditioning)
    _find_obstacles(job, sample, model, video, index, obstacles, notes)
    if unpairable is not None:
        obstacles = [unpairable, *(obstacle for obstacle in obstacles if obstacle not in unpairable)]
    divisor, frames = model.trainer_size_divisor, FRAME_RULES[trainer_frame_rule(job, model)](sample.num_frames)
    return Recipe(
        model=model.id,
        pipeline=model.pipeline,
        checkpoint=weights,
        text_encoder=text_encoder,
        prompt=sample.prompt,
        negative_prompt=sample.neg or "",
        width=Asked(sample.width, floor_size(sample.width, divisor)),
        height=Asked(sample.height, floor_size(sample.height, divisor)),
        num_frames=Asked(sample.num_frames, frames),
        steps=sample.sample_steps,
        guidance_scale=sample.guidance_scale,
        seed=sample.seed,
        scheduler=scheduler,
        lora_files=files,
        lora_scales=tuple(sample.network_multiplier for _ in files),
        lora_application=application,
        precision=Precision(job.dtype, "cast"),
        control_image=_control_image(job, index, control_image) if is_i2v and not unpairable else None,
        resize=Resize("lanczos", "stretch") if is_i2v else None,
        vae_tiling=(job.low_vram or job.vae_tiling) and not is_i2v,
        quantization=job.quantization,
        codec=_codec(sample),
        fps=sample.fps,
        boundary=None if model.experts is None else BOUNDARY,
        conditioning=conditioning,
        vae=vae,
        obstacles=tuple(obstacles),
        notes=tuple(notes),
    )


def _check_numbers(job: Job, sample: Sample) -> None:
    """Numbers that a config may hold, but no preview was drawn by."""
    for name in ("guidance_scale", "network_multiplier"):
        value = getattr(sample, name)
        if not math.isfinite(value):
            raise job.document.error((*PROCESS, "sample", name), f"must be a finite number, is {value}")


def assumed_recipe(inference: Recipe) -> Recipe:
    """The recipe of a preview whose config is lost: the request's settings in the trainer's graph."""
    note = "no config: the request's settings, in the trainer's graph, are taken for the preview's"
    model = find_model(inference.model)
    return dataclasses.replace(
        inference,
        scheduler=flow_schedule("flow_match_euler", model.trainer_shift),
        lora_application="merged",
        precision=Precision("bfloat16", "cast"),
        resize=inference.resize and Resize("lanczos", "stretch"),
        vae_tiling=False,
        codec=Codec("webp", 80),
        boundary=None if model.experts is None else BOUNDARY,
        conditioning=trainer_conditioning(model, None),
        compiled=False,
        notes=(note, *inference.notes),
    )


def _known_floors(
    job: Job, scheduler: Scheduler, application: LoraApplication | None, conditioning: Conditioning | None
) -> list[str]:
    """What even the right recipe cannot bring back, because no file on disk holds it."""
    floors = []
    if scheduler.family == "unipc":
        floors.append("drawn with an older copy of the VAE code: a residue of about 49 dB has no known cause")
    if application is not None and job.save_dtype not in ("float32", "fp32", "float"):
        live = "EMA weights" if job.use_ema else "float32 weights"
        floors.append(
            f"drawn with live {live}; the file is rounded to {job.save_dtype}: a floor nobody can explain away"
        )
    if application == "merged" and job.dtype != "float32":
        # merge_in and merge_out (network_mixins.py) add and subtract in the weight's dtype. Measured on the real code.
        floors.append(
            f"every earlier preview of the same process merged its LoRA and took it out again in {job.dtype}; what "
            "that rounded stays in the base weights: 47.5 to 49.4 dB on raw frames, nothing for the first preview"
        )
    if conditioning is not None and conditioning.noise == "cuda":
        floors.append(
            "drawn on a GPU: the noise in the control image's latents came from its generator, whose numbers depend on "
            "the GPU model; on another model, or on a CPU, which takes its own, the last bits cannot repeat"
        )
    return floors


def _checkpoint(job: Job, model: Model, stand_in: str | None, notes: list[str]) -> tuple[str, str | None, str | None]:
    """Where the weights and, if elsewhere, text encoder and VAE come from (Wan21.load_model).

    Wan 2.2 always takes a VAE of ai-toolkit's own, the one that all published checkpoints hold; a folder's is taken
    for it.
    """
    folder = job.folder / job.checkpoint
    encoder, vae = "ai-toolkit/umt5_xxl_encoder", None if model.experts is None else "ai-toolkit/wan2.1-vae"
    if folder.is_dir():
        own_encoder, own_vae = (folder / "text_encoder").is_dir(), (folder / "vae").is_dir()
        return str(folder.resolve()), None if own_encoder else encoder, None if own_vae else vae
    if stand_in is not None:
        notes.append(f"the config's checkpoint {job.checkpoint} is no folder here; the one given is used")
        return stand_in, None, None
    if job.checkpoint.count("/") != 1 or job.checkpoint.startswith(("/", ".")):
        where = (*PROCESS, "model", "name_or_path")
        raise job.document.error(
            where, f"{job.checkpoint} does not exist here; set `checkpoint:` in the case (`parity serve`: --checkpoint)"
        )
    return job.checkpoint, encoder, vae


def _lora_files(
    job: Job, video: VideoName | None, given: Path | None, obstacles: list[str], notes: list[str]
) -> tuple[LoraFile, ...]:
    """The files that hold the weights the preview was drawn with; high noise before low noise."""
    if given is None:
        found = find_lora(job, video.step if video else None)
    elif given.is_file():
        found = lora_given(job, given)
    else:
        raise CaseError(f"{given}: the preview's LoRA does not exist")
    obstacles += [found.missing] if found.missing else []
    notes += found.notes
    try:
        return tuple(lora_file(path, expert) for path, expert in found.of_experts(job))
    except UnreproducibleError as error:
        obstacles.append(str(error))
        return ()


def _lora_application(job: Job) -> LoraApplication:
    """Merged when all prompts of the job share one scale and the weights can be written to (generate_images)."""
    one_scale = len({sample.network_multiplier for sample in job.samples}) == 1
    writable = not job.quantization.transformer and not job.layer_offloading
    return "merged" if one_scale and writable else "side_path"


def _control_image(job: Job, index: int, moved: Path | None) -> ControlImage | None:
    named = job.samples[index].ctrl_img
    where = (*PROCESS, "sample", "samples", index)
    if moved is None and named is None:
        raise job.document.error(where, "has no ctrl_img; ai-toolkit draws no I2V preview without one")
    try:
        return load_control_image(str(moved or named), job.folder)
    except MediaError as error:
        raise job.document.error(where, f"{error}; set preview.control_image in the case") from None


def _codec(sample: Sample) -> Codec:
    """GenerateImageConfig.save_image: frames asked > 1 -> WebP, else `sample.format`, Pillow's defaults."""
    if sample.num_frames > 1 or sample.format == "webp":
        return Codec("webp", 80)
    return Codec("png", None) if sample.format == "png" else Codec("jpeg", 75)


def job_obstacles(job: Job, model: Model) -> list[str]:
    """What no recipe of the job can repeat, whatever its prompt."""
    obstacles = []
    if job.network_type is None:
        obstacles.append("the job trains no network (full fine-tune): there is no LoRA to serve")
    elif job.network_type != "lora":
        obstacles.append(f"network.type {job.network_type}: only lora is run so far")
    if model.needs_control_image and model.experts is None and job.low_vram:
        obstacles.append("low_vram I2V raises with current diffusers; what older versions drew is not known")
    return obstacles


def _find_obstacles(
    job: Job,
    sample: Sample,
    model: Model,
    video: VideoName | None,
    index: int,
    obstacles: list[str],
    notes: list[str],
) -> None:
    """What no recipe can repeat, and what should make the reader look twice."""
    if job.has_first_sample and video is not None and video.step == 0:
        obstacles.append("step 0 may be drawn from the config's `first_sample` section, which is not read")
    if sample.seed is None:
        obstacles.append("seed -1: ai-toolkit drew a random seed and did not keep it")
    obstacles += job_obstacles(job, model)
    for name in ("num_frames", "sample_steps", "fps"):
        if getattr(sample, name) < 1:
            obstacles.append(f"{name} {getattr(sample, name)}: ai-toolkit fails on it")
    if sample.neg is None:
        obstacles.append("no `neg`: ai-toolkit itself crashes on Wan without a negative prompt")
    width, height = floor_size(sample.width, 8), floor_size(sample.height, 8)
    if model.trainer_size_divisor < 16 and (width % 16 or height % 16):
        obstacles.append(f"{width}x{height} is no multiple of 16: diffusers refuses it, ai-toolkit does not floor it")
    if video is not None and video.index != index:
        notes.append(f"the video's name says prompt {video.index}, the case says sample {index}")
    if job.arch is None:
        notes.append("the config names no model.arch; the case's model is taken")
