"""The recipe of a preview, by what ai-toolkit did: a job + sample index + toolkit version -> Recipe.

Every rule holds for ostris/ai-toolkit at 27a03a91 (0.12.26) unless a line names another version.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

from pipelines.aitoolkit.earlier import earlier_merges
from pipelines.aitoolkit.job import PROCESS, Job, Sample
from pipelines.aitoolkit.job_folder import VideoName, find_lora, lora_given
from pipelines.aitoolkit.quantization import quantization_changes, trainer_quantization
from pipelines.aitoolkit.remarks import OLD_LOKR, Remarks, known_residuals, sample_remarks
from pipelines.aitoolkit.rules import (
    BOUNDARY,
    changes_that_matter,
    scheduler_of,
    trainer_conditioning,
    trainer_frame_rule,
    trainer_tiling,
    trainer_vae_norm,
)
from pipelines.aitoolkit.versions import Origin
from pipelines.catalog import Model, find_model
from pipelines.errors import CaseError, MediaError, UnreproducibleError
from pipelines.graph import FRAME_RULES, SIZE_RULES
from pipelines.hub import find_source, is_hub_id, why_not_found
from pipelines.limits import why_too_many_steps
from pipelines.lora_files import is_lokr, left_out, lora_file, why_not_applied
from pipelines.media.control_image import load as load_control_image
from pipelines.quantization import Quantization
from pipelines.recipe import (
    Asked,
    Codec,
    ControlImage,
    EarlierMerge,
    LoraApplication,
    LoraFile,
    Precision,
    Recipe,
    Resize,
)
from pipelines.scheduler import flow_schedule
from pipelines.weights import Weights


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
    earlier_previews: int | None = None,
) -> Recipe:
    """The recipe of prompt `index` (0-based) of a job.

    `checkpoint`: used where the config's own folder does not exist on this machine.
    `lora`, `control_image`: where these files are now, if not where the job left them.
    `unpairable`: why it cannot be reproduced; its LoRA, control image and prompt are then not required.
    `earlier_previews`: the number of earlier steps with previews in the same process; None: read off the folder.
    Raises CaseError for a missing index or control image, and for a job of another kind of model.
    """
    sample = _checked_sample(job, index, model, unpairable)
    named = sample.ctrl_img is not None or control_image is not None
    with_image = model.needs_control_image or (model.takes_control_image and named)
    weights, remarks = _weights(job, model, checkpoint)
    files: tuple[LoraFile, ...] = ()
    if not unpairable:
        files, found = _lora_files(job, video, lora)
        remarks += found
    origin = origin_of(toolkit, video)
    scheduler = scheduler_of(origin, model.trainer_shift, model.trainer_unipc_shift)
    application = _lora_application(job)
    conditioning = trainer_conditioning(model, job.device) if with_image else None
    quantization, assumed = trainer_quantization(job, model, origin)
    changes = (*changes_that_matter(job, sample, model), *quantization_changes(job, model))
    if application == "side_path" and any(is_lokr(file.path) for file in files):
        changes = (*changes, "lokr_forward")
        if not origin.follows("lokr_forward"):
            remarks += Remarks(obstacles=(OLD_LOKR,))
    remarks += Remarks(notes=origin.notes(changes)) + assumed
    remarks += known_residuals(job, application if files else None, conditioning)
    merges: tuple[EarlierMerge, ...] = ()
    if files and application == "merged":
        merges, found = earlier_merges(job, video, sample.network_multiplier, earlier_previews)
        remarks += found
    remarks += sample_remarks(job, sample, model, video, index)
    floored, frames = SIZE_RULES["trainer"], FRAME_RULES[trainer_frame_rule(job, model, origin)](sample.num_frames)
    return Recipe(
        model=model.id,
        pipeline=model.pipeline(with_image=with_image),
        weights=weights,
        prompt=sample.prompt,
        negative_prompt=sample.neg or "",
        width=Asked(sample.width, floored(sample.width, model)),
        height=Asked(sample.height, floored(sample.height, model)),
        num_frames=Asked(sample.num_frames, frames),
        steps=sample.sample_steps,
        guidance_scale=sample.guidance_scale,
        seed=sample.seed,
        scheduler=scheduler,
        lora_files=files,
        lora_scales=tuple(sample.network_multiplier for _ in files),
        lora_application=application,
        precision=Precision(job.dtype, "cast"),
        control_image=_control_image(job, index, control_image) if with_image and not unpairable else None,
        resize=Resize("lanczos", "stretch") if with_image else None,
        vae_tiling=trainer_tiling(job, model, origin),
        quantization=quantization,
        codec=_codec(sample),
        fps=sample.fps,
        boundary=None if model.experts is None else BOUNDARY,
        conditioning=conditioning,
        vae_norm=trainer_vae_norm(origin),
        earlier_merges=merges,
        obstacles=_obstacles(remarks.obstacles, unpairable),
        notes=remarks.notes,
    )


def origin_of(toolkit: str | None, video: VideoName | None) -> Origin:
    """What version and file name say about the ai-toolkit that generated a preview. None: not known."""
    return Origin(toolkit, video.generated_at if video else None)


def _checked_sample(job: Job, index: int, model: Model, unpairable: str | None) -> Sample:
    """The sample of a prompt; for an unpairable preview, whose prompt may be missing, the job's settings for any."""
    path = job.document.path
    if unpairable is None and not 0 <= index < len(job.samples):
        raise CaseError(f"{path}: has {len(job.samples)} samples (0 to {len(job.samples) - 1}), not {index}")
    if job.arch is not None and job.arch != model.arch:
        raise CaseError(f"{path}: trains {job.arch}, but the model {model.id} takes LoRAs of {model.arch}")
    sample = job.samples[index] if index < len(job.samples) else job.unlisted
    if (reason := why_too_many_steps(sample.sample_steps)) is not None:
        raise job.document.error((*PROCESS, "sample", "sample_steps"), reason)
    for name in ("guidance_scale", "network_multiplier"):  # a config may hold such numbers, no preview has them
        value = getattr(sample, name)
        if not math.isfinite(value):
            raise job.document.error((*PROCESS, "sample", name), f"must be a finite number, is {value}")
    return sample


