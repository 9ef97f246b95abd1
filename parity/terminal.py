"""What the command line shows: progress, tables, verdicts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from parity.case import Case
from parity.findings import find_differences, show_field
from parity.result import CaseResult, Run
from pipelines.recipe import FACTORS, to_dict

_MARKS = {"passed": "ok", "expected_drift": "ok", "drifted": "DRIFTED", "unpairable": "UNPAIRABLE", "error": "ERROR"}


class Bar:
    """Progress on stderr: a bar over denoising steps, a line per finished case."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._number = 0
        self._case = ""
        self._bar: Any = None

    def case_started(self, case: Case) -> None:
        self._number += 1
        self._case = case.id

    def planned(self, plan: str) -> None:
        self._close()
        print(f"{self._head()} at most {plan}", file=sys.stderr, flush=True)

    def trial_started(self, label: str, steps: int) -> None:
        self._close()
        name = self._head() if label == self._case else f"{self._head()} {label}"
        if label != self._case and not sys.stderr.isatty():
            print(name, file=sys.stderr, flush=True)  # a long diagnosis should not look hung in a log
        self._bar = tqdm(
            total=steps,
            desc=name,
            unit="step",
            leave=False,
            disable=None,  # no bar where stderr is no terminal
            file=sys.stderr,
        )

    def step_done(self, done: int, steps: int) -> None:
        self._bar.total = steps
        self._bar.update(done - self._bar.n)

    def case_finished(self, result: CaseResult) -> None:
        from parity.terminal_diagnosis import diagnosis_text, search_text

        self._close()
        seconds = result.timings.get("total")
        took = f" ({seconds:.1f} s)" if seconds is not None else ""
        print(f"{self._head()}: {_MARKS[result.status]}: {result.verdict}{took}", file=sys.stderr, flush=True)
        if result.diagnosis is not None:
            print(diagnosis_text(result.diagnosis), file=sys.stderr, flush=True)
        if result.search is not None:
            print(search_text(result.search), file=sys.stderr, flush=True)

    def _head(self) -> str:
        return f"[{self._number}/{self._total}] {self._case}"

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def table(rows: Sequence[Sequence[str]], indent: str = "  ") -> str:
    """Left-aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(indent + line.rstrip() for line in lines)


def plan_text(case: Case) -> str:
    """Both recipes, every field, differences marked, and the factors found."""
    findings = find_differences(case.preview, case.inference)
    differing = {name for finding in findings for name in FACTORS[finding.factor]}
    rows = [("", "field", "preview", "inference")]
    for name in to_dict(case.preview):
        mark = "*" if name in differing else ""
        rows.append((mark, name, _cut(show_field(case.preview, name)), _cut(show_field(case.inference, name))))
    parts = [f"{case.id}  ({case.path})", table(rows)]
    parts.append(f"  differs in: {', '.join(finding.factor for finding in findings) or 'nothing'}")
    parts += [f"  {finding.factor}: {finding.note}" for finding in findings]
    if case.expect is not None:
        parts.append(f"  expected: {', '.join(case.expect) or 'nothing'}")
    parts += [f"  cannot be repeated: {reason}" for reason in case.preview.obstacles]
    parts += [f"  note: {note}" for note in case.preview.notes]
    return "\n".join(parts)


def _cut(text: str, limit: int = 70) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def count_of(number: int) -> str:
    """`1 case`, `2 cases`."""
    return f"{number} case{'' if number == 1 else 's'}"


def summary(run: Run) -> str:
    """Counts, failures first in words."""
    counts: dict[str, int] = {}
    for case in run.cases:
        counts[case.status] = counts.get(case.status, 0) + 1
    return f"{count_of(len(run.cases))}: " + ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
