"""The gate inside a run: what was accepted is what the run expects, so status and verdict of a result follow it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from parity.baselines import smoke
from parity.baselines.check import check_case
from parity.baselines.file import Baseline, factors_of
from parity.baselines.noise import Noise
from parity.baselines.smoke import SmokeBaseline
from parity.baselines.stills import copy_stills
from parity.baselines.store import Store
from parity.results.case import FAILING, BaselineResult, CaseResult, Status
from parity.results.words import figure, in_a_line
from pipelines.errors import UsageError
from pipelines.files.content import real_path


@dataclass(frozen=True, slots=True, kw_only=True)
class RunGate:
    """Checks each result of a run against its baseline, as `parity baseline check` would."""

    folder: Path
    baselines: Mapping[str, Baseline]
    noise: Noise
    smoke: Mapping[str, SmokeBaseline] = field(default_factory=dict)
    """Baselines of smoke runs."""

    @staticmethod
    def read(folder: Path, noise: Noise, option: str = "--baselines") -> RunGate:
        """Read the baselines. Raises UsageError if the folder does not exist or a file is not a baseline."""
        store = Store(folder)
        if not store.exists():
            raise UsageError(f"{option}: folder not found: {folder}; `parity baseline accept` creates it")
        return RunGate(folder=folder, baselines=store.read_all(), noise=noise, smoke=smoke.read_all(folder))

    def __call__(self, result: CaseResult, environment: Mapping[str, Any], out: Path | None = None) -> CaseResult:
        """The result with its check, by which status and verdict go. Checking it again changes nothing.

        `out` is the folder of its results.json: the baseline's stills are copied into the case's artifacts there.
        """
        if result.smoke is not None:
            known = self.smoke.get(result.id)
            return smoke.judged(result, smoke.check_smoke(result, environment, known))
        baseline = self.baselines.get(result.id)
        gated = judged(result, check_case(result, environment, baseline, self.noise))
        return gated if out is None or baseline is None else self._with_stills(gated, baseline, out)

    def _with_stills(self, gated: CaseResult, baseline: Baseline, out: Path) -> CaseResult:
        """The result with the stills of what was accepted, if its own are there to compare them with."""
        frames = PurePosixPath(gated.artifacts.get("output_frames", ""))
        place = frames.parent / "baseline_frames"
        if not baseline.stills or not frames.name or not real_path(out / place).is_relative_to(real_path(out)):
            return gated
        problems = copy_stills(baseline, self.folder, out / place)
        check = gated.baseline
        if check is not None and problems:
            gated = dataclasses.replace(gated, baseline=dataclasses.replace(check, notes=(*check.notes, *problems)))
        shown = {"baseline_frames": str(place)} if (out / place).is_dir() else {}
        return dataclasses.replace(gated, artifacts={**gated.artifacts, **shown})


def judged(result: CaseResult, check: BaselineResult) -> CaseResult:
    """The result with status and verdict by its check."""
    own = result.by_own_rules()
    status, verdict = _judged(own, check)
    return dataclasses.replace(own, status=status, verdict=verdict, baseline=check)


def _judged(own: CaseResult, check: BaselineResult) -> tuple[Status, str]:
    """Status and verdict of a case with baselines."""
    if own.output is None:
        accepted = f"; accepted {_day(check)}" if check.accepted_at is not None else ""
        return own.status, own.verdict + accepted
    if check.failed:
        return "error" if own.status == "error" else "drifted", _failure(own, check)
    status: Status = "expected_drift" if own.status in FAILING else own.status
    opening = f"as accepted {_day(check)}" if check.outcome == "holds" else f"closer than accepted {_day(check)}"
    unjudged = "; speed not judged" if own.seconds_ratio is not None and check.slowdown is None else ""
    return status, f"{opening}: {', '.join(_facts(own))}{unjudged}"


def _failure(own: CaseResult, check: BaselineResult) -> str:
    if check.only_slower:
        return f"slower than accepted {_day(check)}: {check.problems[0].removeprefix('slower: ')}"
    if check.accepted_at is None:
        return f"no baseline; by its own rules {own.status}: {own.verdict}"
    return f"changed since it was accepted {_day(check)}: {_sentence(check.problems)}"


def _sentence(problems: tuple[str, ...]) -> str:
    """The problems in one sentence: `all 9 frames changed because of lora_scale 1.0 -> 0.98; further from …`.

    Figures of single frames are left to the list of problems, unless they alone decided.
    """
    text = ""
    for problem in [problem for problem in problems if " of frame " not in problem] or problems:
        text += (" " if problem.startswith("because of ") else "; ") * bool(text) + problem
    return text


def _facts(own: CaseResult) -> list[str]:
    """What is known of an accepted case, in short: its factors and its numbers."""
    factors = factors_of(own)
    numbers = [
        f"{name.upper()} {figure(name, metric.mean)}"
        for name, metric in own.metrics.items()
        if metric.unavailable is None and metric.mean is not None and in_a_line(name, own.tolerance)
    ]
    differs = [f"differs in {', '.join(factors)}"] if factors else []
    if own.bit_identical:
        return [*differs, "bit-identical to the preview"]
    text = "; ".join(numbers) or "not comparable"
    return [f"differs in {', '.join(factors)} ({text})"] if factors else [text]


def _day(check: BaselineResult) -> str:
    """The day of the acceptance, in UTC."""
    return (check.accepted_at or "")[:10]
