"""Text about baselines: the list of them, what accepting changes, and how a check against them came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from parity.baselines.accept import LeftOut, Proposal, mean_text
from parity.baselines.accept_smoke import SmokeProposal
from parity.baselines.file import Baseline
from parity.baselines.gate import Checked, Gate
from parity.baselines.sources import Source
from parity.results.case import BaselineResult, CaseResult
from parity.results.next_steps import Place, next_steps
from parity.results.words import METRIC_DIGITS, figure
from parity.terminal.text import Lines, lines, table
from pipelines.files.words import plural

_OUTCOMES = {"no_baseline": "NO BASELINE", "not_run": "NOT RUN"}
_COUNTED = {"holds": "unchanged", "no_baseline": "without baseline", "not_run": "not run"}


def sources_text(sources: Sequence[Source]) -> Lines:
    """Say which results are used: by default the last full run's, which may not be the one the user has in mind."""
    return lines(
        *(
            ("used: " if item.note else "")
            + f"{item.path}: run of {item.run.started}, {plural(len(item.run.cases), 'case')}"
            + ("" if item.run.finished else ", not finished")
            + (f", {item.run.shard}" if item.run.shard else "")
            + (f"; {item.note}" if item.note else "")
            for item in sources
        )
    )


def proposals_text(
    proposals: Sequence[Proposal], left_out: Sequence[LeftOut], smokes: Sequence[SmokeProposal] = ()
) -> Lines:
    """A table of what accepting would change."""
    rows: list[tuple[str, ...]] = [(item.baseline.case, item.kind, _proposal_words(item)) for item in proposals]
    rows += [(item.baseline.case, item.kind, "; ".join(("smoke run", *item.changes))) for item in smokes]
    rows += [(item.case, "left out", item.reason) for item in left_out]
    notes = [f"  {item.baseline.case}: {note}" for item in proposals for note in item.notes]
    return lines(table(rows) if rows else "  nothing to accept", *notes)


def _proposal_words(item: Proposal) -> str:
    if item.kind == "new":
        numbers = ", ".join(f"{name} {mean_text(item.baseline, name)}" for name in item.baseline.metrics)
        return (
            f"{item.baseline.accepted.status}; {numbers or 'no metrics: size or frame count differs from the preview'}"
        )
    return ", ".join(item.changes)


def gate_text(gate: Gate, baselines: Path | None) -> Lines:
    """Failures first, then unchanged cases, differing environments, counts, and what to type next."""
    ordered = sorted(gate.cases, key=lambda item: not item.check.failed)
    parts = [line for item in ordered for line in check_lines(item.case, item.check)]
    parts += _environments(gate.cases)
    parts += [f"baseline not checked: {name} is not in this run" for name in gate.unused]
    parts += [
        f"FAILED: {path}: the run did not finish; cases missing from it were not checked" for path in gate.unfinished
    ]
    parts += [f"FAILED: {missing}" for missing in gate.missing]
    counts: dict[str, int] = {}
    for item in gate.cases:
        counts[item.check.outcome] = counts.get(item.check.outcome, 0) + 1
    counted = ", ".join(f"{count} {_COUNTED.get(outcome, outcome)}" for outcome, count in sorted(counts.items()))
    parts.append(f"{plural(len(gate.cases), 'case')}: {counted}")
    parts += _next(gate.cases, baselines)
    return lines(*parts)


def check_lines(case: str, check: BaselineResult, *, with_environment: bool = False) -> list[str]:
    """One line with the outcome, and one for each reason."""
    by_tolerance = check.compared == "tolerance"
    if check.outcome == "holds":
        outcome = f"ok: unchanged ({'within tolerance' if by_tolerance else 'bit-identical'})"
    else:
        outcome = _OUTCOMES.get(check.outcome, check.outcome.upper()) if check.failed else f"ok: {check.outcome}"
        outcome += " (compared by tolerance)" if by_tolerance else ""
    found = [f"  {case}: {outcome}"]
    found += [f"      {reason}" for reason in (*check.problems, *check.notes)]
    if with_environment and check.environment:
        found.append(f"      different environment: {', '.join(check.environment)}")
    return found


def _environments(cases: Sequence[Checked]) -> list[str]:
    """One line for each set of environment differences."""
    counts: dict[tuple[tuple[str, ...], str | None], int] = {}
    for item in cases:
        if item.check.environment:
            key = (item.check.environment, item.check.compared)
            counts[key] = counts.get(key, 0) + 1
    how = {"tolerance": "compared by tolerance", "bits": "bit-identical all the same"}
    return [
        f"different environment for {plural(count, 'case')} ({how[compared or 'bits']}): {', '.join(changes)}"
        for (changes, compared), count in counts.items()
    ]


def _next(cases: Sequence[Checked], baselines: Path | None) -> list[str]:
    """What to type next, for each results.json."""
    by_results: dict[Path, tuple[Place, list[CaseResult]]] = {}
    for item in cases:
        if item.result is not None and item.source is not None:
            place = _place(item.source, baselines)
            by_results.setdefault(item.source.path, (place, []))[1].append(item.result)
    return [str(step) for place, results in by_results.values() for step in next_steps(results, place)]


def _place(source: Source, baselines: Path | None) -> Place:
    page = source.path.with_name("report.html")
    return Place(
        results=source.path,
        command=source.run.command,
        baselines=str(baselines or "baselines"),
        page=page if page.exists() else None,
    )


def baselines_text(baselines: Sequence[Baseline]) -> Lines:
    """A table with one row per baseline, and a column per metric that one of them has."""
    names = [name for name in METRIC_DIGITS if any(name in item.metrics for item in baselines)]
    seconds = ("seconds",) if any(item.speed is not None for item in baselines) else ()
    rows: list[tuple[str, ...]] = [
        ("case", "file sha256", "video", "stills", *names, *seconds, "accepted", "run started", "status", "environment")
    ]
    for item in baselines:
        output = item.output
        rows.append(
            (
                item.case,
                output.sha256[:12],
                f"{output.frames} x {output.width}x{output.height}",
                str(len(item.stills) or "-"),
                *(_with_worst(item, name) for name in names),
                *("-" if item.speed is None else f"{item.speed.seconds:.3g}" for _ in seconds),
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
    return f"{mean_text(baseline, name)} ({figure(name, worst, unit=False)})"


def _environment(baseline: Baseline) -> str:
    environment = baseline.environment
    device = environment.get("gpu") or f"{environment.get('cpu')} {environment.get('cpu_capability')}"
    versions = environment.get("versions")
    if not isinstance(versions, Mapping):  # the file was edited, or written by another version of wan-parity
        versions = {}
    return f"{device}, torch {versions.get('torch')}, diffusers {versions.get('diffusers')}"
