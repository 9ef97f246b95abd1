"""The results that baselines are checked against or accepted from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from parity.results.case import CaseResult, Run
from parity.results.last_run import last_full_results
from parity.results.merge import read_results, results_file
from pipelines.errors import UsageError
from pipelines.files.content import real_path


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One results.json. Several are kept apart, so that each case is checked in its own environment."""

    path: Path
    run: Run
    note: str = ""
    """Why it was taken although a later run exists; empty: none does, or it was named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcedCase:
    """A case's result with the run it comes from."""

    result: CaseResult
    source: Source


def read_sources(given: Sequence[Path]) -> list[Source]:
    """Read the named results (files, or the folders they are in), by default those of the last full run.

    Raises UsageError if there are none, or if one has no cases: a gate on nothing would always pass.
    """
    if given:
        paths = list({real_path(results_file(path)): results_file(path) for path in given}.values())
        sources = [Source(path=path, run=read_results(path)) for path in paths]
    else:
        last = last_full_results()
        sources = [Source(path=last.path, run=read_results(last.path), note=last.note)]
    for source in sources:
        if not source.run.cases and not (source.run.shard and not source.run.shard.ids()):
            raise UsageError(f"{source.path}: no cases; was the run stopped before the first one finished?")
    return sources


def cases_of(sources: Sequence[Source]) -> list[SourcedCase]:
    """All cases of the given results, in the order of their runs."""
    return [SourcedCase(result=result, source=source) for source in sources for result in source.run.cases]
