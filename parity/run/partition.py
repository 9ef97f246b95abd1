"""Cases split into shards, so that every machine finds the same parts without asking another one.

What a case weighs comes from what all machines have: its recipe, and the seconds of an earlier run if one is named
(`--balance`); never from the memory of speeds or the files of one machine.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

from parity.case.load import Case
from parity.cost.census import published
from parity.cost.estimate import job_of_run, weights_of
from parity.factors.findings import known_differences
from parity.results.case import CaseResult, Run
from parity.results.shard import Shard
from parity.run.task import Task
from pipelines.errors import UsageError

_LOAD = 100_000_000
"""The pixels times passes that take as long as loading the weights: on a GPU with 200 TFLOP/s and a disk with 2 GB/s,
whatever the size of the model, since a weight is read once and computes with 1 of 1024 pixels (4x16x16) at a time."""
_PER_UNIT = 10**12
"""Weights times pixels times passes of one unit of estimated work, so that whole numbers stay short."""
_MUCH_BETTER = 0.95
"""Loading more checkpoints must make the longest shard at least so much shorter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """A case, what it takes, and what has to be loaded for it."""

    id: str
    work: int
    """What the case takes by itself, at least 1: milliseconds of an earlier run, or else an estimate."""
    checkpoint: Hashable
    """Cases with equal ones share what is loaded; None: nothing is loaded."""
    loras: Hashable
    loading: int
    """What loading the checkpoint takes, in the unit of `work`."""


class Split(NamedTuple):
    """Cases in shards."""

    assigned: Mapping[str, int]
    """The number of each case's shard, from 1 on, by id."""
    takes: tuple[int, ...]
    """What each shard takes, with loading its checkpoints."""


def shard_of(weighed: Sequence[Weighed], index: int, of: int) -> Shard:
    """One shard of cases in this order."""
    assigned = split(weighed, of).assigned
    return Shard(
        index=index,
        of=of,
        partition=_hash(weighed, of),
        cases=tuple(one.id for one in weighed),
        assigned=tuple(assigned[one.id] for one in weighed),
    )


def split(weighed: Sequence[Weighed], of: int) -> Split:
    """Split cases into shards of which the longest is short, so that few load a checkpoint that another loads.

    The rule: cases in a row, checkpoint by checkpoint (the one with most work first), in it LoRA by LoRA, in it mixed
    by a hash of their ids, so that if short ones, say, take longer than estimated, every shard does. The row is cut so
    that the longest piece, with loading once all that occurs in it, is as short as cuts can make it. With few cases of
    unequal length that is coarse: then the longest case first goes to the shard that is done first with it, which is
    taken if its longest shard is at least 5 % shorter.

    The longest shard takes at most the ideal (all work and each checkpoint once, divided by the number of shards), the
    longest case, and two loads. The order in which cases are given does not matter. Shards may be empty.
    """
    row = _in_a_row(weighed)
    cut, spread = _cut(row, of), _longest_first(row, of)
    shards = spread if max(map(_takes, spread)) < _MUCH_BETTER * max(map(_takes, cut)) else cut
    assigned = {one.id: number for number, shard in enumerate(shards, 1) for one in shard}
    return Split(assigned, tuple(map(_takes, shards)))


