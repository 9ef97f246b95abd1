"""Which preview of a job a ComfyUI video is to be compared with, by its graph: prompt, seed and LoRA file."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from parity.importing.case_files import case_text
from parity.importing.folder import ImportOptions, open_job, read_job_folder
from pipelines.aitoolkit.job import Job
from pipelines.aitoolkit.job_folder import PreviewFile, find_lora, find_previews
from pipelines.catalog import models_of_job
from pipelines.comfyui.checks import names_at_odds
from pipelines.comfyui.loras import base_name
from pipelines.comfyui.settings import Settings
from pipelines.errors import UsageError
from pipelines.files.words import listed, shorten

_LIKE = 0.6
"""The least similarity (0 to 1) at which two prompts are called similar."""
_LONGEST = 2_000
"""The most characters of a prompt that are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The preview of a job that fits a graph best."""

    path: Path
    """Where a case file would stand; it does not exist."""
    text: str
    """The case of the preview, as `parity import` writes it there."""
    preview: PreviewFile
    reasons: tuple[str, ...]
    """How it was chosen, one sentence each."""
    command: str
    """What writes that case."""


def fit_to_job(place: Path, settings: Settings) -> Fit:
    """Choose a preview of the job whose folder or config is given. Raises UsageError and CaseError, as importing."""
    folder = place if place.is_dir() else place.parent
    job = open_job(folder)
    previews, _ = find_previews(folder)
    chosen = [preview for preview in previews if preview.name.index < len(job.samples)]
    if not chosen:
        raise UsageError(f"{folder}: has no preview of a prompt that the config lists; name a case instead")
    index, why_sample = _sample(job, settings, sorted({preview.name.index for preview in chosen}))
    step, why_step = _step(job, settings, [preview for preview in chosen if preview.name.index == index])
    model = _model(job, settings)
    only = "last" if previews[-1].name.step == step else "all" if step is None else str(step)
    options = ImportOptions(step=only, prompts=(index,), model=model)
    imported = read_job_folder(folder, options)
    pairing = [pairing for pairing in imported.pairings if pairing.preview.name.step == step][-1]
    path = folder / "comfyui.yaml"
    given = [f"--step {step}"] if step is not None else []
    given += [f"--model {model}"] if model is not None else []
    return Fit(
        path=path,
        text=case_text(imported, pairing, folder),
        preview=pairing.preview,
        reasons=(why_sample, why_step),
        command=" ".join(["parity import", str(folder), *given, f"--prompt {index}"]),
    )


def _sample(job: Job, settings: Settings, indices: Sequence[int]) -> tuple[int, str]:
    """The prompt that is the graph's, or most like it; of several the one with the graph's seed."""
    asked = _plain(settings.prompt)
    seed = settings.stages[0].seed
    likeness = {index: _likeness(asked, _plain(job.samples[index].prompt)) for index in indices}
    index = max(indices, key=lambda index: (likeness[index], job.samples[index].seed == seed, -index))
    sample = job.samples[index]
    seeds = "its seed too" if sample.seed == seed else f"but not its seed ({sample.seed}, in the graph {seed})"
    shown = shorten(sample.prompt, 60)
    if likeness[index] == 1:
        return index, f"sample {index}: its prompt is the graph's, {seeds}"
    if likeness[index] >= _LIKE:
        return index, f'sample {index}: its prompt "{shown}" is most like the graph\'s, {seeds}'
    same = [index for index in indices if job.samples[index].seed == seed]
    if len(same) == 1:
        return same[0], f"sample {same[0]}: it alone has the graph's seed; no prompt of the job is like the graph's"
    first = indices[0]
    shown = shorten(job.samples[first].prompt, 60)
    return first, f'sample {first} ("{shown}"): a guess, no prompt of the job is like the graph\'s; name a case instead'


def _plain(prompt: str) -> str:
    """A prompt without what may differ in spelling: white space, and ComfyUI's escapes."""
    return " ".join(prompt.replace("\\(", "(").replace("\\)", ")").split())[:_LONGEST]


def _likeness(one: str, other: str) -> float:
    return 1.0 if one == other else min(difflib.SequenceMatcher(None, one, other, autojunk=False).ratio(), 0.999)


def _step(job: Job, settings: Settings, previews: Sequence[PreviewFile]) -> tuple[int | None, str]:
    """The step whose LoRA the graph names; else the last."""
    names = {base_name(lora.name) for stage in settings.stages for lora in stage.loras}
    for preview in reversed(previews):
        files = [path.name for path in find_lora(job, preview.name.step).paths if path.name in names]
        if files:
            return preview.name.step, f"{_words(preview.name.step)}: its LoRA is {listed(files, 2)}, as in the graph"
    step = previews[-1].name.step
    if not names:
        return step, f"{_words(step)}, the last: the graph has no LoRA"
    shown = listed([shorten(name, 60) for name in sorted(names)], 3)
    return step, f"{_words(step)}, the last: no LoRA of the job is called {shown}"


def _words(step: int | None) -> str:
    return "the final preview" if step is None else f"step {step}"


def _model(job: Job, settings: Settings) -> str | None:
    """The model by the names in the graph, where a job fits several and the first is not it."""
    models = models_of_job(job.arch, job.variant, job.checkpoint)
    fitting = [model for model in models if not list(names_at_odds(settings, model))]
    if len(models) < 2 or not fitting or models[0] in fitting:
        return None
    return fitting[0].id
