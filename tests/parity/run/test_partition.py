"""How cases are split for several machines: nothing is lost, order does not matter, the longest part is short."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.case.load import find_case_files, load_cases
from parity.results.case import CaseResult
from parity.run.partition import Weighed, shard_of, split, weigh
from parity.run.task import Task
from pipelines.errors import UsageError
from tests.support.baseline_samples import result, run_of

LOADS = {"a": 0, "b": 40, "c": 900}


def weighed(*rows: tuple[int, str, str]) -> list[Weighed]:
    """Cases by work, checkpoint and LoRA."""
    return [
        Weighed(id=f"case-{number}", work=work, checkpoint=checkpoint, loras=lora, loading=LOADS[checkpoint])
        for number, (work, checkpoint, lora) in enumerate(rows)
    ]


SUITES = st.lists(
    st.tuples(st.integers(1, 500), st.sampled_from(sorted(LOADS)), st.sampled_from("xyz")), min_size=1, max_size=40
).map(lambda rows: weighed(*rows))


def taken(suite: Sequence[Weighed], of: int) -> list[int]:
    """What each shard takes, by the definition."""
    assigned = split(suite, of).assigned
    shards = [[one for one in suite if assigned[one.id] == number] for number in range(1, of + 1)]
    return [
        sum(one.work for one in shard) + sum({one.checkpoint: one.loading for one in shard}.values())
        for shard in shards
    ]


@given(SUITES, st.integers(1, 12), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_every_case_is_in_one_shard_whatever_the_order(suite: list[Weighed], of: int, dice: random.Random) -> None:
    shards = [shard_of(suite, index, of) for index in range(1, of + 1)]
    ids = [case for shard in shards for case in shard.ids()]
    assert sorted(ids) == sorted(one.id for one in suite)
    assert all(shard.cases == tuple(one.id for one in suite) for shard in shards)
    assert len({shard.partition for shard in shards}) == 1
    mixed = dice.sample(suite, len(suite))
    assert split(mixed, of) == split(suite, of)
    assert shard_of(mixed, 1, of).partition == shards[0].partition


@given(SUITES, st.integers(1, 12))
@settings(max_examples=150, deadline=None)
def test_the_longest_shard_is_within_the_bound(suite: list[Weighed], of: int) -> None:
    takes = taken(suite, of)
    assert split(suite, of).takes == tuple(takes)
    loads = {one.checkpoint: one.loading for one in suite}
    ideal = Fraction(sum(one.work for one in suite) + sum(loads.values()), of)
    assert max(takes) <= ideal + max(one.work for one in suite) + 2 * max(loads.values())


def test_a_checkpoint_stays_together_and_one_that_is_most_of_the_work_is_split() -> None:
    even = weighed(*[(100, "b", "x")] * 10, *[(100, "c", "x")] * 2)
    assigned = split(even, 2).assigned
    assert {assigned[one.id] for one in even if one.checkpoint == "c"} == {2}
    uneven = weighed(*[(100, "c", "x")] * 60, *[(100, "a", "x")] * 2)
    assert max(taken(uneven, 4)) < 1.35 * sum(taken(uneven, 4)) / 4
    assert len({split(uneven, 4).assigned[one.id] for one in uneven if one.checkpoint == "c"}) == 4


def test_cases_of_one_lora_stay_together() -> None:
    suite = weighed(*[(100, "b", lora) for lora in "xyxyxyxy"])
    assigned = split(suite, 2).assigned
    assert len({(one.loras, assigned[one.id]) for one in suite}) == 2


def test_what_is_estimated_wrong_is_spread() -> None:
    """Short cases that take three times as long as was thought are not all in one shard."""
    thought = weighed(*[(10 if number % 2 else 100, "b", "x") for number in range(400)])
    true = [replace(one, work=30) if one.work == 10 else one for one in thought]
    assigned = split(thought, 4).assigned
    takes = [sum(one.work for one in true if assigned[one.id] == number) for number in range(1, 5)]
    assert max(takes) < 1.1 * sum(takes) / 4


def test_few_cases_of_unequal_length_are_not_cut_in_a_row() -> None:
    works = (100, 60, 60, 50, 40, 10)
    assert sorted(taken(weighed(*[(work, "a", "x") for work in works]), 3)) == [100, 110, 110]


def test_the_demo_is_estimated_from_its_recipes() -> None:
    cases = {case.id: case for case in load_cases(find_case_files([]))}
    by_id = {one.id: one for one in weigh(list(cases.values()), Task())}
    assert by_id["shapes-faithful"].checkpoint == by_id["shapes-trigger"].checkpoint
    assert by_id["t2v-guitar-faithful"].checkpoint != by_id["t2v-guitar-reference"].checkpoint  # other precisions
    assert by_id["shapes-faithful"].loras != by_id["shapes-lora-scale"].loras
    case = cases["shapes-faithful"]
    twice = replace(case, inference=replace(case.inference, steps=2 * case.inference.steps))
    assert 1.5 < weigh([twice], Task())[0].work / by_id[case.id].work < 2
    assert weigh([case], Task(repeat=3))[0].work == pytest.approx(3 * by_id[case.id].work, rel=0.01)
    assert weigh([cases["shapes-scheduler"]], Task(diagnose="full"))[0].work > 3 * by_id["shapes-scheduler"].work


def timed(case: str, generate: float, load: float = 0.0) -> CaseResult:
    return result(case, timings={"load": load, "generate": generate, "total": generate + load})


def test_the_seconds_of_an_earlier_run_decide_where_there_are_any() -> None:
    cases = load_cases(find_case_files([]), expression="shapes and not i2v")
    estimated = {one.id: one for one in weigh(cases, Task())}
    cached = replace(timed("shapes-trigger", 0.1), drawn_before="2026-11-22T01:00:00+00:00")
    earlier = run_of(timed("shapes-faithful", 10, load=4), timed("shapes-scheduler", 30), cached)
    by_id = {one.id: one for one in weigh(cases, Task(), [earlier])}
    assert (by_id["shapes-faithful"].work, by_id["shapes-scheduler"].work) == (10_000, 30_000)
    assert {one.loading for one in by_id.values()} == {4_000}
    ratio = 40_000 / (estimated["shapes-faithful"].work + estimated["shapes-scheduler"].work)
    for name in ("shapes-trigger", "shapes-frame-count"):  # from the cache then, and not in that run
        assert by_id[name].work == pytest.approx(ratio * estimated[name].work, abs=1)
    assert shard_of([*by_id.values()], 1, 2).partition != shard_of([*estimated.values()], 1, 2).partition
    with pytest.raises(UsageError, match="none of these cases"):
        weigh(cases, Task(), [run_of(timed("another", 3))])
