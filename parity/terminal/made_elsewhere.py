"""What a video made elsewhere was generated with, by the graph in its file, against a preview."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from parity.case.load import Case
from parity.factors.comfyui import comfy_advice
from parity.factors.findings import NOT_IN_A_GRAPH, known_differences, limits_in_words
from parity.results.case import FindingResult
from parity.terminal.text import lines, recipe_table, table
from pipelines.comfyui_text import weighted
from pipelines.files.shown import shown
from pipelines.limits import all_obstacles

_ALWAYS = ("eight_bit", "text_encoding", *NOT_IN_A_GRAPH)
"""Factors in which ComfyUI's videos differ from a trainer's whatever is set there: by rounding, as long as the prompt
has no weights."""


def output_plan_text(case: Case, video: Path, chosen_by: Sequence[str], command: str | None) -> str:
    """The answer, what to change in the graph, what the file does not say, both recipes, and what to type next.

    `chosen_by`: how the preview was chosen; `command`: what writes a case for it, if there is none yet.
    """
    name = shown(video.name, 80)
    return lines(*_answer(case, name), *_details(case, chosen_by), "", *_next(case, video, command))


def _answer(case: Case, video: str) -> Iterator[str]:
    findings = known_differences(case)
    if case.comfyui is None:
        yield f"{video} has no graph that can be read: its settings are not known"
        yield from (f"  {sentence}" for sentence in case.unknown)
    else:
        yield f"{video} {_difference(case, findings)}"
        always = [item.factor for item in findings if _is_always(case, item)]
        if always:
            yield f"  and, as every video that ComfyUI makes, in how it computes: {', '.join(always)} (rounding)"
        if rows := [
            tuple(shown(text, 120) for text in (row.node, row.name, f"{row.now} -> {row.value}"))
            for row in comfy_advice(case).changes
        ]:
            yield from ("", "change in the graph, for the preview's settings:", table(rows))
    if findings:
        name = video if case.comfyui is not None else "assumed"
        values = [(item.factor, *(shown(text, 60) for text in (item.preview, item.inference))) for item in findings]
        yield from ("", "differences:", table([("", "preview", name), *values]))
        yield from (f"  {item.factor}: {item.note}" for item in findings)


def _difference(case: Case, findings: Sequence[FindingResult]) -> str:
    names = [item.factor for item in findings if not _is_always(case, item)]
    if not names:
        return "was generated with the preview's settings, as far as its graph says"
    return f"differs from the preview in: {', '.join(names)} (by its graph)"


def _is_always(case: Case, finding: FindingResult) -> bool:
    texts = (case.inference.prompt, case.inference.negative_prompt)
    return finding.factor in _ALWAYS and not (finding.factor == "text_encoding" and any(map(weighted, texts)))


def _details(case: Case, chosen_by: Sequence[str]) -> Iterator[str]:
    yield from ("", "from:")
    if case.comfyui is not None and case.found is not None:
        yield f"  graph: {case.found.origin}"
    yield f"  preview: {case.video}"
    yield from (f"  chosen: {reason}" for reason in chosen_by)
    yield from (f"  note: {note}" for note in dict.fromkeys((*case.inference.notes, *case.preview.notes)))
    yield from (f"  the preview cannot be reproduced: {reason}" for reason in all_obstacles(case.preview))
    if case.comfyui is not None:
        yield from (f"  cannot be generated here: {reason}" for reason in all_obstacles(case.inference))
    yield from (f"  {limit}" for limit in limits_in_words(case))
    if case.comfyui is not None:
        yield from ("", "not in the file:")
        yield from (f"  {sentence}" for sentence in case.unknown)
    how = "inference: by the graph" if case.comfyui is not None else "inference: assumed"
    yield from ("", f"all settings ({how}):", recipe_table(case))


def _next(case: Case, video: Path, command: str | None) -> Iterator[str]:
    """The commands that follow."""
    is_graph = video.suffix.lower() == ".json"
    line = f"pipeline: {{base: comfyui, graph: {video.absolute()}}}" if is_graph else f"output: {video.absolute()}"
    file = "CASE" if command is not None else shlex.quote(str(case.path))
    if command is not None:
        yield f"next: {command}"
    yield f"next: with `{line}` in {'that case' if command else file}, parity diagnose {file} says what matters most"
    yield f"next: parity explain --comfyui {file} --write graph.json writes a graph with the preview's settings"
