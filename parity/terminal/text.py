"""Text of tables, plans, repeats and summaries."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from parity.case.load import Case
from parity.factors.findings import known_differences, limits_in_words, notes_on_repeating, show_field
from parity.results.case import RepeatResult, Run
from parity.results.smoke import NOT_A_COMPARISON
from pipelines.drift import FACTORS, differing_factors
from pipelines.files.shown import shown
from pipelines.files.words import plural
from pipelines.hub import why_offline, why_unusable
from pipelines.limits import why_beyond_bounds
from pipelines.recipe import RECIPE_KEYS, keys_of, value_of

_LINE = 10_000
"""The most characters of a line: a command may name many cases."""


class Lines(str):
    """Text in lines, each of which is shown as one: no value of it makes another."""

    __slots__ = ()


def lines(*parts: str) -> Lines:
    """Parts below one another; each is one line, whatever it holds, unless it is `Lines` already."""
    return Lines("\n".join(part if isinstance(part, Lines) else shown(part, _LINE) for part in parts))


def table(rows: Sequence[Sequence[str]], indent: str = "  ") -> Lines:
    """Rows as lines with left-aligned columns."""
    cells = [list(map(shown, row)) for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    laid = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
    return Lines("\n".join(indent + line.rstrip() for line in laid))


def plan_text(case: Case) -> Lines:
    """Both recipes with every field, differences marked with `*`, and the factors in which they differ."""
    findings = known_differences(case)
    parts = [f"{case.id}  ({case.path})", recipe_table(case)]
    if case.target is not None:
        parts.append(f"  generated on {case.target.url}: `inference` is what that server is expected to do")
    if case.output is not None:
        parts.append(f"  made elsewhere: {case.output}; {_known_of(case)}")
    parts.append(f"  differs in: {', '.join(finding.factor for finding in findings) or 'nothing'}")
    parts += [f"  {finding.factor}: {finding.note}" for finding in findings]
    if case.expect is not None:
        parts.append(f"  expected: {', '.join(case.expect) or 'nothing'}")
    parts += [f"  cannot be reproduced: {reason}" for reason in case.preview.obstacles]
    parts += [f"  {limit}" for limit in limits_in_words(case)]
    if not case.made_elsewhere:
        parts += [f"  cannot run here: {reason}; name a local copy as `checkpoint`" for reason in _unusable(case)]
    reasons = [reason for reason in case.inference.obstacles if reason not in case.preview.obstacles]
    beyond = why_beyond_bounds(case.inference)
    if beyond is not None and case.made_elsewhere:
        parts.append(f"  what made it cannot be generated here, so there will be no diagnosis: {beyond}")
    elif beyond is not None:
        reasons.append(beyond)
    if (beyond := why_beyond_bounds(case.preview)) is not None and not case.preview.obstacles:
        parts.append(f"  the preview cannot be generated, so there will be no diagnosis: {beyond}")
    parts += [f"  cannot be generated: {reason}" for reason in reasons]
    parts += [f"  not in the file: {sentence}" for sentence in case.unknown]
    notes = (*(case.inference.notes if case.comfyui is not None else ()), *case.preview.notes)
    parts += [f"  note: {note}" for note in (*dict.fromkeys(notes), *notes_on_repeating(case))]
    return lines(*parts)


def recipe_table(case: Case) -> Lines:
    """Every field of both recipes; differences are marked with `*`."""
    factors = differing_factors(case.preview, case.inference)
    differing = {key for factor in factors for name in FACTORS[factor] for key in keys_of(name)}
    rows: list[tuple[str, ...]] = [("", "field", "preview", "inference")]
    for name in RECIPE_KEYS:
        mark = "*" if name in differing and value_of(case.preview, name) != value_of(case.inference, name) else ""
        values = (shown(show_field(recipe, name), 70) for recipe in (case.preview, case.inference))
        rows.append((mark, name, *values))
    return table(rows)


def _known_of(case: Case) -> str:
    """What `inference` says of a file that is given as output."""
    if case.comfyui is not None and case.found is not None:
        return f"`inference` is what its graph says ({case.found.origin})"
    return "`inference` is only assumed: no graph says it"


def _unusable(case: Case) -> list[str]:
    """The reasons why the weights of the request cannot be loaded on this machine."""
    weights = case.inference.weights
    sources = dict.fromkeys((weights.checkpoint, *weights.elsewhere().values()))
    return [reason for source in sources if (reason := why_unusable(source) or why_offline(source)) is not None]


def when(moment: str) -> str:
    """A moment of results.json (ISO 8601) in local time: `03:54 today`, `2026-11-22 03:54`."""
    local = datetime.fromisoformat(moment).astimezone()
    return f"{local:%H:%M} today" if local.date() == datetime.now().astimezone().date() else f"{local:%Y-%m-%d %H:%M}"


def repeat_text(repeat: RepeatResult) -> Lines:
    """Say whether a request generates the same video again, with the notes on that."""
    return lines(*(f"  {line}" for line in (repeat.sentence, *(f"note: {note}" for note in repeat.notes))))


def summary(run: Run) -> str:
    """The number of cases with each status, and of requests that repeat."""
    counts: dict[str, int] = {}
    for case in run.cases:
        counts[case.status] = counts.get(case.status, 0) + 1
    text = f"{plural(len(run.cases), 'case')}: " + ", ".join(
        f"{count} {NOT_A_COMPARISON if status == 'smoke' else status}" for status, count in sorted(counts.items())
    )
    repeats = [case.repeat.identical for case in run.cases if case.repeat is not None]
    repeated = f"; repeated: {sum(repeats)} of {len(repeats)} bit-identical" if repeats else ""
    shard = f"; {run.shard}, of {plural(len(run.shard.cases), 'case')} in all" if run.shard is not None else ""
    return shown("; ".join([f"{text}{repeated}{shard}", *run.missing]))
