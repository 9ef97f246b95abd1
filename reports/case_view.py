"""A case as the page shows it: as a row of the overview, and with everything in its section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from parity.results.case import CaseResult
from parity.results.frames import leading_metric, worst_frame, worst_frames
from reports import view
from reports.answer import answer
from reports.answer_parts import Answer
from reports.baseline_view import Approval, BaselineView, approval, baseline_view
from reports.counterfactuals import Counterfactuals, counterfactuals
from reports.diagnosis_charts import Chart, sigma_chart
from reports.diagnosis_view import DiagnosisView, SearchView, diagnosis_view, search_view
from reports.stills import Album

_STRIP = 6
"""Frames in the strip of the worst ones."""


@dataclass(frozen=True, kw_only=True)
class CaseView:
    """A case and its place in the page, with what its row shows."""

    case: CaseResult
    index: int
    """The place in the run, by which the page's script finds the case's data."""
    anchor: str
    """`case-<id>`; numbered from the second case of that id on."""
    stills: Album

    @property
    def order(self) -> int:
        """The place of its status, failures first."""
        return view.ORDER.index(self.case.status)

    @property
    def seconds(self) -> float | None:
        return self.case.seconds

    @cached_property
    def answer(self) -> Answer:
        return answer(self.case)

    @property
    def approval(self) -> Approval | None:
        """What approving does; None: there is nothing to approve."""
        return approval(self.case)


@dataclass(frozen=True, kw_only=True)
class Details(CaseView):
    """A case as its section shows it, made when it is asked for: of many cases most have no details in the page."""

    environment: Mapping[str, Any]
    """That of the run."""

    @classmethod
    def of(cls, one: CaseView, environment: Mapping[str, Any]) -> Details:
        """The details of a case of a run in that environment."""
        return cls(case=one.case, index=one.index, anchor=one.anchor, stills=one.stills, environment=environment)

    @property
    def worst_frame(self) -> int | None:
        return worst_frame(self.case)

    @cached_property
    def worst_frames(self) -> list[tuple[int, float]]:
        """The worst frames with their values, the worst first."""
        return worst_frames(self.case, _STRIP)

    @property
    def worst_metric(self) -> view.MetricName | None:
        return next((name for name in view.METRICS if name.key == leading_metric(self.case)), None)

    @cached_property
    def times(self) -> dict[str, float]:
        return view.times(self.case)

    @property
    def originals(self) -> list[tuple[str, str]]:
        """The videos beside the page, by name and path."""
        return view.originals(self.case)

    @cached_property
    def recipe_rows(self) -> list[view.Row]:
        return view.recipe_rows(self.case.recipes)

    @property
    def missing_factors(self) -> tuple[str, ...]:
        """Factors that were expected but not found."""
        found = {finding.factor for finding in self.case.findings}
        return tuple(factor for factor in self.case.expect or () if factor not in found)

    @cached_property
    def why(self) -> DiagnosisView | None:
        return diagnosis_view(self.case.diagnosis) if self.case.diagnosis is not None else None

    @cached_property
    def matter(self) -> Counterfactuals | None:
        """The pictures of its diagnosis."""
        return counterfactuals(self.case, self.stills)

    @cached_property
    def search(self) -> SearchView | None:
        return search_view(self.case.search) if self.case.search is not None else None

    @property
    def sigmas(self) -> Chart | None:
        """Both schedules, unless the diagnosis already shows them."""
        why = self.why
        shown = why is not None and why.origin is not None and why.origin.sigmas is not None
        return None if shown else sigma_chart(self.case.sigmas)

    @property
    def reproduce(self) -> str:
        """The command that runs the case again."""
        return view.reproduce(self.case, self.environment)

    @cached_property
    def baseline(self) -> BaselineView | None:
        """The comparison with what was accepted, and the pictures of it in the page."""
        return baseline_view(self.case, self.stills)

    @property
    def parts(self) -> list[tuple[str, str]]:
        """The parts that a link can name, with what the links say, in their order on the page."""
        case = self.case
        found = {
            "why": ("Answer", True),
            "baseline": ("Baseline", self.baseline is not None),
            "frames": ("Frames", self.shows_frames),
            "factors": ("Does it matter?" if self.why else "What was tried", bool(self.why or self.search)),
            "metrics": ("Metrics", bool(case.metrics)),
            "findings": ("Findings", bool(case.findings or self.missing_factors)),
            "recipes": ("Settings", bool(self.recipe_rows)),
            "comfyui": ("In ComfyUI", case.comfyui is not None),
            "files": ("Files", True),
        }
        return [(name, label) for name, (label, exists) in found.items() if exists]

    @property
    def shows_frames(self) -> bool:
        """True if there is something for the frame viewer: stills, or a metric with a number for every frame."""
        curves = any(metric.per_frame and metric.unavailable is None for metric in self.case.metrics.values())
        stills = bool(self.stills.found or self.stills.problems)
        return bool(self.case.preview or self.case.output) and (stills or curves)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """A group of rows in the overview."""

    key: str
    title: str
    cases: list[CaseView]


def case_views(order: Sequence[tuple[int, CaseResult]], books: Sequence[Album]) -> list[CaseView]:
    """The cases of a run in the order of the page, each with its place in the run."""
    anchors = _anchors([case for _, case in order])
    return [
        CaseView(case=case, index=index, anchor=anchor, stills=book)
        for (index, case), book, anchor in zip(order, books, anchors, strict=True)
    ]


def tiers(cases: Sequence[CaseView]) -> list[Tier]:
    """Failures, then drift as expected, then what passed; without those that hold no case."""
    titles = {
        "failed": "Failed",
        "expected_drift": "Drifted exactly as expected",
        "smoke": "Smoke runs",
        "passed": "Passed",
    }
    kept: dict[str, list[CaseView]] = {key: [] for key in titles}
    for one in cases:
        kept[view.tier(one.case)].append(one)
    return [Tier(key=key, title=title, cases=kept[key]) for key, title in titles.items() if kept[key]]


def _anchors(cases: Sequence[CaseResult]) -> list[str]:
    """One for each case and no two alike, whatever ids there are: `a`, `a` and `a-2` are `a`, `a-3` and `a-2`."""
    ids = {case.id for case in cases}
    seen: dict[str, int] = {}
    names = []
    for case in cases:
        number = seen.get(case.id, 0) + 1
        while number > 1 and f"{case.id}-{number}" in ids:
            number += 1
        seen[case.id] = number
        names.append(f"case-{case.id}" if number == 1 else f"case-{case.id}-{number}")
    return names
