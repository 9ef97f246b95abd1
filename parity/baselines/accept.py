"""Choosing the results that become baselines, and what each would change."""

from __future__ import annotations

import fnmatch
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from parity.baselines.approvals import approved
from parity.baselines.check import check_case
from parity.baselines.file import Accepted, Baseline, accept, file_name, from_result
from parity.baselines.recipes import compare_recipes
from parity.baselines.rules import factor_changes, rule_changes
from parity.baselines.sources import SourcedCase
from parity.baselines.speed import speed_changes
from parity.baselines.stills import Picked, damage, pick
from parity.results.case import FAILING
from parity.results.environment import differences
from parity.results.words import figure
from pipelines.errors import UsageError
from pipelines.files.words import did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A baseline that would be written."""

    baseline: Baseline
    kind: Literal["new", "changed", "unchanged"]
    changes: tuple[str, ...]
    """The things that change: `bits`, `metrics`, a recipe's field, a part of the environment."""
    stills: Mapping[str, bytes] = field(default_factory=dict)
    """The content of the baseline's stills by their names."""
    notes: tuple[str, ...] = ()
    """Which stills could not be kept, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A result that is not accepted, and why."""

    case: str
    reason: str


def choose(
    cases: Sequence[SourcedCase], names: Sequence[str], approvals: Path | None, baselines: Mapping[str, Baseline]
) -> tuple[list[SourcedCase], list[LeftOut]]:
    """The results to accept: those approved, else those named, else all with the expected outcome.

    A case is as expected by its own rules, or by its baseline.
    Raises UsageError for a name or approval without a result; then nothing is accepted.
    """
    if approvals is not None:
        return approved(approvals, cases), []
    by_id: dict[str, list[SourcedCase]] = {}
    for item in cases:
        by_id.setdefault(item.result.id, []).append(item)
    if names:
        return [_named(name, by_id) for name in _matched(names, cases)], []
    for case_id in by_id:
        _refuse_twice(case_id, by_id)
    reasons = [(item, _why_not(item, baselines.get(item.result.id))) for item in cases]
    left_out = [LeftOut(case=item.result.id, reason=reason) for item, reason in reasons if reason is not None]
    return [item for item, reason in reasons if reason is None], left_out


def _why_not(item: SourcedCase, baseline: Baseline | None) -> str | None:
    """The reason why a result is not accepted unless it is named; None: it is."""
    own = item.result.by_own_rules()
    if own.output is None:
        return f"{own.status}: no output to accept"
    if own.status == "error":
        return f"error: {own.verdict}"
    accepted = baseline is not None and not check_case(own, item.source.run.environment, baseline).failed
    if own.status in FAILING and not accepted:
        return f"{own.status}: accepted only when named, or approved in the report"
    return None


def _matched(names: Sequence[str], cases: Sequence[SourcedCase]) -> list[str]:
    """Case ids, with shell patterns (`tiny_*`) replaced by the cases they match that have an output."""
    ids = [item.result.id for item in cases if item.result.output is not None and item.result.status != "error"]
    found: dict[str, None] = {}
    for name in names:
        pattern = any(char in name for char in "*?[")
        matching = fnmatch.filter(ids, name) if pattern else [name]
        if not matching:
            raise UsageError(f"{name}: matches no case with an output in the results; nothing was accepted")
        found |= dict.fromkeys(matching)
    return list(found)


def _named(name: str, cases: Mapping[str, Sequence[SourcedCase]]) -> SourcedCase:
    """The case of that name, among all by their ids."""
    if name not in cases:
        raise UsageError(f"{name}: no such case in the results{did_you_mean(name, list(cases))}")
    _refuse_twice(name, cases)
    item = cases[name][0]
    if item.result.output is None:
        raise UsageError(f"{name}: no output to accept ({item.result.verdict}); nothing was accepted")
    if item.result.status == "error":
        raise UsageError(f"{name}: an error cannot be accepted ({item.result.verdict}); nothing was accepted")
    return item


def _refuse_twice(name: str, cases: Mapping[str, Sequence[SourcedCase]]) -> None:
    """Raise UsageError for a case that several results hold: the user must say which of them to accept."""
    if len(cases[name]) > 1:
        paths = " and ".join(str(item.source.path) for item in cases[name])
        raise UsageError(f"{name}: is in {paths}; give one of them with --results")