def weigh(cases: Sequence[Case], task: Task, earlier: Sequence[Run] = ()) -> list[Weighed]:
    """What cases take, in their order: by the seconds of an earlier run, or if none is given, estimated.

    Cases that the earlier run did not generate are estimated by what it took for the others. Raises UsageError if it
    generated none of them.
    """
    estimated = [_estimated(case, task) for case in cases]
    if not earlier:
        most: dict[Hashable, int] = {}
        for one in estimated:
            most[one.checkpoint] = max(one.loading, most.get(one.checkpoint, 0))
        return [replace(one, loading=most[one.checkpoint]) for one in estimated]
    known = {result.id: times for run in earlier for result in run.cases if (times := _times(result)) is not None}
    pairs = [(one, known[one.id]) for one in estimated if one.id in known]
    if not pairs:
        raise UsageError("--balance: the results hold the time of none of these cases; name a run that generated them")
    loads: dict[Hashable, int] = {}
    for one, (_, loading) in pairs:
        loads[one.checkpoint] = max(loading, loads.get(one.checkpoint, 0))
    seconds, work = sum(took for _, (took, _) in pairs), sum(one.work for one, _ in pairs)
    return [
        replace(
            one,
            work=known[one.id][0] if one.id in known else max(1, one.work * seconds // work),
            loading=0 if one.checkpoint is None else loads.get(one.checkpoint, max(loads.values())),
        )
        for one in estimated
    ]


def _times(result: CaseResult) -> tuple[int, int] | None:
    """The milliseconds of a case without loading, and of loading; None: it was not generated then."""
    if result.output is None or result.drawn_before is not None or result.seconds is None:
        return None
    loading = result.timings.get("load", 0.0)
    return max(1, round(1000 * (result.seconds - loading))), round(1000 * loading)


def _estimated(case: Case, task: Task) -> Weighed:
    """A case by its recipe: what its passes compute with, decoding as one pass more."""
    if case.preview.obstacles or case.inference.obstacles:
        return Weighed(id=case.id, work=1, checkpoint=None, loras=None, loading=0)
    job = job_of_run(case)
    recipe = case.inference if job is None else job.recipes[0]
    transformer, whole = _numbers(recipe.model)
    calls = recipe.passes * (2 if recipe.guidance > 1 else 1) + 1
    pixels = recipe.num_frames.applied * recipe.width.applied * recipe.height.applied
    times = 0 if case.output is not None else 1  # read, not generated
    if job is not None:
        times = _generations(case, task)
    return Weighed(
        id=case.id,
        work=max(1, times * transformer * pixels * calls // _PER_UNIT),
        checkpoint=None if job is None else weights_of(recipe),
        loras=None if job is None else (recipe.lora_files, recipe.lora_scales, recipe.lora_application),
        loading=0 if job is None else whole * _LOAD // _PER_UNIT,
    )


def _generations(case: Case, task: Task) -> int:
    """How often a case is generated at most; nobody knows before of a search, or which cases drift."""
    if task.search or task.diagnose is None or task.only_drifted:
        return task.repeat or 1
    factors = len(known_differences(case))
    most = {"full": 2 * factors + 2, "gains": factors + 2, "quick": 2}[task.diagnose]
    return most if task.budget is None else min(most, math.ceil(task.budget))


@cache
def _numbers(model: str) -> tuple[int, int]:
    """The weights of a model as published: those of one transformer, and all."""
    parts = {name: sum(tensor.numbers for tensor in tensors) for name, tensors in published(model).items()}
    return parts["transformer"], sum(parts.values())


def _hash(weighed: Sequence[Weighed], of: int) -> str:
    """What the cases were split by, as a hash: no path is in it, only which cases share a checkpoint and LoRAs."""
    row = sorted(weighed, key=lambda one: one.id)
    checkpoints: dict[Hashable, int] = {}
    loras: dict[Hashable, int] = {}
    inputs = [
        (
            one.id,
            one.work,
            one.loading,
            checkpoints.setdefault(one.checkpoint, len(checkpoints)),
            loras.setdefault(one.loras, len(loras)),
        )
        for one in row
    ]
    return hashlib.sha256(json.dumps([of, inputs]).encode()).hexdigest()[:16]


def _in_a_row(weighed: Sequence[Weighed]) -> list[Weighed]:
    """Cases checkpoint by checkpoint, LoRA by LoRA, mixed, in an order that their own does not change."""
    mixed = sorted(weighed, key=lambda one: hashlib.sha256(one.id.encode("utf-8", "surrogateescape")).digest())

    def ranks(keys: Iterable[tuple[Hashable, int]]) -> dict[Hashable, int]:
        """The place of each key by its work, the most first; equal ones as they come."""
        totals: dict[Hashable, int] = {}
        for key, work in keys:
            totals[key] = totals.get(key, 0) + work
        return {key: place for place, key in enumerate(sorted(totals, key=lambda key: -totals[key]))}

    checkpoints = ranks((one.checkpoint, one.work) for one in mixed)
    loras = ranks(((one.checkpoint, one.loras), one.work) for one in mixed)
    return sorted(mixed, key=lambda one: (checkpoints[one.checkpoint], loras[one.checkpoint, one.loras]))


def _cut(row: Sequence[Weighed], of: int) -> list[list[Weighed]]:
    """The row in at most `of` pieces whose longest is as short as possible, padded with empty ones."""
    low, high = max((one.work + one.loading for one in row), default=0), sum(one.work + one.loading for one in row)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(_pieces(row, middle)) <= of else (middle + 1, high)
    pieces = _pieces(row, low)
    return [*pieces, *([] for _ in range(of - len(pieces)))]


def _pieces(row: Sequence[Weighed], limit: int) -> list[list[Weighed]]:
    """The row in pieces, each as long as fits into the limit."""
    pieces: list[list[Weighed]] = []
    taken, loaded = 0, set[Hashable]()
    for one in row:
        more = one.work + (one.loading if one.checkpoint not in loaded else 0)
        if not pieces or taken + more > limit:
            pieces.append([])
            taken, loaded, more = 0, set(), one.work + one.loading
        pieces[-1].append(one)
        loaded.add(one.checkpoint)
        taken += more
    return pieces


def _longest_first(row: Sequence[Weighed], of: int) -> list[list[Weighed]]:
    """The longest case first, to the shard that is done first with it; of equal ones to one with its checkpoint."""
    shards: list[list[Weighed]] = [[] for _ in range(of)]
    taken, loaded = [0] * of, [set[Hashable]() for _ in range(of)]
    for one in sorted(row, key=lambda one: -one.work):  # equal ones as they are in the row

        def done(number: int, one: Weighed = one) -> tuple[int, int]:
            more = one.loading if one.checkpoint not in loaded[number] else 0
            return taken[number] + one.work + more, more

        best = min(range(of), key=done)
        taken[best] = done(best)[0]
        loaded[best].add(one.checkpoint)
        shards[best].append(one)
    return shards


def _takes(shard: Sequence[Weighed]) -> int:
    """What a shard takes, with loading each of its checkpoints once."""
    return sum(one.work for one in shard) + sum({one.checkpoint: one.loading for one in shard}.values())
