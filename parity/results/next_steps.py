"""What to type next: one text for the end of a run, for pytest's failures and for GitHub's job summary."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from parity.results.case import CaseResult, Run

_LISTED = 4
"""The most case ids or files that a command lists; more are shortened to a pattern or a folder."""


_INTENDED = "if this is intended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to do next."""

    purpose: str
    command: str = ""
    """The command to type; empty: there is none."""

    def __str__(self) -> str:
        return f"{self.purpose}: {self.command}" if self.command else self.purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a run's results are, and how it was started."""

    results: Path
    command: tuple[str, ...]
    baselines: str | None = None
    """The folder of the baselines that decided; None: none did."""
    page: Path | None = None
    """The HTML report; None: it was not written, or is elsewhere."""
    resumable: bool = True
    """False: the folder will not be there any more, as on a machine of CI."""

    def accept(self, cases: Sequence[str]) -> str:
        """The command that accepts these cases."""
        return accept_command(cases, self.results, None if self.baselines in (None, "baselines") else self.baselines)


def accept_command(cases: Sequence[str], results: Path, baselines: str | Path | None) -> str:
    """The command that accepts these cases from these results, even if other runs follow."""
    folder = () if baselines is None else ("--baselines", str(baselines))
    return shlex.join(("parity", "baseline", "accept", *cases, "--results", str(results), *folder))


def run_command(files: Sequence[Path], *options: str) -> str:
    """The command that runs the cases of these files, or of their folders."""
    folders = dict.fromkeys(str(file.parent) for file in files)
    given = folders if len(files) > 1 else dict.fromkeys(map(str, files))
    return shlex.join(("parity", "run", *(given if len(given) <= _LISTED else ["cases"]), *options))


def next_steps(cases: Sequence[CaseResult], place: Place) -> list[Step]:
    """Few steps, at most one of each kind; none if no case failed or improved."""
    failed = [case for case in cases if case.failed]
    drifted = [case for case in failed if case.output is not None and case.status == "drifted"]
    steps = [
        _why(drifted),
        _in_comfyui(drifted),
        Step(purpose="to look", command=f"open {place.page}") if failed and place.page is not None else None,
        _intended(drifted, cases, place),
        _smoke_intended(failed, place),
        _tolerance(drifted, place),
        _errors([case for case in failed if case.status == "error"], place),
        _unpairable([case for case in failed if case.status == "unpairable"], place),
        _improved(cases, place),
    ]
    return [step for step in steps if step is not None]


def of_baselines(run: Run, place: Place) -> Step | None:
    """How to use baselines where none decided: those that exist, or after a green run, how to make some."""
    if run.baselines is not None or run.command[1:2] != ("run",):
        return None
    if Path("baselines").is_dir() and not (_all_smoke(run) and not Path("baselines/smoke").is_dir()):
        command = shlex.join((*run.command, "--baselines", "baselines"))
        return Step(purpose="baselines/ exists; to check against it", command=command)
    if run.finished is None or not run.cases or any(case.failed for case in run.cases):
        return None
    command = f"parity baseline accept --all --results {shlex.quote(str(place.results))}"
    return Step(purpose="to accept it as the baseline", command=command)


def _all_smoke(run: Run) -> bool:
    return bool(run.cases) and all(case.smoke is not None for case in run.cases)


def _why(drifted: Sequence[CaseResult]) -> Step | None:
    """The command that explains the worst of the cases that drifted; None if all are explained."""
    unexplained = [case for case in drifted if case.diagnosis is None and case.search is None and not _slow(case)]
    if not unexplained:
        return None
    first = min(unexplained, key=_psnr)
    worst = f" (the worst of {len(unexplained)})" if len(unexplained) > 1 else ""
    if not _comparable(first):
        return Step(purpose=f"to see what differs{worst}", command=shlex.join(("parity", "plan", first.case_file)))
    target = first.target.arguments if first.target is not None else ()
    command = shlex.join(("parity", "diagnose", first.case_file, *target))
    return Step(purpose=f"to see why{worst}", command=command)


def _slow(case: CaseResult) -> bool:
    """Return whether a case fails for its time alone, which no diagnosis explains."""
    return case.baseline is not None and case.baseline.only_slower


def _in_comfyui(drifted: Sequence[CaseResult]) -> Step | None:
    """The command that says what to change in the graph of the worst of the videos that ComfyUI made."""
    changes = ((case, () if case.comfyui is None else case.comfyui.changes) for case in drifted)
    graphs = [case for case, rows in changes if any(row.name != "file" for row in rows)]  # a codec is no setting
    if not graphs:
        return None
    command = shlex.join(("parity", "explain", "--comfyui", min(graphs, key=_psnr).case_file))
    return Step(purpose="what to change in ComfyUI", command=command)


