"""Measures what things cost, as ratios to an anchor in the same run.

    python -m benchmarks --list
    python -m benchmarks metrics hashing
    python -m benchmarks metrics --write    # also into docs/performance.md and benchmarks/last.json

Without names it runs all subsets, which takes an hour on two cores.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import table
from benchmarks.core import Row, Size

SUBSETS = {
    "metrics": "metrics.rows",
    "hashing": "hashing.rows",
    "tiny": "runs.tiny",
    "real": "runs.real",
    "long": "runs.long",
    "switch": "switch.rows",
    "bookkeeping": "bookkeeping.rows",
    "workers": "workers.rows",
}
"""The function that measures each subset. The first line of its docstring says what."""
SCRIPTS = {
    "gpu": "everything that needs a GPU, in at most nine minutes",
    "progress": "what a run shows of itself on a terminal and in a log",
    "quantized": "peak memory of loading quantized weights",
    "report": "`parity report` of 100 cases, and how soon a browser shows them",
    "tolerances": "the table of docs/tolerances.md: the effect of each factor",
}
"""Benchmarks with a command line of their own: `python -m benchmarks.NAME`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the subsets that are named. Returns 2 for a name that there is not."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("subsets", nargs="*", metavar="NAME", help="what to measure (default: all)")
    parser.add_argument("--list", action="store_true", help="what there is")
    parser.add_argument("--small", action="store_true", help="the smallest form, whose figures say nothing")
    parser.add_argument("--pairs", type=int, default=3, help="how often each pair is measured, in turn")
    parser.add_argument("--most", type=int, default=1000, help="cases of `bookkeeping`: 10, 100, … up to it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="add the figures to this file")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md and benchmarks/last.json")
    options = parser.parse_args(arguments)
    if options.list:
        _list()
        return 0
    unknown = [name for name in options.subsets if name not in SUBSETS]
    if unknown:
        print(f"no subset {', '.join(unknown)}; there are {', '.join(SUBSETS)}", file=sys.stderr)
        return 2
    found: dict[str, dict[str, Any]] = {}
    size = Size(small=options.small, pairs=options.pairs, most=options.most)
    for name in options.subsets or SUBSETS:
        busy, began = os.getloadavg()[0], time.perf_counter()
        rows: list[Row] = []
        for row in _measures(name)(size):
            print(_line(name, row), flush=True)
            rows.append(row)
        print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
        found[name] = table.measured(rows, busy)
        if options.json is not None:
            table.keep(options.json, found)
        if options.write:
            kept = table.keep(table.KEPT, found)
            table.write_page(table.PAGE, table.markdown({name: kept[name] for name in SUBSETS if name in kept}))
    return 0


def _measures(name: str) -> Callable[[Size], Iterator[Row]]:
    module, _, function = SUBSETS[name].partition(".")
    found: Callable[[Size], Iterator[Row]] = getattr(importlib.import_module(f"benchmarks.{module}"), function)
    return found


def _list() -> None:
    for name in SUBSETS:
        print(f"{name:<12} {(_measures(name).__doc__ or '').splitlines()[0]}")
    print("\nwith a command line of their own:")
    for name, about in SCRIPTS.items():
        print(f"python -m benchmarks.{name:<12} {about}")


def _line(name: str, row: Row) -> str:
    against = f", against {row.anchor}" if row.anchor else ""
    promise = f" (promised: {row.promise})" if row.promise else ""
    seconds = f"{row.ours} for {row.theirs}" if row.theirs else row.ours
    return f"{name}: {row.what}{against}: {table.ratio(row.ratio) or '-'}{promise}; {seconds}"


if __name__ == "__main__":
    sys.exit(main())
