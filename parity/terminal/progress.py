"""Progress on stderr: a bar over denoising steps, a line per finished case."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

from parity.case.load import Case
from parity.results.case import CaseResult, Status
from parity.terminal.diagnosis import diagnosis_text, search_text
from parity.terminal.text import repeat_text, when

_MARKS: dict[Status, str] = {
    "passed": "ok",
    "expected_drift": "ok",
    "drifted": "DRIFTED",
    "unpairable": "UNPAIRABLE",
    "error": "ERROR",
}


class Bar:
    """Progress on stderr: a bar over denoising steps, a line per finished case."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._number = 0
        self._case = ""
        self._bar: Any = None
        self._waits_for = ""

    def case_started(self, case: Case) -> None:
        self._number += 1
        self._case = case.id
        self._waits_for = ""

    def case_kept(self, result: CaseResult) -> None:
        self._close()
        kept = f"{_MARKS[result.status]}: {result.verdict} (finished before --resume)"
        print(f"{self._head()}: {kept}", file=sys.stderr, flush=True)
        if result.repeat is not None:
            print(repeat_text(result.repeat), file=sys.stderr, flush=True)

    def planned(self, plan: str) -> None:
        self._close()
        print(f"{self._head()}: plan: {plan}", file=sys.stderr, flush=True)

    def waiting(self, why: str) -> None:
        if why != self._waits_for:
            self._close()
            self._waits_for = why
            line = f"{self._head()} {why}"
            if not sys.stderr.isatty():
                print(line, file=sys.stderr, flush=True)
            self._bar = tqdm(desc=line, bar_format="{desc} {elapsed}", leave=False, disable=None, file=sys.stderr)
        self._bar.refresh()

    def trial_started(self, label: str, steps: int) -> None:
        self._waits_for = ""
        self._close()
        name = self._head() if label == self._case else f"{self._head()} {label}"
        if label != self._case and not sys.stderr.isatty():
            print(name, file=sys.stderr, flush=True)  # a long diagnosis should not look hung in a log
        self._bar = tqdm(
            total=steps,
            desc=name,
            unit="step",
            leave=False,
            disable=None,  # no bar if stderr is not a terminal
            file=sys.stderr,
        )

    def step_done(self, done: int, steps: int) -> None:
        self._bar.total = steps
        self._bar.update(done - self._bar.n)

    def case_finished(self, result: CaseResult) -> None:
        self._close()
        seconds = result.timings.get("total")
        cached = f", cached, generated {when(result.drawn_before)}" if result.drawn_before is not None else ""
        server = f", {result.target.url}" if result.target is not None else ""
        took = f" ({seconds:.1f} s{cached}{server})" if seconds is not None else ""
        print(f"{self._head()}: {_MARKS[result.status]}: {result.verdict}{took}", file=sys.stderr, flush=True)
        if result.repeat is not None:
            print(repeat_text(result.repeat), file=sys.stderr, flush=True)
        if result.search is not None:  # a server's settings come before the diagnosis that builds on them
            print(search_text(result.search), file=sys.stderr, flush=True)
        if result.diagnosis is not None:
            print(diagnosis_text(result.diagnosis), file=sys.stderr, flush=True)

    def _head(self) -> str:
        return f"[{self._number}/{self._total}] {self._case}"

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
