"""Choosing the smoke runs that become baselines, and what each would change."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from parity.baselines.accept import LeftOut
from parity.baselines.recipes import compare_recipes
from parity.baselines.smoke import SmokeBaseline, check_smoke, first_difference, from_result
from parity.baselines.sources import SourcedCase
from parity.results.environment import differences


@dataclass(frozen=True, slots=True, kw_only=True)
class SmokeProposal:
    """A smoke baseline that would be written."""

    baseline: SmokeBaseline
    kind: Literal["new", "changed", "unchanged"]
    changes: tuple[str, ...]


def choose_smoke(
    found: Sequence[SourcedCase], names: Sequence[str], baselines: Mapping[str, SmokeBaseline]
) -> tuple[list[SourcedCase], list[LeftOut]]:
    """The smoke runs to accept: those that a name or pattern matches, else all that did not change since."""
    if names:
        return [item for item in found if any(fnmatch.fnmatchcase(item.result.id, name) for name in names)], []
    chosen, left_out = [], []
    for item in found:
        known = baselines.get(item.result.id)
        if known is not None and check_smoke(item.result, item.source.run.environment, known).failed:
            left_out.append(LeftOut(case=item.result.id, reason="its smoke run changed: accepted only when named"))
        else:
            chosen.append(item)
    return chosen, left_out


def propose_smoke(chosen: Sequence[SourcedCase], baselines: Mapping[str, SmokeBaseline]) -> list[SmokeProposal]:
    """The smoke baselines that accepting would write, sorted by id."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    proposals = []
    for item in sorted(chosen, key=lambda item: item.result.id):
        run = item.source.run
        new = from_result(item.result, run.environment, at=now, run_started=run.started)
        old = baselines.get(new.case)
        if old is None:
            proposals.append(SmokeProposal(baseline=new, kind="new", changes=(new.extent,)))
        elif new.says_the_same(old):
            proposals.append(SmokeProposal(baseline=old, kind="unchanged", changes=()))
        else:
            proposals.append(SmokeProposal(baseline=new, kind="changed", changes=tuple(_changes(old, new))))
    return proposals


def _changes(old: SmokeBaseline, new: SmokeBaseline) -> list[str]:
    changes = [] if old.extent == new.extent else [f"{old.extent} -> {new.extent}"]
    difference = first_difference(dict(old.stages), dict(new.stages))
    recipe = compare_recipes(old.recipe, new.recipe)
    changes += [] if difference is None else [difference]
    return [*changes, *recipe.reaching, *recipe.harmless, *differences(old.environment, new.environment)]
