"""Evidence that a job's files were written over: config and LoRA may be younger than the previews beside them.

ai-toolkit writes config.yaml at every start, and its UI lets one edit the prompts and go on; a job that is trained a
second time over its folder writes its step files anew. A preview's name holds the time of its generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipelines.aitoolkit.job import Job
from pipelines.aitoolkit.job_folder import PreviewFile, all_lora_files
from pipelines.files.words import listed

_SLACK = timedelta(minutes=2)
"""Clocks of machines and file systems differ by less."""


def written_over(job: Job, previews: Sequence[PreviewFile]) -> tuple[str, ...]:
    """One sentence for each piece of evidence. `previews`: all of the job, oldest first.

    Times of files are believed only where no copy can have set them: those of the previews must be the names' own.
    """
    doubts = [*_steps_back(previews), *_prompts_changed(job, previews)]
    if previews and all(_is_kept(preview) for preview in previews):
        doubts += _younger_config(job, previews) + _other_times(job, previews)
    return tuple(doubts)


def _steps_back(previews: Sequence[PreviewFile]) -> list[str]:
    """Training went back: the step files up to there are the second run's."""
    highest = 0
    for preview in previews:
        step = preview.name.step
        if step is None:
            continue
        if step < highest:
            return [
                f"steps go back from {highest} to {step} ({preview.path.name}): a second run over this folder, whose "
                "LoRA files and config may have replaced those of earlier previews"
            ]
        highest = max(highest, step)
    return []


def _prompts_changed(job: Job, previews: Sequence[PreviewFile]) -> list[str]:
    """A step has a preview for each prompt; the last one may have been stopped."""
    indices: dict[int | None, set[int]] = {}
    for preview in previews:
        indices.setdefault(preview.name.step, set()).add(preview.name.index)
    listed_now = len(job.samples)
    other = {step: found for step, found in indices.items() if max(found) + 1 != listed_now}
    if not other:
        return []
    counts = listed(
        [f"{max(found) + 1} at step {step if step is not None else 'final'}" for step, found in other.items()], 3
    )
    return [
        f"the config lists {listed_now} prompts, the previews are of another number ({counts}): prompts were edited "
        "since, or previews removed"
    ]


def _is_kept(preview: PreviewFile) -> bool:
    """True if the file's own time is the one in its name: nothing has copied it since."""
    at = _time(preview.path)
    return at is not None and abs(at - preview.name.generated_at) < _SLACK


def _younger_config(job: Job, previews: Sequence[PreviewFile]) -> list[str]:
    at = _time(job.document.path)
    older = [preview for preview in previews if at is not None and preview.name.generated_at < at - _SLACK]
    if at is None or not older:
        return []
    return [
        f"{job.document.path.name} was written {at:%Y-%m-%d %H:%M} UTC, after {len(older)} of {len(previews)} "
        "previews: ai-toolkit writes it at every start, so those may have been generated with other settings"
    ]


def _other_times(job: Job, previews: Sequence[PreviewFile]) -> list[str]:
    """A step's LoRA is saved just before its previews are generated; a younger one is another run's."""
    doubts = []
    for path in all_lora_files(job):
        at = _time(path)
        of_step = [
            preview.name.generated_at
            for preview in previews
            if preview.name.step is not None and f"_{preview.name.step:09d}" in path.name
        ]
        if at is not None and of_step and at > max(of_step) + _SLACK:
            doubts.append(
                f"{path.name} was written {at:%Y-%m-%d %H:%M} UTC, after its step's previews: by another run?"
            )
    return doubts


def _time(path: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
    except (OSError, OverflowError, ValueError):
        return None
