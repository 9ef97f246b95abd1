"""Reads the folder of an ai-toolkit job: its previews, each with the inputs it was generated from. Writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from pathlib import Path

from parity.importing.pairing import Pairing, pair
from pipelines.aitoolkit.evidence import written_over
from pipelines.aitoolkit.job import PROCESS, Job, read_job
from pipelines.aitoolkit.job_folder import (
    JOB_CONFIGS,
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
from pipelines.files.words import listed, plural
from pipelines.hub import find_source, is_hub_id, why_not_found, why_unusable


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """The options of `parity import`, except the folder."""

    step: str = "all"
    """`all`, `last` or a number."""
    prompts: tuple[int, ...] = ()
    """Prompt indices; an empty tuple means all."""
    model: str | None = None
    checkpoint: str | None = None
    """A folder or Hub id that replaces the checkpoint of the config."""
    toolkit: str | None = None
    """The ai-toolkit version of previews whose LoRA does not contain it."""
    pipeline: str = "reference"
    """The graph under test."""
    expect: tuple[str, ...] | None = None
    """Factors known to differ; None leaves the key `expect` out of the cases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobImport:
    """A job with its previews."""

    job: Job
    model: Model
    model_assumed: bool
    """True if the job may also have trained another model of the same arch."""
    checkpoint: str | None
    """The checkpoint for the cases, a folder or Hub id; None means the model's own."""
    previews: tuple[PreviewFile, ...]
    """All previews, oldest first."""
    pairings: tuple[Pairing, ...]
    """The selected previews, sorted by step and prompt."""
    ignored: tuple[str, ...]
    """Files in samples/ that are not named as the trainer names previews."""
    other_toolkits: tuple[str, ...]
    """The versions in the LoRA files that differ from --toolkit."""
    pipeline: str
    expect: tuple[str, ...] | None
    doubts: tuple[str, ...] = ()
    """Evidence that config or LoRA files were written over after a preview was generated."""


class UnsupportedModelError(CaseError):
    """The job can be read, but its model is not supported yet. `table` contains the pairs found so far."""

    def __init__(self, message: str, table: Sequence[tuple[PreviewFile, LoraFiles]]) -> None:
        super().__init__(message)
        self.table = table


def read_job_folder(folder: Path, options: ImportOptions) -> JobImport:
    """Pair the previews of a job.

    Raises UsageError for a folder that is not a job or an option that matches nothing in it, CaseError for an invalid
    config, and UnsupportedModelError for a model that this version does not support.
    """
    job = open_job(folder)
    previews, ignored = find_previews(job.folder)
    if not previews:
        raise UsageError(_no_previews(job, ignored))
    chosen = _choose(previews, options, job)
    model, assumed = _model(job, options.model, chosen)
    checkpoint = _checkpoint(job, options.checkpoint, model)
    versions = {version for path in all_lora_files(job) if (version := toolkit_version(path)) is not None}
    common = next(iter(versions)) if len(versions) == 1 else None
    pairings = []
    for preview in chosen:
        lora = find_lora(job, preview.name.step)
        own = next((version for path in lora.paths if (version := toolkit_version(path)) is not None), None)
        toolkit = own or (None if lora.paths else common) or options.toolkit
        pairings.append(pair(job, preview, previews, lora, model=model, checkpoint=checkpoint, toolkit=toolkit))
    return JobImport(
        job=job,
        model=model,
        model_assumed=assumed,
        checkpoint=checkpoint,
        previews=tuple(previews),
        pairings=tuple(pairings),
        ignored=tuple(ignored),
        other_toolkits=tuple(sorted(versions - {options.toolkit})) if options.toolkit is not None else (),
        pipeline=options.pipeline,
        expect=options.expect,
        doubts=written_over(job, previews),
    )


def open_job(folder: Path) -> Job:
    """Read the job of a folder; the error for a neighbouring folder suggests the right one."""
    if not folder.exists():
        raise UsageError(f"folder not found: {folder}; pass the folder that ai-toolkit wrote the job into")
    if not folder.is_dir():
        hint = f"; did you mean {folder.parent}?" if folder.name == "config.yaml" else ""
        raise UsageError(f"{folder}: is a file; pass the job's folder, which contains config.yaml and samples/{hint}")
    config = next((folder / name for name in JOB_CONFIGS if (folder / name).is_file()), None)
    if config is None:
        raise UsageError(_no_config(folder))
    job = read_job(config)
    if not samples_folder(folder).is_dir():
        raise UsageError(
            f"{folder}: has no samples/ folder: this job has not generated a preview yet, or the folder was moved"
        )
    return job


def _no_config(folder: Path) -> str:
    jobs = [path.parent.name for path in sorted(folder.glob("*/config.yaml"))]
    configs = [path.name for path in sorted(folder.iterdir()) if path.suffix in (".yaml", ".yml", ".json")]
    problem = f"{folder}: has no config.yaml, which ai-toolkit writes into the folder of each job"
    if jobs:
        return f"{problem}; it contains {_some(jobs, 'job')}: import one at a time, e.g. {folder / jobs[0]}"
    if (folder.parent / "config.yaml").is_file():
        return f"{problem}; did you mean {folder.parent}?"
    if not configs and samples_folder(folder).is_dir():
        return problem + _as_a_case(folder)
    if configs:
        return (
            f"{problem}; it has {_some(configs, 'other file')}: copy the one that generated the previews to config.yaml"
        )
    return problem


