"""Feeds hostile strings to every input and prints what became of them; exit code 1 if one got through.

python -m tests.hostile                       # all places, each string somewhere
python -m tests.hostile --each 20             # more strings for each place
python -m tests.hostile -k 'argument: plan'   # those whose name holds it
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything loads numpy: threads do not survive a fork

from tests.hostile.answering import answering
from tests.hostile.catalogue import all_feeds, few, for_the_server
from tests.hostile.session import Feed, judged
from tests.malformed.workplace import build


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of the strings that were put somewhere at once."""

    kind: str
    where: str
    name: str
    strings: tuple[str, ...]
    """Their names."""
    code: int
    """The command's exit code, or the status of the server's answer."""
    refused: bool
    seconds: float
    problems: tuple[str, ...]


def main() -> int:
    """Run. The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-k", default="", metavar="WORD", help="only feeds whose name holds it")
    parser.add_argument("--each", type=int, default=1, metavar="N", help="strings for each place (default: 1)")
    parser.add_argument("--few", action="store_true", help="only those that CI tries")
    parser.add_argument("--json", action="store_true", help="print a list of outcomes instead of the table")
    parser.add_argument("--list", action="store_true", help="print names, exit codes and seconds")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="commands at once (default: 2)")
    options = parser.parse_args()
    began = time.monotonic()
    outcomes = []
    for outcome in _few(options) if options.few else _all(options):
        outcomes.append(outcome)
        if options.list:
            print(f"{outcome.code}  {outcome.seconds:4.1f} s  {outcome.name}", flush=True)
        if outcome.problems and not options.json:
            print(_failure(outcome, options.each), flush=True)
    if options.json:
        print(json.dumps([_data(outcome) for outcome in outcomes], indent=1))
    else:
        print(_table(outcomes, time.monotonic() - began))
    return 1 if not outcomes or any(outcome.problems for outcome in outcomes) else 0


def _few(options: argparse.Namespace) -> Iterator[Outcome]:
    with tempfile.TemporaryDirectory(prefix="hostile-") as temporary:
        whole = _workplace(Path(temporary))
        yield from _commands(few(whole), whole, options)


def _all(options: argparse.Namespace) -> Iterator[Outcome]:
    with tempfile.TemporaryDirectory(prefix="hostile-") as temporary:
        whole = _workplace(Path(temporary))
        with answering() as url:
            yield from _commands(all_feeds(whole, url, options.each), whole, options)
    from tests.hostile.served import served

    for one in served(for_the_server(), options.each, options.k):
        yield Outcome(
            kind="server",
            where=one.where,
            name=one.name,
            strings=(one.string.name,),
            code=one.status,
            refused=one.status >= 400,
            seconds=one.seconds,
            problems=one.problems,
        )


def _workplace(folder: Path) -> Path:
    whole = folder / "whole"
    whole.mkdir()
    (folder / "scratch").mkdir()
    build(whole)
    return whole


def _commands(feeds: Sequence[Feed], whole: Path, options: argparse.Namespace) -> Iterator[Outcome]:
    chosen = [feed for feed in feeds if options.k.lower() in feed.name.lower()]
    for verdict in judged(chosen, whole, whole.with_name("scratch"), at_once=options.jobs):
        yield Outcome(
            kind=verdict.feed.slot.kind,
            where=verdict.feed.slot.where,
            name=verdict.feed.name,
            strings=tuple(string.name for string in verdict.feed.strings),
            code=verdict.run.code,
            refused=verdict.run.code in (2, 3),
            seconds=verdict.run.seconds,
            problems=verdict.problems,
        )


def _failure(outcome: Outcome, each: int) -> str:
    lines = [f"FAILED {outcome.name}", *(f"    {problem}" for problem in outcome.problems[:5])]
    lines.append(f"    again: python -m tests.hostile --each {each} -k {shlex.quote(outcome.name)}")
    return "\n".join(lines)


def _data(outcome: Outcome) -> dict[str, object]:
    return {"name": outcome.name, "code": outcome.code, "problems": list(outcome.problems)}


def _table(outcomes: Sequence[Outcome], seconds: float) -> str:
    rows: list[tuple[str, ...]] = [("input", "places", "runs", "strings", "refused", "failed", "slowest")]
    for kind in (*dict.fromkeys(outcome.kind for outcome in outcomes), "all"):
        mine = [outcome for outcome in outcomes if kind in (outcome.kind, "all")]
        rows.append(
            (
                kind,
                str(sum({(outcome.kind, outcome.where): len(outcome.strings) for outcome in mine}.values())),
                str(len(mine)),
                str(len({name for outcome in mine for name in outcome.strings})),
                str(sum(outcome.refused for outcome in mine)),
                str(sum(bool(outcome.problems) for outcome in mine)),
                f"{max((outcome.seconds for outcome in mine), default=0):.1f} s",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    put = sum(len(outcome.strings) for outcome in outcomes)
    failed = sum(bool(outcome.problems) for outcome in outcomes)
    lines.append(
        f"a string was put somewhere {put} times; {failed or 'no'} runs let something through; {seconds:.0f} s"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
