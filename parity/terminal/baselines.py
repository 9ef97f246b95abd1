"""Baselines and the gate on them, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from parity.baselines.accept import LeftOut, Proposal, mean_text
from parity.baselines.check import CaseCheck
from parity.baselines.file import Baseline
from parity.baselines.gate import Checked, Gate, accept_command
from parity.baselines.sources import Source
from parity.terminal.text import count_of, table

_WORDS = {"no_baseline": "NO BASELINE", "not_run": "NOT RUN"}
_COUNTED = {"holds": "hold", "no_baseline": "without baseline", "not_run": "not run"}


def sources_text(sources: Sequence[Source]) -> str:
    """Which results are meant: the default is the last run, and that may be another than one thinks."""
    return "\n".join(
        f"{item.path}: run of {item.run.started}, {count_of(len(item.run.cases))}"
        + ("" if item.run.finished else ", not finished")
        for item in sources
    )


def proposals_text(proposals: Sequence[Proposal], left_out: Sequence[LeftOut]) -> str:
    """What accepting changes."""
    rows: list[tuple[str, ...]] = [(item.baseline.case, item.kind, _proposal_words(item)) for item in proposals]
    rows += [(item.case, "left out", item.reason) for item in left_out]
    return table(rows) if rows else "  nothing to accept"


def _proposal_words(item: Proposal) -> str:
    if item.kind == "new":
        numbers = ", ".join(f"{name} {mean_text(item.baseline, name)}" for name in item.baseline.metrics)
        return f"{item.baseline.accepted.status}; {numbers or 'no metric: the preview has another shape'}"
    return ", ".join(item.changes)


def gate_text(gate: Gate, baselines: Path | None) -> str:
    """Failures first, then what holds, what is said of environments, and the commands that accept."""
    ordered = sorted(gate.cases, key=lambda item: not item.check.failed)
    lines = [line for item in ordered for line in check_lines(item.check)]
    lines += _environments(gate.cases)
    lines += [f"baseline not used: {name} is not in this run" for name in gate.unused]
    lines += [
        f"FAILED: {path} is of a run that did not finish; what is missing was not checked" for path in gate.unfinished
    ]
    counts: dict[str, int] = {}
    for item in gate.cases:
        counts[item.check.outcome] = counts.get(item.check.outcome, 0) + 1
    words = ", ".join(f"{count} {_COUNTED.get(outcome, outcome)}" for outcome, count in sorted(counts.items()))
    lines.append(f"{count_of(len(gate.cases))}: {words}")
    lines += _accepting(gate.cases, baselines)
    return "\n".join(lines)


def check_lines(check: CaseCheck, *, with_environment: bool = False) -> list[str]:
    """A line with the outcome, and one for each reason."""
    how = " by tolerance" if check.compared == "tolerance" else ""
    if check.failed:
        outcome = _WORDS.get(check.outcome, check.outcome.upper())
    else:
        outcome = "ok: holds" if check.outcome == "holds" else f"ok: {check.outcome}"
        how = how or (" to the bit" if check.outcome == "holds" else "")
    lines = [f"  {check.case}: {outcome}{how}"]
    lines += [f"      {reason}" for reason in (*check.problems, *check.notes)]
    if with_environment and check.environment:
        lines.append(f"      another environment: {', '.join(check.environment)}")
    return lines


def _environments(cases: Sequence[Checked]) -> list[str]:
    """Each way in which an environment differs, once."""
    counts: dict[tuple[tuple[str, ...], str | None], int] = {}
    for item in cases:
        if item.check.environment:
            key = (item.check.environment, item.check.compared)
            counts[key] = counts.get(key, 0) + 1
    how = {"tolerance": "compared by tolerance", "bits": "bits are equal all the same"}
    return [
        f"another environment for {count_of(count)} ({how[compared or 'bits']}): {', '.join(changes)}"
        for (changes, compared), count in counts.items()
    ]


def _accepting(cases: Sequence[Checked], baselines: Path | None) -> list[str]:
    by_results: dict[Path, list[str]] = {}
    for item in cases:
        if item.check.acceptable and item.source is not None:
            by_results.setdefault(item.source.path, []).append(item.check.case)
    return [f"if it is right so: {accept_command(ids, path, baselines)}" for path, ids in by_results.items()]


def baselines_text(baselines: Sequence[Baseline]) -> str:
    """One row a baseline."""
    rows: list[tuple[str, ...]] = [
        ("case", "file sha256", "video", "psnr", "ssim", "lpips", "accepted", "of the run", "status", "environment")
    ]
    for item in baselines:
        output = item.output
        rows.append(
            (
                item.case,
                output.sha256[:12],
                f"{output.frames} x {output.width}x{output.height}",
                *(_with_worst(item, name) for name in ("psnr", "ssim", "lpips")),
                item.accepted.at,
                item.accepted.run_started,
                item.accepted.status,
                _environment(item),
            )
        )
    return table(rows, indent="")


def _with_worst(baseline: Baseline, name: str) -> str:
    metric = baseline.metrics.get(name)
    values = [value for value in metric.per_frame if value is not None] if metric else []
    if metric is None or not values:
        return mean_text(baseline, name)
    worst = min(values) if metric.higher_is_better else max(values)
    return (
        f"{mean_text(baseline, name)} ({worst:.2f})" if name == "psnr" else f"{mean_text(baseline, name)} ({worst:.4f})"
    )


def _environment(baseline: Baseline) -> str:
    environment = baseline.environment
    device = environment.get("gpu") or f"{environment.get('cpu')} {environment.get('cpu_capability')}"
    versions = environment.get("versions")
    if not isinstance(versions, Mapping):  # of another version, or edited: a baseline's environment is kept as it comes
        versions = {}
    return f"{device}, torch {versions.get('torch')}, diffusers {versions.get('diffusers')}"
