"""The selftest's tables."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from parity.case import Case
from parity.result import CaseResult
from parity.selftest.matrix import Row, SearchRow, matrix, run_matrix, run_searches, unknowns, verdict
from parity.selftest.planted import Kind
from pipelines.engine import Engine


class Silent:
    """Progress that leaves the terminal to the tables."""

    def case_started(self, case: Case) -> None: ...

    def case_kept(self, result: CaseResult) -> None: ...

    def planned(self, plan: str) -> None: ...

    def waiting(self, why: str) -> None: ...

    def trial_started(self, label: str, steps: int) -> None: ...

    def step_done(self, done: int, steps: int) -> None: ...

    def case_finished(self, result: CaseResult) -> None: ...


def print_selftest(kinds: Sequence[Kind], combinations: int, *, diagnose: bool, search: bool, device: str) -> int:
    """Run and print, a line for each case as it is done. Returns 0 if everything was found as planted, else 1."""
    started, held, engine = time.perf_counter(), True, Engine(device)
    with tempfile.TemporaryDirectory(prefix="parity-selftest-") as name:
        folder = Path(name)
        if diagnose:
            cases = matrix(kinds, combinations)
            print(f"diagnosis of {len(cases)} planted cases: exact = findings and smallest set are what was planted")
            print("generations: full of 2k + 2, --gains of k + 2, --quick of 2; denoising steps: of the full diagnosis")
            print("kind       exact  first (--quick)           generations       steps      time     planted")
            rows = []
            for row in run_matrix(cases, folder, Silent(), engine):
                rows.append(row)
                print(_line(row), flush=True)
            held, sums = verdict(rows)
            print("\n".join(sums))
        if search:
            print("search with the config's value hidden: exact = proven, and all settings are those drawn with")
            searches = []
            for found in run_searches(unknowns(kinds), folder, Silent(), engine):
                searches.append(found)
                print(_search_line(found), flush=True)
            right = sum(found.exact for found in searches)
            print(f"search: {right} of {len(searches)} as they should be")
            held = held and right == len(searches)
    print(f"{'all exact' if held else 'NOT all exact'}; {time.perf_counter() - started:.0f} s", file=sys.stdout)
    return 0 if held else 1


def _line(row: Row) -> str:
    k = len(row.factors)
    first = f"{row.first} ({'same' if row.same_first else row.first_quick})"
    cost = f"{row.spent:g}/{2 * k + 2} {row.spent_gains:g}/{k + 2} {row.spent_quick:.2f}/2"
    wrong = ""
    if not row.exact:
        wrong = f"  FOUND {sorted(row.findings)}, DIAGNOSED {sorted(row.diagnosed)}, explained {row.explained}"
    dear = "" if row.within_cost else "  TOO DEAR"
    exact = "yes" if row.exact else "NO"
    head = f"{row.kind:9}  {exact:5}  {first:26}{cost:18}{row.steps:3} steps {row.seconds:5.1f} s"
    return f"{head}  {', '.join(row.planted)}{wrong}{dear}"


def _search_line(row: SearchRow) -> str:
    exact = "yes" if row.exact else "NO"
    cost = f"{row.spent:6.1f} generations {row.seconds:6.1f} s"
    return f"{row.kind:9}  {exact:5}  {row.verdict:9}  {cost}  {row.hidden}: {row.found or 'nothing changed'}"
