"""The matrix of planted cases, in which every factor drifts alone and with others, and whether each was found."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from parity.case.load import load_case
from parity.case.progress import Progress
from parity.comparison.compare import read_preview
from parity.diagnosis.counterfactuals import make_plan
from parity.diagnosis.lab import Lab
from parity.diagnosis.quick import BUDGET, diagnose_quickly, make_quick_plan
from parity.results.diagnosis import Search, Verdict
from parity.run.options import Options
from parity.run.session import Session
from parity.run.task import Task
from parity.selftest.planted import HIDDEN, WAN21, WAN22, WAN22_5B, Hidden, Kind, Plant, combinations, singles
from parity.selftest.workshop import Workshop
from pipelines.engine.engine import Engine
from pipelines.recipe import Recipe, to_dict


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One planted case and what was found in it."""

    kind: Kind
    planted: tuple[str, ...]
    """The planted factors, with their values in brackets."""
    factors: frozenset[str]
    findings: frozenset[str]
    diagnosed: frozenset[str]
    """The smallest set of fixes that the diagnosis found."""
    explained: bool
    first: str | None
    """The factor ranked first by the full diagnosis."""
    first_quick: str | None
    spent: float
    steps: int
    """Denoising steps of the full diagnosis, by the engine's counter."""
    expected_steps: int
    """Denoising steps in its plan."""
    spent_gains: float
    spent_quick: float
    seconds: float

    @property
    def exact(self) -> bool:
        return self.factors == self.findings == self.diagnosed and self.explained

    @property
    def within_cost(self) -> bool:
        k = len(self.factors)
        return (
            self.spent <= 2 * k + 2
            and self.spent_gains <= k + 2
            and self.spent_quick <= BUDGET + 1e-9
            and self.steps <= self.expected_steps
        )

    @property
    def same_first(self) -> bool:
        return self.first == self.first_quick


def matrix(kinds: Sequence[Kind], count: int) -> list[tuple[Kind, tuple[Plant, ...]]]:
    """Every plant alone and `count` combinations, for each kind."""
    return [(kind, plants) for kind in kinds for plants in (*singles(kind), *combinations(kind, count))]


def run_matrix(
    cases: Sequence[tuple[Kind, tuple[Plant, ...]]], folder: Path, progress: Progress, engine: Engine
) -> Iterator[Row]:
    """Diagnose every planted case three times: in full, by gains only, and quickly. Yields a row for each case."""
    workshop = Workshop(folder / "jobs", engine)
    with (
        Session(Options(out=folder / "full", task=Task(diagnose="full", stills=0)), engine) as full,
        Session(Options(out=folder / "gains", task=Task(diagnose="gains", stills=0)), engine) as gains,
    ):
        for number, (kind, plants) in enumerate(cases, 1):
            yield _row(workshop, full, gains, kind, plants, f"{number:03d}-{kind}", progress)


def _row(
    workshop: Workshop, full: Session, gains: Session, kind: Kind, plants: tuple[Plant, ...], name: str, quiet: Progress
) -> Row:
    clock = time.perf_counter()
    case = load_case(workshop.case(kind, plants, name))
    result = full.run_case(case, quiet)
    diagnosis, by_gains = result.diagnosis, gains.run_case(case, quiet).diagnosis
    lab = Lab(full.engine, case, read_preview(case.video, case.preview), quiet)
    quick = diagnose_quickly(lab, make_quick_plan(case))
    assert diagnosis is not None, result.verdict
    assert by_gains is not None
    assert diagnosis.cost is not None
    assert by_gains.cost is not None
    return Row(
        kind=kind,
        planted=tuple(f"{plant.factor} ({plant.value})" for plant in plants),
        factors=frozenset(plant.factor for plant in plants),
        findings=frozenset(finding.factor for finding in result.findings),
        diagnosed=frozenset(diagnosis.smallest_set or ()),
        explained=bool(diagnosis.explained),
        first=diagnosis.factors[0].factor if diagnosis.factors else None,
        first_quick=next((cost.factor for cost in quick.factors if cost.rank == 1), None),
        spent=diagnosis.cost.spent,
        steps=diagnosis.cost.denoising_steps,
        expected_steps=make_plan(case).denoising_steps,
        spent_gains=by_gains.cost.spent,
        spent_quick=lab.spent,
        seconds=time.perf_counter() - clock,
    )


