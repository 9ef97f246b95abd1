"""What a video made elsewhere was generated with, by the graph in its file, against a preview."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from parity.case.load import Case
from parity.factors.findings import known_differences, limits_in_words
from parity.terminal.text import recipe_table, table
from pipelines.files.words import shorten


def output_plan_text(case: Case, video: Path, chosen_by: Sequence[str], command: str | None) -> str:
    """The answer, what to change, what the file does not say, both recipes, and what to type next.

    `chosen_by`: how the preview was chosen; `command`: what writes a case for it, if there is none yet.
    """
    findings = known_differences(case)
    known = case.comfyui is not None
    parts = [f"{video.name} {_difference([item.factor for item in findings if item.evidence != 'expected'], known)}"]
    if not known:
        parts.append(f"  {case.unknown[0]}")
    assumed = [item.factor for item in findings if item.evidence == "expected"]
    if assumed:
        parts.append(f"  assumed, not in the file: {', '.join(assumed)}")
    if findings:
        shown = (tuple(shorten(value, 60) for value in (item.preview, item.inference)) for item in findings)
        rows = ((item.factor, *values) for item, values in zip(findings, shown, strict=True))
        parts.append(table([("", "preview", shorten(video.name, 60)), *rows]))
    parts += [f"  {finding.factor}: {finding.note}" for finding in findings]
    origin = case.found.origin if known and case.found is not None else None
    parts += [f"  graph: {origin}"] if origin is not None else []
    parts.append(f"  preview: {case.video}")
    parts += [f"  chosen: {reason}" for reason in chosen_by]
    parts += [f"  note: {note}" for note in dict.fromkeys((*case.inference.notes, *case.preview.notes))]
    parts += [f"  the preview cannot be reproduced: {reason}" for reason in case.preview.obstacles]
    parts += [f"  cannot be generated here: {reason}" for reason in case.inference.obstacles]
    parts += [f"  {limit}" for limit in limits_in_words(case)]
    if known:
        parts += ["  not in the file:", *(f"    {sentence}" for sentence in case.unknown)]
    parts += ["", recipe_table(case), "", *_next(case, video, command)]
    return "\n".join(parts)


def _difference(factors: Sequence[str], known: bool) -> str:
    if not known:
        return "has no graph: its settings are not known"
    if not factors:
        return "was generated with the preview's settings, as far as its graph says"
    return f"differs from the preview in: {', '.join(factors)} (by its graph)"


def _next(case: Case, video: Path, command: str | None) -> list[str]:
    """The commands that follow."""
    file = shlex.quote(str(case.path))
    steps = []
    if command is not None:
        steps.append(f"next: {command}")
        file = "CASE"
    line = f"`output: {video.absolute()}`"
    if video.suffix.lower() == ".json":
        line = f"`pipeline: {{base: comfyui, graph: {video.absolute()}}}`"
    return [*steps, f"next: write {line} into {'that case' if command else file}, then: parity diagnose {file}"]