def propose(
    chosen: Sequence[SourcedCase],
    baselines: Mapping[str, Baseline],
    broken: Container[str] = (),
    *,
    stills: int = 0,
    folder: Path | None = None,
) -> list[Proposal]:
    """The baselines that accepting would write, sorted by id.

    `broken`: names of baseline files that cannot be read. `stills`: how many are kept of each case. `folder` holds the
    baselines; None: none has stills yet.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    proposals = []
    for item in sorted(chosen, key=lambda item: item.result.id):
        accepted = accept(item.result, at=now, run_started=item.source.run.started)
        new = from_result(item.result, item.source.run.environment, accepted)
        old = baselines.get(new.case)
        picked = _picked(item, old if old is not None and old.output == new.output else None, stills)
        kept_speed = old.speed if old is not None and new.speed is None and new.output == old.output else new.speed
        new = replace(new, stills=picked.stills, speed=kept_speed)
        if file_name(new.case) in broken:
            proposal = Proposal(baseline=new, kind="changed", changes=("replaces a file that cannot be read",))
        elif old is None:
            proposal = Proposal(baseline=new, kind="new", changes=())
        elif new.says_the_same(old) and not speed_changes(item.result, old) and not _other_stills(old, picked, folder):
            proposal = Proposal(baseline=old, kind="unchanged", changes=())
        else:
            changes = (*_changes(old, new), *speed_changes(item.result, old))
            proposal = Proposal(baseline=new, kind="changed", changes=changes or ("stills",))
        proposals.append(replace(proposal, stills=picked.data, notes=picked.notes))
    return proposals


def _picked(item: SourcedCase, same_video: Baseline | None, count: int) -> Picked:
    """The stills for a case's baseline. Those of the same video stay if the results lost theirs."""
    picked = pick(item.result, item.source.path.parent, count)
    kept = same_video.stills if same_video is not None and count else ()
    return Picked(stills=kept) if kept and not picked.stills else picked


def _other_stills(old: Baseline, picked: Picked, folder: Path | None) -> bool:
    """Return whether other stills are to be kept of the same video, or those that were are missing or damaged.

    They are told apart by their frames: another Pillow writes the same picture in other bytes.
    """
    frames = [[still.frame for still in stills] for stills in (old.stills, picked.stills)]
    return frames[0] != frames[1] or bool(picked.data and folder is not None and damage(old, folder))


def _changes(old: Baseline, new: Baseline) -> tuple[str, ...]:
    """What accepting changes, but for stills."""
    changes: list[str] = []
    if (new.output.raw_sha256, new.output.sha256) != (old.output.raw_sha256, old.output.sha256):
        changes.append("bits")
    elif new.output != old.output:
        changes.append("frame hashes")
    if new.metrics != old.metrics:
        changes.append(f"metrics ({_moved(old, new)})")
    if new.preview_sha256 != old.preview_sha256:
        changes.append("preview")
    recipe = compare_recipes(old.recipe, new.recipe)
    changes += recipe.reaching + recipe.harmless
    if new.recipe != old.recipe and not (recipe.reaching or recipe.harmless):
        changes.append("file names in the recipe")
    changes += differences(old.environment, new.environment)
    if old.speed is not None and new.speed is None:
        changes.append("no seconds, because this run did not generate it")
    return (*changes, *_acceptance_changes(old.accepted, new.accepted))


def _acceptance_changes(old: Accepted, new: Accepted) -> list[str]:
    """What else was accepted: factors, rules, and the status by them."""
    if old.tolerance is None:
        return ["factors and rules, which the older baseline does not record"]
    changes = factor_changes(old.factors, new.factors or ())
    changes += rule_changes(old, new)
    return changes + ([f"status {old.status} -> {new.status}"] if old.status != new.status else [])


def _moved(old: Baseline, new: Baseline) -> str:
    """Metric means before and after."""
    names = [
        name for name in dict.fromkeys((*old.metrics, *new.metrics)) if old.metrics.get(name) != new.metrics.get(name)
    ]
    return ", ".join(f"{name} {mean_text(old, name)} -> {mean_text(new, name)}" for name in names)


def mean_text(baseline: Baseline, name: str) -> str:
    """A metric's mean in short: `36.56`, `0.9533`, `identical`."""
    metric = baseline.metrics.get(name)
    if metric is None:
        return "-"
    return "identical" if metric.mean is None else figure(name, metric.mean, unit=False)
