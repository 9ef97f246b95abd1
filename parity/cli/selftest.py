"""`parity selftest`: plant drift and check that it is found."""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from parity.cli.options import add_cpu_kernels


def add(parsers: Any) -> None:
    """Add `parity selftest`."""
    command = parsers.add_parser(
        "selftest",
        help="plant drift in every factor, with the tiny checkpoints, and check that it is found",
        description="Plants every factor that can drift, alone and in random combinations of 2 to 5, generates the "
        "previews and checks that findings, diagnosis, --quick and --search name them. Prints a table; exit code 1 if "
        "anything was missed, named without being planted, or cost more than promised.",
        epilog="examples:\n  parity selftest --kind t2v --combinations 3\n"
        "  parity selftest --only-search --device cuda\n",
    )
    command.add_argument(
        "--kind",
        choices=("t2v", "i2v", "wan22-t2v", "wan22-i2v", "wan22-5b", "wan22-5b-i2v"),
        action="append",
        metavar="KIND",
        help="only this kind of video: %(choices)s (repeatable; default: all)",
    )
    command.add_argument(
        "--combinations", type=int, default=20, metavar="N", help="random combinations per kind (default: 20)"
    )
    command.add_argument("--no-search", action="store_true", help="skip the search")
    command.add_argument("--only-search", action="store_true", help="skip the diagnosis")
    command.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:n (default: auto)")
    add_cpu_kernels(command.add_argument)
    command.add_argument("--json", action="store_true", help="print all rows as JSON at the end, the table to stderr")
    command.set_defaults(run=selftest)


def selftest(options: argparse.Namespace) -> int:
    """Run the selftest and print a line for each case. Returns 0 if everything was found as planted, otherwise 1."""
    from parity.case.progress import Quiet
    from parity.selftest.matrix import Row, SearchRow, matrix, run_matrix, run_searches, unknowns, verdict
    from parity.selftest.planted import KINDS
    from parity.terminal.as_json import json_text
    from parity.terminal.selftest import CASES_HEAD, case_line, search_line
    from pipelines.engine.engine import Engine

    kinds = options.kind or KINDS
    say = functools.partial(print, file=sys.stderr if options.json else sys.stdout, flush=True)
    started, exact, engine = time.perf_counter(), True, Engine(options.device)
    rows, searches = list[Row](), list[SearchRow]()
    with tempfile.TemporaryDirectory(prefix="parity-selftest-") as name:
        folder = Path(name)
        if not options.only_search:
            cases = matrix(kinds, options.combinations)
            say(f"diagnosis of {len(cases)} planted cases (exact: findings and smallest set are what was planted)")
            say(CASES_HEAD)
            for row in run_matrix(cases, folder, Quiet(), engine):
                rows.append(row)
                say(case_line(row))
            exact, sums = verdict(rows)
            say("\n".join(sums))
        if not options.no_search:
            say("search with the config's value hidden (exact: proven, and all settings found are the true ones)")
            for found in run_searches(unknowns(kinds), folder, Quiet(), engine):
                searches.append(found)
                say(search_line(found))
            right = sum(found.exact for found in searches)
            say(f"search: {right} of {len(searches)} exact")
            exact = exact and right == len(searches)
    seconds = time.perf_counter() - started
    say(f"{'all exact' if exact else 'NOT all exact'}; {seconds:.0f} s")
    if options.json:
        planted = [asdict(row) | {"exact": row.exact, "within_cost": row.within_cost} for row in rows]
        print(json_text(exact=exact, seconds=seconds, planted=planted, searches=[asdict(row) for row in searches]))
    return 0 if exact else 1