def _as_a_case(folder: Path) -> str:
    """What still works for a folder as ai-toolkit pushes it to the Hub: previews and LoRA, without the config."""
    previews, _ = find_previews(folder)
    loras = sorted(folder.glob("*.safetensors"))
    if not previews or not loras:
        return ""
    name = previews[-1].path.relative_to(folder)
    side = ["transformer: high", "transformer: low"] if loras[0].stem.endswith("_high_noise") else []
    items = [f"    - path: {path.name}" + (f"\n      {end}" if end else "") for path, end in zip_longest(loras, side)]
    return (
        " and leaves out when it pushes a LoRA to the Hub. Ask its author for it, or have the settings searched for in "
        "the preview's pixels: write the case below with the settings as far as you know them into "
        f"{folder}/case.yaml, then run: parity diagnose {folder}/case.yaml --search\n"
        "  model: MODEL_ID  # see `parity models`\n  checkpoint: FOLDER_OR_HUB_ID\n"
        f"  preview:\n    video: {name}\n"
        "  request:\n    model: MODEL_ID\n    loras:\n"
        + "\n".join(f"  {item}" for item in items[: len(side) or 1])
        + '\n    prompts:\n      - prompt: "PROMPT"\n        neg: ""'
    ).replace("\n      transformer", "\n        transformer")


def _some(names: Sequence[str], kind: str) -> str:
    return f"{plural(len(names), kind)} ({listed(names, 5)})"


def _no_previews(job: Job, ignored: Sequence[str]) -> str:
    folder = samples_folder(job.folder)
    if not ignored:
        return f"{folder}: is empty: this job has not generated a preview yet, or they were moved"
    return (
        f"{folder}: {_some(ignored, 'file')}, none named as ai-toolkit names previews: "
        "<milliseconds>__<step, 9 digits>_<prompt>.webp, e.g. 1795289016732__000000500_0.webp"
    )


def _choose(previews: Sequence[PreviewFile], options: ImportOptions, job: Job) -> list[PreviewFile]:
    """Select by --step and --prompt. `last` is the newest preview's step: after a restart that is not the highest."""
    chosen = list(previews)
    if options.step != "all":
        step = previews[-1].name.step if options.step == "last" else int(options.step)
        chosen = [preview for preview in chosen if preview.name.step == step]
        if not chosen:
            steps = sorted({preview.name.step for preview in previews if preview.name.step is not None})
            known = ", ".join(map(str, steps)) or "none"
            raise UsageError(f"--step {options.step}: no preview of that step; steps with previews: {known}")
    indices = {preview.name.index for preview in previews}
    for index in options.prompts:
        if index not in indices:
            known = f"the config has {len(job.samples)} prompts, and there are previews of {_numbers(indices)}"
            raise UsageError(f"--prompt {index}: no preview of that prompt (counted from 0); {known}")
    chosen = [preview for preview in chosen if not options.prompts or preview.name.index in options.prompts]
    if not chosen:
        raise UsageError(f"--step {options.step} --prompt {_numbers(set(options.prompts))}: no preview matches both")
    return sorted(chosen, key=_order)


def _order(preview: PreviewFile) -> tuple[bool, int, int, datetime]:
    """Sort by step, with previews without a step last, then by prompt and time."""
    name = preview.name
    return name.step is None, name.step or 0, name.index, name.generated_at


def _numbers(values: set[int]) -> str:
    return ", ".join(map(str, sorted(values)))


def _model(job: Job, given: str | None, previews: Sequence[PreviewFile]) -> tuple[Model, bool]:
    """Return the API model for LoRAs of this job, and True if it had to be assumed."""
    arch_key = (*PROCESS, "model", "arch")
    if given is not None:
        model = find_model(given)
        if job.arch not in (None, model.arch):
            raise job.document.error(
                arch_key, f"the job trains {job.arch}, but --model {given} takes LoRAs of {model.arch}"
            )
        return model, False
    candidates = models_of_job(job.arch, job.variant, job.checkpoint)
    if not candidates:
        message = f"{job.arch} is not supported by this version of wan-parity, which supports {_supported()}"
        paired = [(preview, find_lora(job, preview.name.step)) for preview in previews]
        raise UnsupportedModelError(str(job.document.error(arch_key, message)), paired)
    if job.arch is None and len(candidates) > 1:
        known = ", ".join(model.id for model in candidates)
        raise job.document.error(arch_key, f"missing; choose the model with --model: {known}")
    return candidates[0], len(candidates) > 1


def _supported() -> str:
    """List the supported archs: `wan21 (as wan21_14b or wan21_1b), …`."""
    archs: dict[str, list[str]] = {}
    for model in MODELS.values():
        archs.setdefault(model.arch, []).append(model.id)
    return ", ".join(f"{arch} (as {' or '.join(ids)})" for arch, ids in archs.items())


def _checkpoint(job: Job, given: str | None, model: Model) -> str | None:
    """Return the checkpoint that a case must name so that both sides find their weights; None if it need not."""
    if given is not None:
        source = find_source(given)
        if source is None:
            raise UsageError(f"--checkpoint {given}: {why_not_found(given)}; pass a folder or a Hub id")
        reason = why_unusable(source)
        if reason is not None:
            raise UsageError(f"--checkpoint: {reason}")
        return source
    # Relative to the folder that ai-toolkit ran in, which is the one of output/.
    source = find_source(job.checkpoint, job.folder) or find_source(job.checkpoint, job.folder.parent.parent)
    reason = f"{job.checkpoint} {why_not_found(job.checkpoint)}" if source is None else why_unusable(source)
    if reason is not None or source is None:
        raise job.document.error(
            (*PROCESS, "model", "name_or_path"),
            f"{reason}; pass the weights with --checkpoint, as a folder or a Hub id, e.g. "
            f"--checkpoint {model.base_checkpoint}",
        )
    return None if is_hub_id(source) else source
