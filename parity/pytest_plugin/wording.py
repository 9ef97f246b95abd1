"""Texts of a case as a test: marker names, failures, JUnit properties. Independent of pytest itself."""

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

_KEYWORDS = frozenset({"and", "or", "not", "None", "True", "False"})
"""Keywords in `-m` expressions."""
_MARKERS = frozenset(
    {"parametrize", "skip", "skipif", "xfail", "usefixtures", "filterwarnings", "xdist_group", "timeout", "flaky"}
)
"""Markers with an effect: a tag must not skip its case."""
_OPTIONS = re.compile(
    r"(?<![\w-])--(?=(?:out|device|offload|resume|no-cache|repeat|timeout|tag|max-size|target|target-lora-root|target-timeout)\b)"
)


def marker_name(tag: str) -> str:
    """The marker for a tag: the tag itself, if `-m` can read it.

    Letters, digits and `_ - . + /` stay, anything else becomes `_`; `tag_` is put before a name with a meaning in
    pytest, and before one that starts with `_`.
    """
    name = re.sub(r"[^\w.+/-]+", "_", tag)
    return f"tag_{name}" if name in _KEYWORDS | _MARKERS or name[:1] in ("", "_") else name


def in_pytests_words(message: str) -> str:
    """A message of the command line, with the option names that pytest has."""
    return _OPTIONS.sub("--parity-", message)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineGate:
    """Baselines as a second gate beside tolerance and `expect`."""

    folder: Path
    baselines: Mapping[str, Baseline]
    noise: Noise

    @staticmethod
    def read(folder: Path, noise: Noise) -> BaselineGate:
        """Read the baselines. Raises UsageError if the folder does not exist or a file is not a baseline."""
        store = Store(folder)
        if not store.exists():
            raise UsageError(f"--parity-baselines: folder not found: {folder}; `parity baseline accept` creates it")
        return BaselineGate(folder=folder, baselines=store.read_all(), noise=noise)

    def check(self, result: CaseResult, session: Session) -> CaseCheck:
        """Check a result of this session against its baseline."""
        return check_case(result, session.run.environment, self.baselines.get(result.id), self.noise)

    def failure(self, check: CaseCheck, results: Path) -> list[str]:
        """Lines that say why the check fails and how to accept the change; empty if it passes."""
        if not check.failed:
            return []
        lines = ["compared with its baseline:", *check_lines(check, with_environment=True)]
        if check.acceptable:
            lines.append(f"  if this change is intended, run: {accept_command([check.case], results, self.folder)}")
        return lines


def failure(result: CaseResult) -> list[str]:
    """Lines with the verdict, the factors and what to change; empty for a case that is as expected."""
    if result.status in ("passed", "expected_drift"):
        return []
    lines = [f"{result.status}: {result.verdict}"]
    for finding in result.findings:
        evidence = "" if finding.evidence == "recipe" else f" ({finding.evidence})"
        lines.append(f"  {finding.factor}: {finding.preview} -> {finding.inference}{evidence}")
        if finding.fix:
            lines.append(f"    change: {finding.fix}")
    if result.diagnosis is not None:
        lines += ["diagnosis:", diagnosis_text(result.diagnosis)]
    elif result.status == "drifted":
        target = result.target.arguments if result.target is not None else ()
        lines.append(
            f"  to find out which matters most: {shlex.join(('parity', 'diagnose', result.case_file, *target))}"
        )
    return lines


def expected_drift(result: CaseResult) -> str | None:
    """The reason of an xfail for a case that drifted as expected; None for any other case."""
    return f"expected drift: {', '.join(result.expect or ())}" if result.status == "expected_drift" else None


def properties(result: CaseResult, report: Path, check: CaseCheck | None = None) -> dict[str, str | float]:
    """The properties of a case in the JUnit report."""
    values: dict[str, str | float] = {"status": result.status, "verdict": result.verdict, "model": result.model}
    if result.bit_identical is not None:
        values["bit_identical"] = str(result.bit_identical).lower()
    for name, metric in result.metrics.items():
        values |= _figures(name, metric)
    values["factors"] = ", ".join(finding.factor for finding in result.findings) or "none"
    if result.output is not None:
        values["output_sha256"] = result.output.sha256
    if result.repeat is not None:
        values["repeat"] = result.repeat.sentence
    if result.target is not None:
        values["target"] = result.target.url
    if check is not None:
        values["baseline"] = check.outcome
    return values | {"report": str(report)}


def _figures(name: str, metric: MetricResult) -> dict[str, str | float]:
    """A metric's mean and worst frame; the PSNR of identical frames, which is infinite, is `identical`."""
    if metric.unavailable is not None:
        return {f"{name}_mean": f"unavailable: {metric.unavailable}"}
    return {
        f"{name}_{kind}": "identical" if value is None else round(value, 6)
        for kind, value in (("mean", metric.mean), ("worst", metric.worst))
    }


def conclude(run: Run, out: Path, max_bytes: int) -> list[str]:
    """Write the report and GitHub's summary, as `parity run` does. Returns the lines to print.

    Raises MediaError if the report cannot be written.
    """
    page = write_page(run, out, max_bytes)
    unfinished = "" if run.finished else "; the run was stopped before all cases were run"
    lines = [f"wan-parity: {summary(run)}{unfinished}", str(out / "results.json"), str(page)]
    if in_github():
        stream = io.StringIO()
        try:
            tell_github(run, out, stream)
        except UsageError as error:  # results and exit code stay as they are
            lines.append(f"parity: {error}")
        lines += stream.getvalue().splitlines()
    return lines
