"""The line about a finished case, and the reason below it if the case failed."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Literal

from parity.results.case import FAILING, CaseResult, Evidence, Status
from parity.results.words import METRIC_DIGITS, figure, in_a_line
from parity.terminal.text import when

Style = Literal["", "green", "bold red", "bold yellow", "bold", "dim"]

_MARKS: dict[Status, tuple[str, Style]] = {
    "passed": ("ok", "green"),
    "expected_drift": ("ok", "green"),
    "smoke": ("smoke", "green"),
    "drifted": ("DRIFTED", "bold red"),
    "unpairable": ("UNPAIRABLE", "bold yellow"),
    "error": ("ERROR", "bold red"),
}
_EVIDENCE: dict[Evidence, str] = {
    "recipe": "",
    "pixels": "",
    "file": " (by its graph)",
    "reported": " (reported)",
    "likely": " (likely)",
    "expected": " (assumed)",
}
_NUMBERS = re.compile(r" \((?:PSNR|SSIM|LPIPS|VMAF|bit-identical|not comparable)")
"""Where a verdict's numbers begin, which the line has already."""


def case_line(result: CaseResult, *, kept: bool = False) -> list[tuple[str, Style]]:
    """The line in parts, each with its style: what became of a case, its factors and its numbers.

    `kept`: the case was finished before --resume.
    """
    mark, style = _MARKS[result.status]
    parts: list[tuple[str, Style]] = [(mark, style), (result.id, "bold")]
    parts += [(text, "") for text in (_factors(result), *_numbers(result), _speed(result)) if text]
    return [*parts, (_time(result, kept=kept), "dim")]


def reason(result: CaseResult) -> list[str]:
    """Why a case failed, as lines; for a case whose request was not generated, what was found out all the same.

    For one that did not fail: what was asked for and did not run.
    """
    if result.status not in FAILING and result.output is not None:
        return [f"not as asked: {what}" for what in (() if result.ran is None else result.ran.not_as_asked)]
    text = result.verdict
    numbers = _NUMBERS.search(text) if result.status == "drifted" else None
    return (text[: numbers.start()] if numbers is not None else text).splitlines()


def _factors(result: CaseResult) -> str:
    if result.output is None:
        return ""  # the reason names them
    groups: dict[str, list[str]] = {}
    for finding in result.findings:
        groups.setdefault(_EVIDENCE[finding.evidence], []).append(finding.factor)
    names = "; ".join(", ".join(factors) + evidence for evidence, factors in groups.items())
    accepted = _accepted(result)
    if not names or accepted:
        return accepted + (f": {names}" if names else "")
    return f"{'expected drift:' if result.status == 'expected_drift' else 'differs in'} {names}"


def _accepted(result: CaseResult) -> str:
    """When a case was accepted that is as its baseline says, or nearer to the preview; empty for any other."""
    baseline = result.baseline
    if baseline is None or baseline.failed or baseline.accepted_at is None:
        return ""
    return f"{'as' if baseline.outcome == 'holds' else 'closer than'} accepted {baseline.accepted_at[:10]}"


def _numbers(result: CaseResult) -> list[str]:
    if result.bit_identical:
        return ["bit-identical"]
    metrics = {name: result.metrics[name] for name in METRIC_DIGITS if name in result.metrics}
    found = [
        f"{name.upper()} {figure(name, metric.mean)}"
        for name, metric in metrics.items()
        if metric.unavailable is None and metric.mean is not None and in_a_line(name, result.tolerance)
    ]
    return found or (["not comparable"] if result.metrics else [])


def _speed(result: CaseResult) -> str:
    """How the time compares with the accepted one, of a case that limits it."""
    if result.seconds_ratio is None or result.output is None:
        return ""
    slowdown = None if result.baseline is None else result.baseline.slowdown
    return "speed not judged" if slowdown is None else f"{slowdown:.2f} times the accepted seconds"


def _time(result: CaseResult, *, kept: bool) -> str:
    if kept:
        return "finished before --resume"
    parts = [f"{result.seconds:.1f} s"] if result.seconds is not None else []
    if result.drawn_before is not None:
        parts.append(f"cached, generated {when(result.drawn_before)}")
    if result.target is not None:
        parts.append(result.target.url)
    if result.file is not None:
        parts.append(PurePosixPath(result.file.path).name)
    return ", ".join(parts)
