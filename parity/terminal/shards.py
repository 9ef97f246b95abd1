"""What each machine gets of a run that is split, as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from parity.cost.estimate import Cost, sized
from parity.results.words import duration
from parity.terminal.as_json import json_text
from parity.terminal.text import table
from pipelines.files.words import plural


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedShard:
    """What one machine gets."""

    ids: tuple[str, ...]
    takes: int
    """Its part of the work, in the unit of `ShardPlan.alone`."""
    seconds: float | None
    """None: no speed is known."""
    loads: int
    """The number of checkpoints it loads."""
    cost: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPlan:
    """What all machines get."""

    shards: tuple[PlannedShard, ...]
    alone: int
    """What one machine alone would take for everything."""
    partition: str
    measured: bool
    """True if the seconds are those of an earlier run."""

    @property
    def names(self) -> list[str]:
        """`1/4`, `2/4`, …; without shards that have no case."""
        return [f"{number}/{len(self.shards)}" for number, one in enumerate(self.shards, 1) if one.ids]

    @property
    def times_as_fast(self) -> float:
        """How many times as fast all machines are as one, by the split: at most their number."""
        return self.alone / max(1, *(one.takes for one in self.shards))


def shards_text(plan: ShardPlan) -> str:
    """A row for each machine, and how much faster all are than one."""
    longest = max(1, *(one.takes for one in plan.shards))
    rows: list[Sequence[str]] = [("shard", "cases", "takes", "loads", "to download", "weights")]
    for number, one in enumerate(plan.shards, 1):
        time = f"{100 * one.takes / longest:.0f} %" if one.seconds is None else duration(one.seconds)
        weights = "-" if one.cost.weights is None else sized(one.cost.weights.on_gpu("none"))
        loads = plural(one.loads, "checkpoint")
        missing = sized(one.cost.missing) if one.cost.missing else "-"
        rows.append((f"{number}/{len(plan.shards)}", str(len(one.ids)), time, loads, missing, weights))
    count = sum(len(one.ids) for one in plan.shards)
    basis = "by the seconds of --balance" if plan.measured else "estimated from the recipes; --balance RESULTS measures"
    faster = f"{plural(count, 'case')}, {plan.times_as_fast:.1f} times as fast as one machine ({basis})"
    if any(one.seconds is None and one.ids for one in plan.shards):
        faster += "\ntakes: in parts of the longest shard; no speed is known yet on this machine"
    own = f"each machine: parity run … --shard I/{len(plan.shards)} --out shard-I"
    return f"{table(rows, indent='')}\n{faster}\n{own}\nthen: parity report shard-*/ --out report.html"


def shards_json(plan: ShardPlan) -> str:
    """The same as JSON."""
    rows = [
        {
            "shard": f"{number}/{len(plan.shards)}",
            "cases": one.ids,
            "share": one.takes / max(1, sum(each.takes for each in plan.shards)),
            "seconds": one.seconds,
            "loads": one.loads,
            "download_bytes": one.cost.missing,
            "weights_bytes": None if one.cost.weights is None else one.cost.weights.on_gpu("none"),
        }
        for number, one in enumerate(plan.shards, 1)
    ]
    return json_text(partition=plan.partition, times_as_fast=round(plan.times_as_fast, 3), shards=rows)
