"""Texts of a case as a test: marker names, failures, JUnit properties. Independent of pytest itself."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

from parity.results.case import FAILING, CaseResult, Run
from parity.results.next_steps import Place, next_steps
from parity.run.outdir import write_page
from parity.run.runner import CaseRunner
from parity.terminal.baselines import check_lines
from parity.terminal.diagnosis import diagnosis_text
from parity.terminal.github import in_github, tell_github
from parity.terminal.text import Lines, lines, summary
from pipelines.errors import UsageError
from pipelines.files.shown import message, shown
from reports import junit

_KEYWORDS = frozenset({"and", "or", "not", "None", "True", "False"})
"""Keywords in `-m` expressions."""
_MARKERS = frozenset(
    {"parametrize", "skip", "skipif", "xfail", "usefixtures", "filterwarnings", "xdist_group", "timeout", "flaky"}
)
"""Markers with an effect: a tag must not skip its case."""
_OPTIONS = re.compile(
    r"(?<![\w-])--(?=(?:out|device|offload|resume|no-cache|repeat|timeout|isolate|tag|max-size|target|target-lora-root|target-timeout)\b)"
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


def place_of(session: CaseRunner) -> Place:
    """Where the results of a session's cases are; of a worker's session, where they will be merged."""
    options = session.options
    return Place(
        results=session.out.whole,
        command=options.command,
        baselines=options.baselines,
        page=session.out.whole.with_name("report.html"),
    )


def failure(result: CaseResult, place: Place) -> list[str]:
    """Lines with the verdict, the factors, what to change and what to type; empty for a case that is as expected."""
    if not result.failed:
        return []
    parts: list[str] = [Lines(message(f"{result.status}: {result.verdict}"))]
    if result.baseline is not None:
        parts = ["compared with its baseline:", *check_lines(result.id, result.baseline, with_environment=True)]
    if result.by_own_rules().status in FAILING:
        parts += _findings(result)
    if result.diagnosis is not None:
        parts += ["diagnosis:", diagnosis_text(result.diagnosis)]
    return lines(*parts, *map(str, next_steps([result], place))).split("\n")


def _findings(result: CaseResult) -> Iterator[str]:
    for finding in result.findings:
        evidence = "" if finding.evidence == "recipe" else f" ({finding.evidence})"
        yield f"  {finding.factor}: {finding.preview} -> {finding.inference}{evidence}"
        if finding.fix:
            yield f"    change: {finding.fix}"


def why_xfail(result: CaseResult) -> str | None:
    """The reason of an xfail: drift as expected or accepted, or a preview that nobody demands; None for other cases."""
    if result.failed or result.status == "passed":
        return None
    if result.status == "expected_drift" and result.baseline is None:
        return f"expected drift: {', '.join(result.expect or ())}"
    return result.verdict


def properties(result: CaseResult, report: Path) -> dict[str, str | float]:
    """The properties of a case in the JUnit report."""
    return junit.properties(result) | {"report": str(report)}


def conclude(run: Run, out: Path, max_bytes: int) -> list[str]:
    """Write the report and GitHub's summary, as `parity run` does. Returns the lines to print.

    Raises MediaError if the report cannot be written.
    """
    page = write_page(run, out, max_bytes)
    unfinished = "" if run.finished else "; the run was stopped before all cases were run"
    told = [f"wan-parity: {summary(run)}{unfinished}", shown(out / "results.json"), shown(page)]
    if in_github():
        stream = io.StringIO()
        try:
            tell_github(run, out, stream)
        except UsageError as error:  # results and exit code stay as they are
            told.append(f"parity: {error}")
        told += stream.getvalue().splitlines()
    return told
