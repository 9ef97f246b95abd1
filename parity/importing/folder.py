"""Import of ai-toolkit jobs: a folder read into previews, each with what it was drawn with. Writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from parity.importing.pairing import Pairing, pair
from pipelines.aitoolkit.job import PROCESS, Job, read_job
from pipelines.aitoolkit.job_folder import (
    LoraFiles,
    PreviewFile,
    all_lora_files,
    find_lora,
    find_previews,
    samples_folder,
    toolkit_version,
)
from pipelines.catalog import MODELS, Model, find_model, models_of_job
from pipelines.errors import CaseError, UsageError
from pipelines.hub import find_source, is_hub_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the command line says beyond the folder."""

    step: str = "all"
    """`all`, `last` or a number."""
    prompts: tuple[int, ...] = ()
    """Prompt indices; none: all."""
    model: str | None = None
    checkpoint: str | None = None
    """Folder or Hub id that stands in for the config's own."""
    toolkit: str | None = None
    """ai-toolkit version of previews whose LoRA does not say it."""
    pipeline: str = "reference"
    """The graph under test."""
    expect: tuple[str, ...] | None = None
    """Factors known to differ; None: none is expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobImport:
    """A job, read."""

    job: Job
    model: Model
    model_assumed: bool
    """The job may as well have trained another model of the same arch."""
    checkpoint: str | None
    """For the cases: a folder or Hub id; None: the model's own."""
    previews: tuple[PreviewFile, ...]
    """All there are, oldest first."""
    pairings: tuple[Pairing, ...]
    """Those wanted, by step and prompt."""
    strangers: tuple[str, ...]
    """Files among the samples whose names are not the trainer's."""
    other_toolkits: tuple[str, ...]
    """Versions by the LoRA files, where --toolkit says another."""
    pipeline: str
    expect: tuple[str, ...] | None


class UnsupportedModelError(CaseError):
    """The job can be read, but its model cannot be run yet. `table` holds what was paired."""

    def __init__(self, message: str, table: Sequence[tuple[PreviewFile, LoraFiles]]) -> None:
        super().__init__(message)
        self.table = table


def read_job_folder(folder: Path, wanted: Wanted) -> JobImport:
    """Pair the previews of a job.

    Raises UsageError for a folder that is no job's or an option that fits nothing in it, CaseError for its config,
    and UnsupportedModelError for a model this version does not run.
    """
    job = _open(folder)
    previews, strangers = find_previews(job.folder)
    if not previews:
        raise UsageError(_no_previews(job, strangers))
    chosen = _choose(previews, wanted, job)
    model, assumed = _model(job, wanted.model, chosen)
    checkpoint = _checkpoint(job, wanted.checkpoint, model)
    versions = {version for path in all_lora_files(job) if (version := toolkit_version(path)) is not None}
    common = next(iter(versions)) if len(versions) == 1 else None
    pairings = []
    for preview in chosen:
        lora = find_lora(job, preview.name.step)
        own = next((version for path in lora.paths if (version := toolkit_version(path)) is not None), None)
        toolkit = own or (None if lora.paths else common) or wanted.toolkit
        pairings.append(pair(job, preview, previews, lora, model=model, checkpoint=checkpoint, toolkit=toolkit))
    return JobImport(
        job=job,
        model=model,
        model_assumed=assumed,
        checkpoint=checkpoint,
        previews=tuple(previews),
        pairings=tuple(pairings),
        strangers=tuple(strangers),
        other_toolkits=tuple(sorted(versions - {wanted.toolkit})) if wanted.toolkit is not None else (),
        pipeline=wanted.pipeline,
        expect=wanted.expect,
    )


def _open(folder: Path) -> Job:
    """The job of a folder, with a hint where the user was one folder off."""
    if not folder.exists():
        raise UsageError(f"{folder}: no such folder; give the folder that ai-toolkit wrote the job into")
    if not folder.is_dir():
        hint = f"; did you mean {folder.parent}?" if folder.name == "config.yaml" else ""
        raise UsageError(f"{folder}: is a file; give the job's folder, the one with config.yaml and samples/{hint}")
    if not (folder / "config.yaml").is_file():
        raise UsageError(_no_config(folder))
    job = read_job(folder / "config.yaml")
    if not samples_folder(folder).is_dir():
        raise UsageError(f"{folder}: has no samples/ folder: this job has drawn no preview yet, or it was moved away")
    return job