def verdict(rows: Sequence[Row]) -> tuple[bool, list[str]]:
    """Return whether every check passed, and the totals as text.

    `--quick` runs fewer steps. Their number changes how many of them each of Wan 2.2's experts runs, so there its order
    is only a hint; so it is for 5B, of whose 44 cases one is ranked otherwise (tiles beside a scheduler, one frame).
    """
    planted = sum(len(row.factors) for row in rows)
    checks: list[tuple[str, Callable[[Row], frozenset[str]]]] = [
        ("findings", lambda row: row.findings),
        ("diagnosis", lambda row: row.diagnosed),
    ]
    lines = []
    for name, found in checks:
        right = sum(len(found(row) & row.factors) for row in rows)
        named = sum(len(found(row)) for row in rows)
        lines.append(f"{name}: precision {right / max(named, 1):.3f}, recall {right / max(planted, 1):.3f}")
    exact = sum(row.exact for row in rows)
    cheap = sum(row.within_cost for row in rows)
    lines.append(f"exact and bit-identical: {exact} of {len(rows)}")
    held = exact == cheap == len(rows)
    groups = (("Wan 2.1", WAN21, True), ("Wan 2.2 (only a hint)", (*WAN22, *WAN22_5B), False))
    for name, kinds, demanded in groups:
        some = [row for row in rows if row.kind in kinds]
        same = sum(row.same_first for row in some)
        lines += [f"--quick ranks the same factor first: {same} of {len(some)} of {name}"] if some else []
        held = held and (same == len(some) or not demanded)
    lines.append(f"within 2k + 2, k + 2 and {BUDGET:g} generations: {cheap} of {len(rows)}")
    return held, lines


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRow:
    """One preview and what a search found for it."""

    kind: Kind
    hidden: str
    verdict: str
    found: str
    """The settings that were found to differ from the config."""
    exact: bool
    """True if the verdict is as expected and, for `proven`, the recipe is the one that generated the preview."""
    spent: float
    seconds: float


Unknown = Hidden | Literal["another model's video", "another machine's video"]
"""The unknown of a search: a setting missing from its config, or a video that no hypothesis reproduces."""


def unknowns(kinds: Sequence[Kind]) -> list[tuple[Kind, Unknown]]:
    """Every setting hidden alone, for each kind; for Wan 2.1 also the two videos without a proof."""
    videos: tuple[Unknown, ...] = ("another model's video", "another machine's video")
    hidden: list[tuple[Kind, Unknown]] = [(kind, item) for kind in kinds for item in HIDDEN if kind in item.kinds]
    return [*hidden, *((kind, video) for kind in kinds if kind in WAN21 for video in videos)]


def run_searches(
    cases: Sequence[tuple[Kind, Unknown]], folder: Path, progress: Progress, engine: Engine
) -> Iterator[SearchRow]:
    """Search every preview. Yields a row for each."""
    workshop = Workshop(folder / "hidden", engine)
    with Session(Options(out=folder / "search", task=Task(search=True)), engine) as session:
        for kind, unknown in cases:
            clock = time.perf_counter()
            expected, path, recipe = _unknown_case(workshop, kind, unknown)
            found = session.run_case(load_case(path), progress).search
            assert found is not None
            assert found.cost is not None
            changed = [f"{setting.name} {setting.found}" for setting in found.settings if setting.changed]
            yield SearchRow(
                kind=kind,
                hidden=unknown if isinstance(unknown, str) else f"{unknown.setting} ({unknown.value})",
                verdict=found.verdict,
                found=", ".join(changed),
                exact=found.verdict == expected and (recipe is None or _same(found, recipe)),
                spent=found.cost.spent,
                seconds=time.perf_counter() - clock,
            )


def _unknown_case(workshop: Workshop, kind: Kind, unknown: Unknown) -> tuple[Verdict, Path, Recipe | None]:
    """The expected verdict, the case file, and the recipe to be found."""
    if unknown == "another model's video":
        return "not found", workshop.foreign_case(kind), None
    if unknown == "another machine's video":
        return "likely", workshop.elsewhere_case(kind), None
    assert isinstance(unknown, Hidden)
    return "proven", *workshop.hidden_case(unknown, kind)


def _same(found: Search, recipe: Recipe) -> bool:
    """Return whether the hypothesis is the recipe that generated the preview, as far as a video can tell."""
    return all(_applied(found.recipe[name]) == _applied(value) for name, value in to_dict(recipe).items())


def _applied(value: object) -> object:
    """The part of `{asked, applied}` that a search can find out."""
    return value["applied"] if isinstance(value, dict) and "applied" in value else value
