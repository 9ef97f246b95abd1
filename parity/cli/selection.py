"""The arguments that select cases, and the cases they select."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from parity.case.target import NOTHING_GIVEN
from parity.cli.options import add_tag, given_target
from pipelines.errors import UsageError

if TYPE_CHECKING:
    from parity.case.load import Case
    from parity.results.case import Run
    from parity.results.shard import Shard
    from parity.run.task import Task


def add_selection(command: argparse.ArgumentParser) -> None:
    """Add `CASES`, `-k` and `--tag`."""
    command.add_argument("cases", nargs="*", type=Path, metavar="CASES", help="case files, or folders of *.yaml")
    command.add_argument("-k", metavar="EXPR", help="only cases whose id or tags match: words, and, or, not, ( )")
    add_tag(command.add_argument)


def selected(options: argparse.Namespace) -> list[Case]:
    """The selected cases. Raises CaseError for mistakes in case files and if no case matches."""
    from parity.case.load import find_case_files, load_cases

    given = given_target(vars(options).__getitem__) if hasattr(options, "target") else NOTHING_GIVEN
    return load_cases(find_case_files(options.cases), given, expression=options.k, tags=options.tag)


def narrowing(options: argparse.Namespace) -> str | None:
    """What of the command line leaves cases out; None: it asks for whole folders, or for what the project always does.

    `cases` and `--tag` of pyproject.toml are what the project always runs.
    """
    files = [] if options.cases == options.parser.get_default("cases") else options.cases
    parts = [str(path) for path in files if not path.is_dir()]
    parts += [f"-k {options.k}"] if options.k else []
    tags = [] if options.tag == options.parser.get_default("tag") else options.tag
    return " ".join([*parts, *(f"--tag {tag}" for tag in tags)]) or None


def part_of(cases: Sequence[Case], given: tuple[int, int] | None, balance: Sequence[Path], task: Task) -> Shard | None:
    """The shard that `--shard` names; None: there is none. Raises UsageError if `--balance` is of no use."""
    if given is None:
        if balance:
            raise UsageError("--balance: decides what is in a shard; pass --shard I/N, too")
        return None
    from parity.run.partition import shard_of, weigh

    return shard_of(weigh(cases, task, read_balance(balance)), *given)


def in_part(cases: Sequence[Case], part: Shard | None) -> list[Case]:
    """The cases of a shard; all if there is none."""
    own = set(part.ids()) if part is not None else None
    return [case for case in cases if own is None or case.id in own]


def read_balance(paths: Sequence[Path]) -> list[Run]:
    """The results that `--balance` names."""
    from parity.results.merge import read_results, results_file

    return [read_results(results_file(path)) for path in paths]
