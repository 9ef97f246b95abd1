"""The last run below reports/out: of any kind, and the one that stands for the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from parity.results.folders import OUT
from parity.results.merge import read_results
from pipelines.errors import UsageError
from pipelines.files.words import plural


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What the choice of the last run needs to know of a results.json."""

    path: Path
    order: tuple[datetime, float]
    """When the run started, and when its file last changed."""
    narrowed: bool
    """True if cases were left out: by `-k` or the like, or as they belong to other shards."""
    cases: Mapping[str, str]
    """The case file of each case, by id."""
    compared: bool
    """False: nothing was generated to compare, as with `--blocks`, `diagnose --quick` and `--search`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastRun:
    """The results.json that stands for the last run."""

    path: Path
    note: str = ""
    """Why it is not the one that was started last; empty: it is."""


def last_results() -> Path:
    """The results.json below reports/out that was started last. Raises UsageError if there is none.

    An unreadable file is skipped, unless it is the newest, since it could be the last run's.
    """
    return _runs()[0].path


def last_full_results() -> LastRun:
    """The last run below reports/out that generated something, and was not a part of an earlier run.

    A run of some cases only (`Run.narrowed`) is a part of an earlier one that has all of them and more; cases whose
    files are gone do not count. Raises UsageError as `last_results`.
    """
    runs = _runs()
    compared = [run for run in runs if run.compared] or runs
    chosen = next((run for run in compared if not _whole_of(run, compared)), compared[0])
    return LastRun(path=chosen.path, note="" if chosen is runs[0] else _passed_over(runs[0], chosen))


def _whole_of(run: _Found, runs: Sequence[_Found]) -> bool:
    """Return whether an earlier run has all cases of a narrowed one, and more that still exist."""
    if not run.narrowed:
        return False
    ids = set(run.cases)
    for other in runs:
        if other.order < run.order and ids < set(other.cases):
            rest = [file for case, file in other.cases.items() if case not in ids]
            if any(Path(file).exists() for file in rest):
                return True
    return False


def _passed_over(later: _Found, chosen: _Found) -> str:
    if not later.compared:
        reason = "generated nothing to compare"
    else:
        common = len(set(later.cases) & set(chosen.cases))
        reason = f"covers only {common} of these {plural(len(chosen.cases), 'case')}"
    return f"a later run ({later.path}) {reason}; pass --results {later.path.parent} for it"


def _runs() -> list[_Found]:
    """The runs below reports/out, the last one first. Raises UsageError if there is none, or the newest is broken."""
    found: list[_Found] = []
    broken: list[tuple[float, Path]] = []
    for path in OUT.glob("*/results.json"):
        changed = path.stat().st_mtime
        try:
            found.append(_found(path, changed))
        except (UsageError, ValueError):
            broken.append((changed, path))
    found.sort(key=lambda run: run.order, reverse=True)
    if not found and not broken:
        raise UsageError(f"no run found in {OUT}; run `parity run` first, or pass the folder it wrote to")
    if not found or (broken and max(broken)[0] > found[0].order[1]):
        raise UsageError(f"{max(broken)[1]}: cannot be read; pass another run")
    return found


def _found(path: Path, changed: float) -> _Found:
    run = read_results(path)
    only_explained = bool(run.cases) and all(
        case.output is None and (case.diagnosis or case.search or case.smoke) for case in run.cases
    )
    return _Found(
        path=path,
        order=(datetime.fromisoformat(run.started).astimezone(), changed),
        narrowed=run.narrowed is not None or run.shard is not None,
        cases={case.id: case.case_file for case in run.cases},
        compared=not only_explained,
    )