def _no_config(folder: Path) -> str:
    jobs = [path.parent.name for path in sorted(folder.glob("*/config.yaml"))]
    configs = [path.name for path in sorted(folder.iterdir()) if path.suffix in (".yaml", ".yml", ".json")]
    what = f"{folder}: has no config.yaml, which ai-toolkit writes into the folder of each job"
    if jobs:
        return f"{what}; it holds {_some(jobs, 'job')}: import one at a time, e.g. {folder / jobs[0]}"
    if (folder.parent / "config.yaml").is_file():
        return f"{what}; did you mean {folder.parent}?"
    if configs:
        return f"{what}; it has {_some(configs, 'other file')}: copy the one the previews were drawn by to config.yaml"
    return what


def _some(names: Sequence[str], kind: str) -> str:
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return f"{len(names)} {kind}{'' if len(names) == 1 else 's'} ({shown})"


def _no_previews(job: Job, strangers: Sequence[str]) -> str:
    folder = samples_folder(job.folder)
    if not strangers:
        return f"{folder}: is empty: this job has drawn no preview yet, or they were moved away"
    return (
        f"{folder}: {_some(strangers, 'file')}, none with a name as ai-toolkit gives it: "
        "<milliseconds>__<step, 9 digits>_<prompt>.webp, e.g. 1795289016732__000000500_0.webp"
    )


def _choose(previews: Sequence[PreviewFile], wanted: Wanted, job: Job) -> list[PreviewFile]:
    """By --step and --prompt. `last` is the newest preview's step: after a restart that is not the highest."""
    chosen = list(previews)
    if wanted.step != "all":
        step = previews[-1].name.step if wanted.step == "last" else int(wanted.step)
        chosen = [preview for preview in chosen if preview.name.step == step]
        if not chosen:
            steps = sorted({preview.name.step for preview in previews if preview.name.step is not None})
            known = ", ".join(map(str, steps)) or "none with a step in their names"
            raise UsageError(f"--step {wanted.step}: no preview of that step; there are {known}")
    indices = {preview.name.index for preview in previews}
    for index in wanted.prompts:
        if index not in indices:
            known = f"the config has {len(job.samples)} prompts, the previews are of {_numbers(indices)}"
            raise UsageError(f"--prompt {index}: no preview of that prompt (counted from 0); {known}")
    chosen = [preview for preview in chosen if not wanted.prompts or preview.name.index in wanted.prompts]
    if not chosen:
        raise UsageError(f"--step {wanted.step} --prompt {_numbers(set(wanted.prompts))}: no preview is of both")
    return sorted(chosen, key=lambda it: (it.name.step is None, it.name.step or 0, it.name.index, it.name.drawn))


def _numbers(values: set[int]) -> str:
    return ", ".join(map(str, sorted(values)))


def _model(job: Job, given: str | None, previews: Sequence[PreviewFile]) -> tuple[Model, bool]:
    """The API model a LoRA of this job is for, and whether that had to be assumed."""
    where = (*PROCESS, "model", "arch")
    if given is not None:
        model = find_model(given)
        if job.arch not in (None, model.arch):
            raise job.document.error(where, f"trains {job.arch}, but --model {given} takes LoRAs of {model.arch}")
        return model, False
    candidates = models_of_job(job.arch, job.variant, job.checkpoint)
    if not candidates:
        message = f"{job.arch} is not run by this version of wan-parity, which runs {_supported()}"
        paired = [(preview, find_lora(job, preview.name.step)) for preview in previews]
        raise UnsupportedModelError(str(job.document.error(where, message)), paired)
    if job.arch is None and len(candidates) > 1:
        known = ", ".join(model.id for model in candidates)
        raise job.document.error(where, f"is missing; say with --model which it is: {known}")
    return candidates[0], len(candidates) > 1


def _supported() -> str:
    """`wan21 (as wan21_14b or wan21_1b), …`."""
    archs: dict[str, list[str]] = {}
    for model in MODELS.values():
        archs.setdefault(model.arch, []).append(model.id)
    return ", ".join(f"{arch} (as {' or '.join(ids)})" for arch, ids in archs.items())


def _checkpoint(job: Job, given: str | None, model: Model) -> str | None:
    """What a case needs so that both sides find their weights."""
    if given is not None:
        source = find_source(given)
        if source is None:
            raise UsageError(f"--checkpoint {given}: is neither a folder nor a Hub id")
        return source
    source = find_source(job.checkpoint, job.folder)
    if source is None:
        raise job.document.error(
            (*PROCESS, "model", "name_or_path"),
            f"{job.checkpoint} is not on this machine; say with --checkpoint where the weights are, as a folder or a "
            f"Hub id, e.g. --checkpoint {model.base_checkpoint}",
        )
    return None if is_hub_id(source) else source
