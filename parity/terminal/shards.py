"""What each machine gets of a run that is split, as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from parity.cost.estimate import Cost, sized
from parity.results.words import duration
from parity.terminal.as_json import json_text
from parity.terminal.text import table
from pipelines.files.words import plural

Basis = Literal["balance", "speeds", "recipes"]
"""What the time of a shard is known by: the seconds of an earlier run (`--balance`), speeds that were measured on this
machine, or nothing but an estimate, in no unit of time."""
_BASES: Mapping[Basis, str] = {
    "balance": "by the seconds of --balance",
    "speeds": "split by estimates, timed by earlier runs on this machine; --balance RESULTS splits by seconds",
    "recipes": "estimated from the recipes, no speed is known yet on this machine; --balance RESULTS splits by seconds",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedShard:
    """What one machine gets."""

    ids: tuple[str, ...]
    takes: float
    """What it takes, in the unit of `ShardPlan.alone`."""
    loads: int
    """The number of checkpoints it loads."""
    cost: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPlan:
    """What all machines get."""

    shards: tuple[PlannedShard, ...]
    alone: float
    """What one machine alone would take for everything: seconds, unless `basis` is `recipes`."""
    partition: str
    basis: Basis

    @property
    def names(self) -> list[str]:
        """`1/4`, `2/4`, …; without shards that have no case."""
        return [f"{number}/{len(self.shards)}" for number, one in enumerate(self.shards, 1) if one.ids]

    @property
    def times_as_fast(self) -> float:
        """How many times as fast all machines are as one, by the split: at most their number."""
        return self.alone / self.longest if self.longest else 1.0

    @property
    def longest(self) -> float:
        """What the longest shard takes."""
        return max(one.takes for one in self.shards)


def shards_text(plan: ShardPlan) -> str:
    """A row for each machine, and how much faster all are than one."""
    longest = plan.longest
    rows: list[Sequence[str]] = [("shard", "cases", "takes", "loads", "to download", "weights")]
    for number, one in enumerate(plan.shards, 1):
        time = f"{100 * one.takes / longest:.0f} %" if plan.basis == "recipes" else duration(one.takes)
        weights = "-" if one.cost.weights is None else sized(one.cost.weights.on_gpu("none"))
        loads = plural(one.loads, "checkpoint")
        missing = sized(one.cost.missing) if one.cost.missing else "-"
        rows.append((f"{number}/{len(plan.shards)}", str(len(one.ids)), time, loads, missing, weights))
    count = sum(len(one.ids) for one in plan.shards)
    faster = f"{plural(count, 'case')}, {plan.times_as_fast:.1f} times as fast as one machine"
    lines = (
        table(rows, indent=""),
        faster,
        f"({_BASES[plan.basis]})",
        f"each machine: parity run … --shard I/{len(plan.shards)} --out shard-I",
        "then: parity report shard-*/ --out report.html",
    )
    return "\n".join(lines)


def shards_json(plan: ShardPlan) -> str:
    """The same as JSON."""
    total = sum(one.takes for one in plan.shards)
    rows = [
        {
            "shard": f"{number}/{len(plan.shards)}",
            "cases": one.ids,
            "share": one.takes / total if total else 0.0,
            "seconds": None if plan.basis == "recipes" else one.takes,
            "loads": one.loads,
            "download_bytes": one.cost.missing,
            "weights_bytes": None if one.cost.weights is None else one.cost.weights.on_gpu("none"),
        }
        for number, one in enumerate(plan.shards, 1)
    ]
    return json_text(
        partition=plan.partition, basis=plan.basis, times_as_fast=round(plan.times_as_fast, 3), shards=rows
    )
