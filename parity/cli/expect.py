"""`parity expect`: write the factors that a run found into case files."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from parity.cli.options import add_results, factors
from parity.cli.selection import add_selection
from pipelines.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from parity.case.document import CaseDocument
    from parity.case.expectation import Expectation
    from parity.results.case import CaseResult


def add(parsers: Any) -> None:
    """Add `parity expect`."""
    command = parsers.add_parser(
        "expect",
        help="let cases expect the factors that the last run found",
        description="Writes `expect` into case files that exist: by default, for every case that drifted, the factors "
        "that the last run found. The case then passes while exactly these are found. Comments and formatting stay. "
        "A case that is as expected, or that the run does not hold, is left as it is.",
        epilog="examples:\n  parity expect cases/\n  parity expect my_case.yaml --dry-run\n"
        "  parity expect cases/ --results parity-out\n  parity expect cases/ -k guitar --factors scheduler,precision\n"
        "  parity expect cases/ --remove\n\n"
        "exit codes:\n  0  every case is as asked for\n  1  some were left out\n"
        "  2  bad usage, or a file that cannot be changed; nothing was written\n",
    )
    add_selection(command)
    how = command.add_mutually_exclusive_group()
    how.add_argument(
        "--factors", type=factors, metavar="FACTORS", help="these factors, comma-separated, whatever a run found"
    )
    how.add_argument("--remove", action="store_true", help="remove `expect`: tolerance alone decides")
    add_results(command)
    command.add_argument("--dry-run", action="store_true", help="show what would change, write nothing")
    command.add_argument("--json", action="store_true", help="print the changes as JSON")
    command.set_defaults(run=expect)


def expect(options: argparse.Namespace) -> int:
    """Plan all changes, then write them. Returns 1 if a case was left out."""
    from parity.baselines.sources import read_sources
    from parity.case.expectation import write
    from parity.terminal.baselines import sources_text

    if not options.cases:
        raise UsageError("name the case files to change, or their folders: parity expect cases/")
    files = _files(options)
    wanted = options.factors is not None or options.remove
    sources = [] if wanted else read_sources(options.results)
    found = {case.id: case for source in sources for case in source.run.cases}
    plan = list(_plan(files, found, options))
    changed = [item for item in plan if item.state == "changed"]
    if not options.dry_run:
        for item in changed:
            write(item)
    if sources:
        print(sources_text(sources), file=sys.stderr if options.json else sys.stdout)
    if options.json:
        print(json.dumps([_row(item) for item in plan], indent=1, ensure_ascii=False))
    else:
        print(_text(plan, dry_run=options.dry_run))
    return 1 if any(item.state == "left out" for item in plan) else 0


def _files(options: argparse.Namespace) -> list[CaseDocument]:
    from parity.case.document import read_case_file
    from parity.case.load import find_case_files
    from parity.case.select import select

    return select([read_case_file(path) for path in find_case_files(options.cases)], options.k, options.tag)


def _plan(
    files: list[CaseDocument], found: Mapping[str, CaseResult], options: argparse.Namespace
) -> Iterator[Expectation]:
    from parity.case.expectation import expect_as_found, expect_these

    for file in files:
        if options.remove or options.factors is not None:
            yield expect_these(file, None if options.remove else options.factors)
        else:
            yield expect_as_found(file, found.get(file.id))


def _text(plan: list[Expectation], *, dry_run: bool) -> str:
    from parity.terminal.text import table

    rows = [(item.case, item.state, _change(item)) for item in plan]
    count = sum(item.state == "changed" for item in plan)
    if dry_run:
        return f"{table(rows)}\n{count} would be changed; nothing was written (--dry-run)"
    return f"{table(rows)}\n{count} changed" + (f"\nnext: {_run_command(plan)}" if count else "")


def _change(item: Expectation) -> str:
    if item.state != "changed":
        return item.note
    change = f"expect: {_shown(item.before)} -> {_shown(item.after)}"
    return f"{change}; {item.note}" if item.note else change


def _shown(factors: tuple[str, ...] | None) -> str:
    return "not set" if factors is None else f"[{', '.join(factors)}]"


def _run_command(plan: list[Expectation]) -> str:
    from parity.results.next_steps import run_command

    paths: list[Path] = [item.path for item in plan if item.state == "changed"]
    return run_command(paths)


def _row(item: Expectation) -> dict[str, object]:
    return {
        "case": item.case,
        "file": str(item.path),
        "state": item.state.replace(" ", "_"),
        "before": item.before,
        "after": item.after,
        "note": item.note,
    }