def _obstacles(found: tuple[str, ...], unpairable: str | None) -> tuple[str, ...]:
    """The reasons why a preview cannot be reproduced: the case's own, then those that it does not mention."""
    if unpairable is None:
        return found
    return (unpairable, *(obstacle for obstacle in found if obstacle not in unpairable))


def assumed_recipe(inference: Recipe) -> Recipe:
    """The recipe of a preview without a config: the request's settings in the trainer's graph."""
    note = "no config: the preview is assumed to have the request's settings, in the trainer's graph"
    model, floored = find_model(inference.model), SIZE_RULES["trainer"]
    return dataclasses.replace(
        inference,
        width=Asked(inference.width.asked, floored(inference.width.asked, model)),
        height=Asked(inference.height.asked, floored(inference.height.asked, model)),
        scheduler=flow_schedule("flow_match_euler", model.trainer_shift),
        lora_application="merged",
        precision=Precision("bfloat16", "cast"),
        resize=inference.resize and Resize("lanczos", "stretch"),
        vae_tiling=False,
        codec=Codec("webp", 80),
        boundary=None if model.experts is None else BOUNDARY,
        conditioning=inference.conditioning and trainer_conditioning(model, None),
        vae_norm="float32",
        earlier_merges=(),
        compiled=False,
        quantization=Quantization(),
        split=None,
        text_encoding="diffusers",
        clip_image="resized",
        float32_steps=False,
        vae_dtype=None,
        eight_bit="rounded",
        obstacles=(),
        notes=(note, *inference.notes),
    )


def _weights(job: Job, model: Model, stand_in: str | None) -> tuple[Weights, Remarks]:
    """The weights that a job's previews are made with (Wan21.load_model), and the assumptions about them.

    Wan 2.2 14B always takes a VAE of ai-toolkit's own, the one that all published checkpoints hold; a folder's own
    is assumed to be the same.
    """
    encoder, vae = "ai-toolkit/umt5_xxl_encoder", None if model.experts is None else "ai-toolkit/wan2.1-vae"
    source = find_source(job.checkpoint, job.folder)
    if source is not None and not is_hub_id(source):
        own_encoder, own_vae = ((Path(source) / part).is_dir() for part in ("text_encoder", "vae"))
        return Weights(source, text_encoder=None if own_encoder else encoder, vae=None if own_vae else vae), Remarks()
    if stand_in is not None:
        note = f"the config's checkpoint {job.checkpoint} is not a folder on this machine; the given one is used"
        return Weights(stand_in), Remarks(notes=(note,))
    if source is None:
        where = (*PROCESS, "model", "name_or_path")
        raise job.document.error(
            where,
            f"{job.checkpoint} {why_not_found(job.checkpoint)}; set `checkpoint:` in the case (`parity serve`: "
            "--checkpoint)",
        )
    return Weights(source, text_encoder=encoder, vae=vae), Remarks()


def _lora_files(job: Job, video: VideoName | None, given: Path | None) -> tuple[tuple[LoraFile, ...], Remarks]:
    """The LoRA files that the preview was generated with, high noise before low noise, and remarks on them."""
    if given is None:
        found = find_lora(job, video.step if video else None)
    elif given.is_file():
        found = lora_given(job, given)
    else:
        raise CaseError(f"{given}: the preview's LoRA does not exist")
    obstacles = (found.missing,) if found.missing else ()
    try:
        files = tuple(lora_file(path, expert) for path, expert in found.of_experts(job))
    except UnreproducibleError as error:
        return (), Remarks(obstacles=(*obstacles, str(error)), notes=found.notes)
    reasons = (why_not_applied(file.path, _lora_application(job), file.expert) for file in files)
    ignored = (left_out(file.path, file.expert) for file in files)
    return files, Remarks(
        obstacles=(*obstacles, *(reason for reason in reasons if reason is not None)),
        notes=(*found.notes, *(note for note in ignored if note is not None)),
    )


def _lora_application(job: Job) -> LoraApplication:
    """Merged when all prompts of the job share one scale and the weights can be written to (generate_images)."""
    one_scale = len({sample.network_multiplier for sample in job.samples}) == 1
    writable = job.quantization.transformer is None and not job.layer_offloading
    return "merged" if one_scale and writable else "side_path"


def _control_image(job: Job, index: int, moved: Path | None) -> ControlImage | None:
    named = job.samples[index].ctrl_img
    where = (*PROCESS, "sample", "samples", index)
    if moved is None and named is None:
        raise job.document.error(where, "has no ctrl_img; ai-toolkit generates no I2V preview without one")
    try:
        return load_control_image(str(moved or named), job.folder)
    except MediaError as error:
        raise job.document.error(where, f"{error}; set preview.control_image in the case") from None


def _codec(sample: Sample) -> Codec:
    """GenerateImageConfig.save_image: frames asked > 1 -> WebP, else `sample.format`, Pillow's defaults."""
    if sample.num_frames > 1 or sample.format == "webp":
        return Codec("webp", 80)
    return Codec("png", None) if sample.format == "png" else Codec("jpeg", 75)
