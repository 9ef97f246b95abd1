"""`parity shards`: what each of several machines gets of the cases; runs no model."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from parity.cli.options import add_balance, number_of_shards
from parity.cli.selection import add_selection, read_balance, selected

if TYPE_CHECKING:
    from parity.terminal.shards import Basis, ShardPlan


def add(parsers: Any) -> None:
    """Add `parity shards`."""
    command = parsers.add_parser(
        "shards",
        help="show how cases are split for several machines",
        description="Shows what `parity run --shard I/N` runs on each of N machines, and what that costs; runs no "
        "model. Every machine finds the same parts by itself, from the same cases, options and --balance.",
        epilog="examples:\n  parity shards 4\n  parity shards 8 cases/ --balance reports/out/2026-11-30_090000\n"
        "  parity shards 8 cases/ --github\n",
    )
    command.add_argument("number", type=number_of_shards, metavar="N", help="the number of machines")
    add_selection(command)
    add_balance(command.add_argument)
    how = command.add_mutually_exclusive_group()
    how.add_argument(
        "--github",
        action="store_true",
        help='print `shards=["1/4", "2/4", …]` for $GITHUB_OUTPUT, as a matrix; shards without a case are left out',
    )
    how.add_argument("--json", action="store_true", help="print the shards as JSON")
    command.set_defaults(run=shards)


def shards(options: argparse.Namespace) -> int:
    """Print the shards."""
    from parity.terminal.shards import shards_json, shards_text

    plan = _plan(options)
    if options.github:
        print(f"shards={json.dumps(plan.names)}")
    elif options.json:
        print(shards_json(plan))
    else:
        print(shards_text(plan))
    return 0


def _plan(options: argparse.Namespace) -> ShardPlan:
    from parity.cost.estimate import cost_of, job_of_run
    from parity.cost.speeds import last_used
    from parity.run.partition import shard_of, split, weigh
    from parity.run.task import Task
    from parity.terminal.shards import PlannedShard, ShardPlan

    cases = selected(options)
    weighed = weigh(cases, Task(), read_balance(options.balance))
    takes: tuple[float, ...] = split(weighed, options.number).takes
    shard = shard_of(weighed, 1, options.number)
    checkpoints = {one.id: one.checkpoint for one in weighed}
    jobs = {} if options.github else {case.id: job for case in cases if (job := job_of_run(case)) is not None}
    speed = last_used()
    whole = cost_of(list(jobs.values()), speed)
    alone: float = split(weighed, 1).takes[0]
    basis: Basis = "recipes"
    if options.balance:
        basis, alone, takes = "balance", alone / 1000, tuple(one / 1000 for one in takes)
    rows = []
    for index in range(1, options.number + 1):
        ids = shard.ids(index)
        cost = cost_of([jobs[case] for case in ids if case in jobs], speed, known=whole.downloads)
        loads = {checkpoints[case] for case in ids} - {None}
        rows.append(PlannedShard(ids=ids, takes=takes[index - 1], loads=len(loads), cost=cost))
    if basis == "recipes" and whole.seconds is not None and not whole.unknown:
        basis, alone = "speeds", whole.seconds
        rows = [replace(row, takes=row.cost.seconds or 0.0) for row in rows]
    return ShardPlan(shards=tuple(rows), alone=alone, partition=shard.partition, basis=basis)
