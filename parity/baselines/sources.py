"""The results that baselines are checked against or accepted from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from parity.merge import MAX_BYTES, read_results, results_file
from parity.result import CaseResult, Run
from pipelines import strict_json
from pipelines.content import read_text, real_path
from pipelines.errors import UsageError

OUT = Path("reports/out")
"""Where `parity run` leaves its results when nobody says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One results.json. Several are kept apart: each case is held against its baseline in its own environment."""

    path: Path
    run: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A case and the run it is of."""

    result: CaseResult
    source: Source


def read_sources(given: Sequence[Path]) -> list[Source]:
    """Results named (files, or the folders they are in), else those of the last run.

    Raises UsageError if there are none, or one holds no case: a gate on nothing would always pass.
    """
    paths = list({real_path(results_file(path)): results_file(path) for path in given or [last_results()]}.values())
    sources = [Source(path=path, run=read_results(path)) for path in paths]
    for source in sources:
        if not source.run.cases:
            raise UsageError(f"{source.path}: holds no case; was the run stopped before the first was done?")
    return sources


def cases_of(sources: Sequence[Source]) -> list[Drawn]:
    """All cases, in the order of their runs."""
    return [Drawn(result=result, source=source) for source in sources for result in source.run.cases]


def last_results() -> Path:
    """The results.json below reports/out that was started last. Raises UsageError if there is none.

    One that cannot be read is passed over, but not if it is newer: it could be the last run's.
    """
    found: list[tuple[datetime, float, Path]] = []
    broken: list[tuple[float, Path]] = []
    for path in OUT.glob("*/results.json"):
        changed = path.stat().st_mtime
        try:
            started = datetime.fromisoformat(strict_json.loads(read_text(path, MAX_BYTES))["started"])
            found.append((started.astimezone(), changed, path))
        except (OSError, ValueError, KeyError, TypeError):
            broken.append((changed, path))
    if not found and not broken:
        raise UsageError(f"no run below {OUT}; run `parity run` first, or name its results: --results FILE")
    if not found or (broken and max(broken)[0] > max(found)[1]):
        raise UsageError(f"{max(broken)[1]}: cannot be read; name the results: --results FILE")
    return max(found)[2]