def _psnr(case: CaseResult) -> tuple[bool, float]:
    """The order of cases that drifted: the lowest PSNR first, those that cannot be compared last."""
    metric = case.metrics.get("psnr")
    mean = None if metric is None else metric.mean
    return not _comparable(case), float("inf") if mean is None else mean


def _comparable(case: CaseResult) -> bool:
    return any(metric.unavailable is None for metric in case.metrics.values())


def _intended(drifted: Sequence[CaseResult], cases: Sequence[CaseResult], place: Place) -> Step | None:
    if place.baselines is not None:
        ids = [case.id for case in drifted if case.baseline is not None and case.baseline.acceptable]
        others = [case.id for case in cases if case.output is not None and _must_not_be_accepted(case)]
        return Step(purpose=_INTENDED, command=place.accept(_pattern(ids, others))) if ids else None
    files = [case.case_file for case in drifted if can_be_expected(case)]
    if not files:
        return None
    command = shlex.join(("parity", "expect", *_folder(files), "--results", str(place.results)))
    return Step(purpose=_INTENDED, command=command)


def _smoke_intended(failed: Sequence[CaseResult], place: Place) -> Step | None:
    ids = [case.id for case in failed if case.smoke is not None and case.baseline and case.baseline.acceptable]
    return Step(purpose=_INTENDED, command=place.accept(ids)) if ids else None


def _must_not_be_accepted(case: CaseResult) -> bool:
    """Return whether accepting the case by the way would do more than was asked for."""
    return case.baseline is None or (case.baseline.outcome != "holds" and not case.baseline.acceptable)


def can_be_expected(case: CaseResult) -> bool:
    """Return whether the factors found, written as `expect`, change anything about a case that drifted."""
    found = {finding.factor for finding in case.findings} - {"environment", "broken_output"}
    return bool(found) and found != set(case.expect or ()) - {"environment"}


def _tolerance(drifted: Sequence[CaseResult], place: Place) -> Step | None:
    """Name cases that no factor explains: only another tolerance lets them pass."""
    ids = [case.id for case in drifted if place.baselines is None and not can_be_expected(case)]
    if not ids:
        return None
    return Step(purpose=f"{_INTENDED}, change `tolerance` or `expect` in the case file of {_names(ids)}")


def _errors(errors: Sequence[CaseResult], place: Place) -> Step | None:
    if not errors or not place.resumable:
        return None
    prefix = "--parity-" if place.command[:1] == ("pytest",) else "--"
    out = () if f"{prefix}out" in place.command else (f"{prefix}out", str(place.results.parent))
    resume = () if f"{prefix}resume" in place.command else (f"{prefix}resume",)
    purpose = f"{_names([case.id for case in errors])} could not be run; once that is fixed"
    return Step(purpose=purpose, command=shlex.join((*place.command, *resume, *out)))


def _unpairable(cases: Sequence[CaseResult], place: Place) -> Step | None:
    if not cases:
        return None
    names = _names([case.id for case in cases])
    if place.baselines is not None:
        return Step(
            purpose=f"{names}: accepted, and cannot be reproduced now; restore the preview, or delete the baseline"
        )
    return Step(
        purpose=f"{names}: cannot be reproduced; delete the case file, or check with --baselines, which passes it"
    )


def _improved(cases: Sequence[CaseResult], place: Place) -> Step | None:
    ids = [case.id for case in cases if case.baseline is not None and case.baseline.outcome == "improved"]
    return Step(purpose="to check against what improved", command=place.accept(ids)) if ids else None


def _names(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _LISTED} more" if len(ids) > _LISTED else ""
    return ", ".join(ids[:_LISTED]) + more


def _pattern(ids: Sequence[str], others: Collection[str]) -> list[str]:
    """The ids, or one pattern for many of them, if it matches none of the others."""
    low, high = min(ids, default=""), max(ids, default="")
    prefix = low[: next((k for k, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))]
    plain = not set(prefix) & set("*?[")
    if len(ids) > _LISTED and plain and not any(other.startswith(prefix) for other in others):
        return [f"{prefix}*"]
    return list(ids)


def _folder(files: Sequence[str]) -> list[str]:
    """The files, or the folder that holds all of several: a case that is as expected is left as it is."""
    unique = list(dict.fromkeys(files))
    folders = {str(Path(file).parent) for file in unique}
    return list(folders) if len(unique) > 1 and len(folders) == 1 else unique
