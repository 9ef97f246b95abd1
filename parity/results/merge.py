"""Merging several results.json (matrix jobs, shards) into one run."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from parity.results import journal
from parity.results.case import CaseResult, Run, in_order
from parity.results.gate import Gate
from parity.results.json_text import from_json
from parity.results.shard import Shard, ShardResults, missing_of
from pipelines.errors import UsageError
from pipelines.files.content import read_bytes, real_path
from pipelines.files.words import reason_of

MAX_BYTES = 512 << 20
"""Size limit of a results.json. Ten thousand cases of the demo's kind take 146 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """A run that was read from one or more files."""

    run: Run
    folder: Path
    """The folder that the cases' artifacts are relative to."""
    first: Path
    """The path of the first results.json."""


def merge(given: Sequence[Path], gate: Gate | None = None) -> Merged:
    """Read results.json files, or the folders they are in, as one run. A file given twice counts once.

    For several files, `environment` is `{"runs": [...]}`, one entry per file, in the order of the cases; shards have
    their cases in the order of the whole, and `missing` says what they lack. `gate` decides over each case in the
    environment of its own file; None: the verdicts stay. Raises UsageError for shards that do not belong together.
    """
    paths = list({real_path(results_file(path)): results_file(path) for path in given}.values())
    runs = [_judged(read_results(path), path, gate) for path in paths]
    homes = [real_path(path.parent) for path in paths]
    folder = Path(os.path.commonpath(homes))
    cases = [
        _moved(case, path, home, folder, noted=len(paths) > 1 and run.shard is None)
        for path, home, run in zip(paths, homes, runs, strict=True)
        for case in run.cases
    ]
    if len(runs) == 1:
        return Merged(run=replace(runs[0], cases=tuple(cases)), folder=folder, first=paths[0])
    order = dict.fromkeys(case for run in runs if run.shard is not None for case in run.shard.cases)
    whole = replace(_combined(paths, runs), cases=in_order(cases, tuple(order)))
    return Merged(run=whole, folder=folder, first=paths[0])


def missing_shards(paths: Sequence[Path], runs: Sequence[Run]) -> tuple[str, ...]:
    """What of the whole is missing if some of several results are shards; nothing for one alone. Raises UsageError."""
    parts = [
        ShardResults(path=path, shard=run.shard, done=frozenset(case.id for case in run.cases))
        for path, run in zip(paths, runs, strict=True)
        if run.shard is not None
    ]
    split = {case: part for part in parts for case in part.shard.cases}
    for path, run in zip(paths, runs, strict=True):
        twice = next((case.id for case in run.cases if run.shard is None and case.id in split), None)
        if twice is not None:
            other = split[twice]
            raise UsageError(
                f"{path}: is no shard and has {twice}, a case of the run that {other.path} ({other.shard}) is part of; "
                "pass the shards of one run alone"
            )
    return missing_of(parts) if len(paths) > 1 else ()


def _judged(run: Run, path: Path, gate: Gate | None) -> Run:
    if gate is None:
        return run
    cases = tuple(gate(case, run.environment, real_path(path.parent)) for case in run.cases)
    return replace(run, cases=cases, baselines=str(gate.folder))


def refuse_folder_of_another(out: Path, shard: Shard) -> None:
    """Raises UsageError if the folder has the results of another shard, which would be lost."""
    path = results_file(out)
    if not path.is_file():
        return
    try:
        known = read_head(path).shard
    except UsageError:
        return  # it is written anew
    if known is not None and known.index != shard.index:
        raise UsageError(
            f"--out {out}: has the results of {known}, and this is {shard}; give each shard a folder of its own, e.g. "
            f"--out {out}/shard-{shard.index}"
        )


def read_results(path: Path) -> Run:
    """Read one results.json, and the newest cases of a run that was stopped from the journal beside it.

    Raises UsageError, which names the path, what is wrong with it and what to do.
    """
    run = read_head(path)
    return run if run.finished is not None else _with_newest(run, path)


def read_head(path: Path) -> Run:
    """Read one results.json as it is, without a journal. Raises UsageError."""
    try:
        return from_json(read_bytes(path, MAX_BYTES))
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not a text file; pass the results.json that `parity run` wrote") from None
    except OSError as error:
        raise UsageError(f"{path}: {reason_of(error)}; pass a results.json, or the folder it is in") from None
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None


def _with_newest(run: Run, path: Path) -> Run:
    """The run with the cases of its journal, each in the place of an older result of it."""
    file = journal.journal_of(path)
    try:
        newest = {case.id: case for case in journal.read(path, run.started)[0]}
    except OSError as error:
        raise UsageError(f"{file}: {reason_of(error)}; it has the newest cases of {path}") from None
    except ValueError:
        raise UsageError(f"{file}: is damaged; without it {path} lacks its newest cases: run with --resume") from None
    return replace(run, cases=(*(case for case in run.cases if case.id not in newest), *newest.values()))


def results_file(path: Path) -> Path:
    """The path of a results.json, given the file or its folder."""
    return path / "results.json" if path.is_dir() else path


def _combined(paths: Sequence[Path], runs: Sequence[Run]) -> Run:
    finished = [run.finished for run in runs if run.finished is not None]
    return replace(
        runs[0],
        started=min(run.started for run in runs),
        finished=max(finished) if len(finished) == len(runs) else None,
        command=("parity", "report", *map(str, paths)),
        baselines=runs[0].baselines if len({run.baselines for run in runs}) == 1 else None,
        shard=None,
        missing=missing_shards(paths, runs),
        environment={
            "runs": [
                {
                    "results": str(path),
                    "command": shlex.join(run.command),
                    "started": run.started,
                    "finished": run.finished,
                    "cases": len(run.cases),
                    "environment": run.environment,
                }
                for path, run in zip(paths, runs, strict=True)
            ]
        },
    )


def _moved(case: CaseResult, path: Path, home: Path, folder: Path, *, noted: bool) -> CaseResult:
    """A case with artifacts relative to `folder`, and if `noted` with a note on its file.

    `home` is the folder of its results.json, `path`. Artifacts and stills outside it are dropped: a results.json from
    elsewhere must not pull other files into a report that is passed on.
    """
    notes = [f"From {path}."] if noted else []

    def moved(value: str) -> str | None:
        if "\0" in value or not real_path(home / value).is_relative_to(home):
            return None
        return Path(os.path.relpath(home / value, folder)).as_posix()

    artifacts = {name: moved(value) for name, value in case.artifacts.items()}
    outside = [
        f"The artifact {name} ({case.artifacts[name]}) is outside the folder of {path} and was not read."
        for name, value in artifacts.items()
        if value is None
    ]

    diagnosis = case.diagnosis
    if diagnosis is not None:
        stills = {trial.stills for trial in diagnosis.trials().values() if trial.stills is not None}
        places = {value: moved(value) for value in sorted(stills)}
        outside += [
            f"Stills of the diagnosis ({value}) are outside the folder of {path} and were not read."
            for value, place in places.items()
            if place is None
        ]
        diagnosis = diagnosis.with_stills(lambda value: places[value])
    return replace(
        case,
        artifacts={name: value for name, value in artifacts.items() if value is not None},
        diagnosis=diagnosis,
        notes=(*case.notes, *notes, *outside),
    )
