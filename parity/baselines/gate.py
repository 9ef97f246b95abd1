"""A whole run against its baselines."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from parity.baselines.check import CaseCheck, check_case
from parity.baselines.file import Baseline
from parity.baselines.noise import Noise
from parity.baselines.sources import Drawn, Source, cases_of
from pipelines.errors import UsageError
from pipelines.files.words import did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What the gate says of a case, and of which results."""

    check: CaseCheck
    source: Source | None
    """None: no results hold the case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What the gate says."""

    cases: tuple[Checked, ...]
    unused: tuple[str, ...]
    """Baselines of cases that the results do not hold. Not a failure: a run may be of some cases only."""
    unfinished: tuple[Path, ...]
    """Results of runs that were stopped: who knows which cases are missing. A failure."""

    @property
    def failed(self) -> bool:
        return bool(self.unfinished) or any(item.check.failed for item in self.cases)


def check_all(
    sources: Sequence[Source], baselines: Mapping[str, Baseline], noise: Noise, names: Sequence[str] = ()
) -> Gate:
    """Check all cases, or those named. Raises UsageError for a name that neither results nor baselines hold."""
    drawn = cases_of(sources)
    ids = dict.fromkeys(item.result.id for item in drawn)
    for name in names:
        if name not in ids and name not in baselines:
            known = sorted({*ids, *baselines})
            raise UsageError(f"{name}: neither the results nor the baselines hold it{did_you_mean(name, known)}")
    cases = [_checked(item, baselines, noise) for item in drawn if not names or item.result.id in names]
    cases += [
        Checked(check=CaseCheck(case=name, outcome="not_run", problems=("not in this run",)), source=None)
        for name in dict.fromkeys(names)
        if name not in ids
    ]
    return Gate(
        cases=tuple(cases),
        unused=() if names else tuple(name for name in baselines if name not in ids),
        unfinished=() if names else tuple(source.path for source in sources if source.run.finished is None),
    )


def _checked(item: Drawn, baselines: Mapping[str, Baseline], noise: Noise) -> Checked:
    environment = item.source.run.environment
    check = check_case(item.result, environment, baselines.get(item.result.id), noise)
    return Checked(check=check, source=item.source)


def accept_command(cases: Sequence[str], results: Path, baselines: Path | None) -> str:
    """The command that accepts these cases of these results, whatever ran in between."""
    folder = () if baselines is None else ("--baselines", str(baselines))
    return shlex.join(("parity", "baseline", "accept", *cases, "--results", str(results), *folder))
