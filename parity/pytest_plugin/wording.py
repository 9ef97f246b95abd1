"""A case as a test: marker names, what a failure says, what JUnit is told. Knows nothing of pytest itself."""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from parity.baselines.check import CaseCheck, check_case
from parity.baselines.file import Baseline
from parity.baselines.gate import accept_command
from parity.baselines.noise import Noise
from parity.baselines.store import Store
from parity.results.case import CaseResult, MetricResult, Run
from parity.run.outdir import write_page
from parity.run.session import Session
from parity.terminal.baselines import check_lines
from parity.terminal.diagnosis import diagnosis_text
from parity.terminal.github import in_github, tell_github
from parity.terminal.text import summary
from pipelines.errors import UsageError

_WORDS = frozenset({"and", "or", "not", "None", "True", "False"})
"""Of `-m`."""
_MARKERS = frozenset(
    {"parametrize", "skip", "skipif", "xfail", "usefixtures", "filterwarnings", "xdist_group", "timeout", "flaky"}
)
"""Markers that do something: a tag must not skip its case."""
_OPTIONS = re.compile(
    r"(?<![\w-])--(?=(?:out|device|offload|resume|no-cache|repeat|timeout|tag|max-size|target|target-lora-root|target-timeout)\b)"
)


def marker_name(tag: str) -> str:
    """The marker that stands for a tag: the tag itself, where `-m` can read it.

    Letters, digits and `_ - . + /` stay, anything else becomes `_`; `tag_` goes before a name that pytest gives a
    meaning of its own, and before one that starts with `_`.
    """
    name = re.sub(r"[^\w.+/-]+", "_", tag)
    return f"tag_{name}" if name in _WORDS | _MARKERS or name[:1] in ("", "_") else name


def in_pytests_words(message: str) -> str:
    """A message of the command line with the options as pytest has them."""
    return _OPTIONS.sub("--parity-", message)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineGate:
    """Baselines as a second gate beside tolerance and `expect`."""

    folder: Path
    baselines: Mapping[str, Baseline]
    noise: Noise

    @staticmethod
    def read(folder: Path, noise: Noise) -> BaselineGate:
        """Raises UsageError if the folder is not there or holds something else."""
        store = Store(folder)
        if not store.exists():
            raise UsageError(f"--parity-baselines {folder}: no such folder; `parity baseline accept` makes one")
        return BaselineGate(folder=folder, baselines=store.read_all(), noise=noise)

    def check(self, result: CaseResult, session: Session) -> CaseCheck:
        """What the gate says of a result of this session."""
        return check_case(result, session.run.environment, self.baselines.get(result.id), self.noise)

    def failure(self, check: CaseCheck, results: Path) -> list[str]:
        """Why it fails, and how to accept it; nothing if it does not."""
        if not check.failed:
            return []
        lines = ["against its baseline:", *check_lines(check, with_environment=True)]
        if check.acceptable:
            lines.append(f"  if this change is intended, run: {accept_command([check.case], results, self.folder)}")
        return lines


def failure(result: CaseResult) -> list[str]:
    """Verdict, factors and what to change of a case that is not as expected; nothing of one that is."""
    if result.status in ("passed", "expected_drift"):
        return []
    lines = [f"{result.status}: {result.verdict}"]
    for finding in result.findings:
        how = "" if finding.evidence == "recipe" else f" ({finding.evidence})"
        lines.append(f"  {finding.factor}: {finding.preview} -> {finding.inference}{how}")
        if finding.fix:
            lines.append(f"    to change: {finding.fix}")
    if result.diagnosis is not None:
        lines += ["diagnosis:", diagnosis_text(result.diagnosis)]
    elif result.status == "drifted":
        there = result.target.arguments if result.target is not None else ()
        lines.append(f"  what each costs: {shlex.join(('parity', 'diagnose', result.case_file, *there))}")
    return lines


def expected_drift(result: CaseResult) -> str | None:
    """Why a case that drifted is as it should be; None if it did not drift."""
    return f"expected drift: {', '.join(result.expect or ())}" if result.status == "expected_drift" else None


def properties(result: CaseResult, report: Path, check: CaseCheck | None = None) -> dict[str, str | float]:
    """What the JUnit report says of a case."""
    told: dict[str, str | float] = {"status": result.status, "verdict": result.verdict, "model": result.model}
    if result.bit_identical is not None:
        told["bit_identical"] = str(result.bit_identical).lower()
    for name, metric in result.metrics.items():
        told |= _figures(name, metric)
    told["factors"] = ", ".join(finding.factor for finding in result.findings) or "none"
    if result.output is not None:
        told["output_sha256"] = result.output.sha256
    if result.repeat is not None:
        told["repeat"] = result.repeat.sentence
    if result.target is not None:
        told["target"] = result.target.url
    if check is not None:
        told["baseline"] = check.outcome
    return told | {"report": str(report)}


def _figures(name: str, metric: MetricResult) -> dict[str, str | float]:
    """Mean and worst; identical frames have no PSNR, which is infinite."""
    if metric.unavailable is not None:
        return {f"{name}_mean": f"unavailable: {metric.unavailable}"}
    return {
        f"{name}_{kind}": "identical" if value is None else round(value, 6)
        for kind, value in (("mean", metric.mean), ("worst", metric.worst))
    }


def conclude(run: Run, out: Path, max_bytes: int) -> list[str]:
    """Write the report and tell GitHub, as `parity run` does. Returns what is left to say.

    Raises MediaError if the report cannot be written.
    """
    page = write_page(run, out, max_bytes)
    unfinished = "" if run.finished else "; the run was stopped, not every case was run"
    lines = [f"wan-parity: {summary(run)}{unfinished}", str(out / "results.json"), str(page)]
    if in_github():
        stream = io.StringIO()
        try:
            tell_github(run, out, stream)
        except UsageError as error:  # results and exit code stay as they are
            lines.append(f"parity: {error}")
        lines += stream.getvalue().splitlines()
    return lines
