"""The gate: a whole run compared with its baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from parity.baselines import smoke
from parity.baselines.check import check_case
from parity.baselines.file import Baseline
from parity.baselines.in_run import judged
from parity.baselines.noise import Noise
from parity.baselines.smoke import SmokeBaseline
from parity.baselines.sources import Source, SourcedCase, cases_of
from parity.results.case import BaselineResult, CaseResult
from parity.results.merge import missing_shards
from pipelines.errors import UsageError
from pipelines.files.words import did_you_mean

_NONE: Mapping[str, SmokeBaseline] = {}
_NOT_IN_THIS_RUN = BaselineResult(
    outcome="not_run", status="error", verdict="not in this run", problems=("not in this run",)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The outcome of the gate for a case, and the results it is in."""

    case: str
    check: BaselineResult
    source: Source | None
    """None: no results hold the case."""
    result: CaseResult | None
    """As a run with these baselines would have it. None: no results hold the case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The outcome of the gate for a whole run."""

    cases: tuple[Checked, ...]
    unused: tuple[str, ...]
    """Baselines of cases missing from the results. Not a failure: a run may cover some cases only."""
    unfinished: tuple[Path, ...]
    """Results of runs that did not finish. A failure, because unknown cases are missing."""
    missing: tuple[str, ...] = ()
    """What is missing of a run that was split into shards, if several results are given. A failure."""

    @property
    def failed(self) -> bool:
        return bool(self.unfinished or self.missing) or any(item.check.failed for item in self.cases)


def check_all(
    sources: Sequence[Source],
    baselines: Mapping[str, Baseline],
    noise: Noise,
    names: Sequence[str] = (),
    smokes: Mapping[str, SmokeBaseline] = _NONE,
) -> Gate:
    """Check all cases, or those named. Raises UsageError for a name found in neither results nor baselines.

    Of several shards it is said what is missing; one alone is checked as it is. Shards that do not belong together
    raise UsageError, too.
    """
    missing = missing_shards([source.path for source in sources], [source.run for source in sources])
    found = cases_of(sources)
    ids = dict.fromkeys(item.result.id for item in found)
    for name in names:
        if name not in ids and name not in baselines:
            known = sorted({*ids, *baselines})
            raise UsageError(f"{name}: found in neither the results nor the baselines{did_you_mean(name, known)}")
    elsewhere = {case for source in sources if source.run.shard is not None for case in source.run.shard.cases}
    cases = [_checked(item, baselines, noise, smokes) for item in found if not names or item.result.id in names]
    cases += [
        Checked(case=name, check=_NOT_IN_THIS_RUN, source=None, result=None)
        for name in dict.fromkeys(names)
        if name not in ids
    ]
    return Gate(
        cases=tuple(cases),
        unused=() if names else tuple(name for name in baselines if name not in ids and name not in elsewhere),
        unfinished=() if names else tuple(source.path for source in sources if source.run.finished is None),
        missing=() if names else missing,
    )


def _checked(
    item: SourcedCase, baselines: Mapping[str, Baseline], noise: Noise, smokes: Mapping[str, SmokeBaseline]
) -> Checked:
    result, environment = item.result, item.source.run.environment
    if result.smoke is not None:
        check = smoke.check_smoke(result, environment, smokes.get(result.id))
        return Checked(case=result.id, check=check, source=item.source, result=smoke.judged(result, check))
    check = check_case(result, environment, baselines.get(result.id), noise)
    return Checked(case=result.id, check=check, source=item.source, result=judged(result, check))
