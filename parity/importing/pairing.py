"""Pairs one preview of an ai-toolkit job with its prompt, LoRA, control image and request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pipelines.aitoolkit.job import Job
from pipelines.aitoolkit.job_folder import LoraFiles, PreviewFile, generated_again
from pipelines.aitoolkit.preview import preview_recipe
from pipelines.catalog import Model
from pipelines.errors import MediaError, WeightsError
from pipelines.files.content import present, real_path
from pipelines.limits import limits_of
from pipelines.lora_files import read_header, why_not_applied
from pipelines.media.control_image import load as load_control_image
from pipelines.reference.inference import cannot_be_asked, request_of_preview
from pipelines.reference.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """One preview and the inputs it was generated from."""

    preview: PreviewFile
    prompt: str | None
    """The prompt as the trainer read it; None if the config does not list it."""
    lora: LoraFiles
    toolkit: str | None
    control_image: Path | None
    """The path of the control image; None if the preview was generated without one, or if it is missing."""
    from_image: bool
    """True if the preview was generated from a control image."""
    control_image_moved: bool
    """True if the control image was not found where the config says."""
    request: Request | None
    """The request that an API user would send; None if the preview is unpairable or was generated without a LoRA."""
    unpairable: str | None
    """Why the preview cannot be reproduced."""
    notes: tuple[str, ...]
    """The assumptions about the LoRA."""
    limits: tuple[str, ...]
    """What this version cannot generate of the preview, each with the reason; the rest is compared all the same."""


def pair(
    job: Job,
    preview: PreviewFile,
    previews: Sequence[PreviewFile],
    lora: LoraFiles,
    *,
    model: Model,
    checkpoint: str | None,
    toolkit: str | None,
) -> Pairing:
    """Find all inputs of one preview, or all reasons why it is unpairable. `previews` are all previews of the job."""
    index, reasons, notes = preview.name.index, list[str](), list(lora.notes)
    listed = index < len(job.samples)
    if not listed:
        reasons.append(
            f"the config has no prompt {index}, only {len(job.samples)} (from 0): the config was changed since"
        )
    reasons += _lora_problems(lora)
    again = generated_again(preview, previews)
    if again is not None and lora.paths:
        names = " and ".join(path.name for path in lora.paths)
        if again.restarted:
            reasons.append(f"generated again as {again.by.path.name} after a restart: {names} may come from that run")
        else:
            notes.append(
                f"{preview.path.name} was generated again as {again.by.path.name}; {names} is assumed for both"
            )
    image, moved = None, False
    from_image = model.needs_control_image or (
        model.takes_control_image and listed and job.samples[index].ctrl_img is not None
    )
    if from_image and listed:
        image, moved, problem = _control_image(job, index)
        reasons += [problem] if problem else []
    recipe = preview_recipe(
        job,
        index,
        model=model,
        checkpoint=checkpoint,
        toolkit=toolkit,
        video=preview.name,
        control_image=image and real_path(image),
        unpairable="; ".join(reasons) or None,
    )
    limits = tuple(
        f"{factor} is not supported yet: {why}; it is generated without, everything else is compared"
        for factor, why in limits_of(recipe).items()
    )
    request = None
    try:
        request = request_of_preview(recipe)
    except ValidationError as error:
        reasons.append(cannot_be_asked(error))
    reasons += [obstacle for obstacle in recipe.obstacles if obstacle not in "; ".join(reasons)]
    served = (why_not_applied(file.path, "adapter", file.expert) for file in recipe.lora_files)
    notes += [reason.replace(str(job.folder) + "/", "") for reason in served if reason is not None]
    return Pairing(
        preview=preview,
        prompt=job.samples[index].prompt if listed else None,
        lora=lora,
        toolkit=toolkit,
        control_image=image,
        from_image=from_image,
        control_image_moved=moved,
        request=request if lora.paths and not reasons else None,
        unpairable="; ".join(reasons) or None,
        notes=tuple(notes) if not reasons else (),
        limits=limits,
    )


def _lora_problems(lora: LoraFiles) -> list[str]:
    problems = [lora.missing] if lora.missing else []
    for path in lora.paths:
        try:
            read_header(path)
        except WeightsError as error:
            problems.append(str(error).replace(str(path), path.name))
    return problems


def _control_image(job: Job, index: int) -> tuple[Path | None, bool, str | None]:
    """Return the path of a sample's control image, True if it is not where the config says, and any problem with it.

    The config names a path on the training machine. A job that was copied from there may have the image beside its
    config.
    """
    named = job.samples[index].ctrl_img
    if named is None:
        return None, False, f"prompt {index} names no ctrl_img, and ai-toolkit generates no I2V preview without one"
    beside = job.folder / named.replace("\\", "/").rpartition("/")[2]
    path = job.folder / named
    if not present(path):
        path = beside
    if not present(path) or path.is_dir():
        return (
            None,
            False,
            f"control image {named} is missing, also from the job's folder; set its path as preview.control_image",
        )
    try:
        load_control_image(str(real_path(path)), job.folder)
    except MediaError as error:
        return None, False, str(error).replace(str(real_path(path)), named)
    return path, path != job.folder / named, None
