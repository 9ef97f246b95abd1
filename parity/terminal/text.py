"""Tables, plans and summaries."""

from __future__ import annotations

from collections.abc import Sequence

from parity.case.load import Case
from parity.factors.findings import known_differences, notes_on_repeating, show_field
from parity.results.case import RepeatResult, Run
from pipelines.drift import FACTORS
from pipelines.recipe import to_dict


def table(rows: Sequence[Sequence[str]], indent: str = "  ") -> str:
    """Left-aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(indent + line.rstrip() for line in lines)


def plan_text(case: Case) -> str:
    """Both recipes, every field, differences marked, and the factors found."""
    findings = known_differences(case)
    differing = {name for finding in findings for name in FACTORS[finding.factor]}
    rows = [("", "field", "preview", "inference")]
    for name in to_dict(case.preview):
        mark = "*" if name in differing else ""
        rows.append((mark, name, _cut(show_field(case.preview, name)), _cut(show_field(case.inference, name))))
    parts = [f"{case.id}  ({case.path})", table(rows)]
    if case.target is not None:
        parts.append(f"  drawn on {case.target.url}: inference is what is expected of it")
    parts.append(f"  differs in: {', '.join(finding.factor for finding in findings) or 'nothing'}")
    parts += [f"  {finding.factor}: {finding.note}" for finding in findings]
    if case.expect is not None:
        parts.append(f"  expected: {', '.join(case.expect) or 'nothing'}")
    parts += [f"  cannot be repeated: {reason}" for reason in case.preview.obstacles]
    parts += [f"  note: {note}" for note in (*case.preview.notes, *notes_on_repeating(case))]
    return "\n".join(parts)


def _cut(text: str, limit: int = 70) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def count_of(number: int) -> str:
    """`1 case`, `2 cases`."""
    return f"{number} case{'' if number == 1 else 's'}"


def repeat_text(repeat: RepeatResult) -> str:
    """Whether a request draws the same again, and what is to be said of that."""
    return "\n".join(f"  {line}" for line in (repeat.sentence, *(f"note: {note}" for note in repeat.notes)))


def summary(run: Run) -> str:
    """Counts, failures first in words."""
    counts: dict[str, int] = {}
    for case in run.cases:
        counts[case.status] = counts.get(case.status, 0) + 1
    words = f"{count_of(len(run.cases))}: " + ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    again = [case.repeat.identical for case in run.cases if case.repeat is not None]
    return words + (f"; drawn again: {sum(again)} of {len(again)} bit-identical" if again else "")
