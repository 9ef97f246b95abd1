"""A run as one self-contained HTML page that opens from disk and needs no network."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from parity.results.case import NOT_RUN, CaseResult, Run
from parity.results.frames import leading_metric, worst_frame, worst_frames
from parity.results.json_text import to_json
from parity.results.pair import PairResult
from pipelines.files.content import write_atomically
from reports import overview, view
from reports.answer import answer
from reports.answer_parts import Answer
from reports.baseline_view import Approval, BaselineView, accept_command, approval, approval_data, baseline_view
from reports.counterfactuals import Counterfactuals, counterfactuals
from reports.diagnosis_charts import DECIBELS, Chart, sigma_chart
from reports.diagnosis_view import DiagnosisView, SearchView, diagnosis_view, search_view
from reports.explain import explained, symptoms_of
from reports.stills import Album, albums, embed

_LONG_WORD = re.compile(r"(\S{14,})")
_BREAKS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[_./=,(-])(?=\w)")
"""Where a long word may break: at a capital letter, and after a sign."""
_LONGEST_PIECE = 24
"""Letters after which it breaks where there is neither."""
_PAGE = Path(__file__).parent / "page"
_SLACK = 512
"""Bytes per case that are set aside for what stills bring along: thumbnails, the sentence about those left out."""
_CASE_NAMES = {"preview": "Preview", "output": "Output"}
_PAIR_NAMES = {"preview": "A", "output": "B"}
"""What the two sides are called."""
_STRIP = 6
"""Frames in the strip of the worst ones."""
_STYLES = (
    "report.css",
    "navigate.css",
    "overview.css",
    "answer.css",
    "viewer.css",
    "counterfactuals.css",
    "baseline.css",
    "approvals.css",
    "explain.css",
    "pair.css",
)
_SCRIPTS = (
    "store.js",
    "settings.js",
    "stills.js",
    "difference.js",
    "stage.js",
    "curves.js",
    "player.js",
    "strip.js",
    "fullscreen.js",
    "viewer.js",
    "answer.js",
    "counterfactuals.js",
    "copy.js",
    "overview.js",
    "thumbnails.js",
    "baseline.js",
    "approvals.js",
    "navigate.js",
    "keys.js",
    "report.js",
)
"""One script in this order; the last one starts it."""


class _Scripts(NamedTuple):
    """The scripts of the page. None of their names becomes global."""

    head: str
    """Before anything is shown."""
    page: str
    """After the overview."""
    cases: str
    """After all cases."""


# What could end a script element early, or end a line in old JavaScript.
_UNSAFE = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseView:
    """A case as its section of the page shows it."""

    case: CaseResult
    index: int
    """The place in the run, by which the page's script finds the case's data."""
    anchor: str
    """`case-<id>`; numbered from the second case of that id on."""
    worst_frame: int | None
    worst_frames: list[tuple[int, float]]
    """The worst frames with their values, the worst first."""
    worst_metric: view.MetricName | None
    seconds: float | None
    times: dict[str, float]
    originals: list[tuple[str, str]]
    """The videos beside the page, by name and path."""
    recipe_rows: list[view.Row]
    missing_factors: tuple[str, ...]
    """Factors that were expected but not found."""
    stills: Album
    why: DiagnosisView | None
    matter: Counterfactuals | None
    """The pictures of its diagnosis."""
    search: SearchView | None
    sigmas: Chart | None
    """Both schedules, unless the diagnosis already shows them."""
    reproduce: str
    """The command that runs the case again."""
    answer: Answer
    approval: Approval | None
    """What approving does; None: there is nothing to approve."""

    @property
    def baseline(self) -> BaselineView | None:
        """The comparison with what was accepted, and the pictures of it in the page."""
        return baseline_view(self.case, self.stills)

    @property
    def order(self) -> int:
        """The place of its status, failures first."""
        return view.ORDER.index(self.case.status)

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


def render(run: Run, folder: Path, *, max_bytes: int = 25 << 20, pair: PairResult | None = None) -> str:
    """The page. `folder` is that of results.json, to which artifacts are relative.

    Stills are embedded, failures first, while the page stays within `max_bytes`; the page names what it left out.
    With `pair` the run holds one case that stands for two files, and the page is about these alone.
    """
    order = view.ordered(run)
    books = albums([case for _, case in order], folder)
    cases = _case_views(order, books, run.environment)
    room = max_bytes - _bytes(_page(run, cases, max_bytes, folder, pair)) - _SLACK * len(cases)
    while True:
        embed(books, room)
        page = _page(run, cases, max_bytes, folder, pair)
        excess = _bytes(page) - max_bytes
        if excess <= 0 or not any(book.images for book in books):
            return page
        room -= excess  # it grew by more than was set aside, as with long names


def _bytes(page: str) -> int:
    return len(page.encode("utf-8", "replace"))


def write_report(run: Run, folder: Path, path: Path, *, max_bytes: int = 25 << 20) -> None:
    """Write the page of `render` to `path`, atomically."""
    # A file name that is no UTF-8 reaches error messages as lone surrogates.
    write_atomically(path, render(run, folder, max_bytes=max_bytes).encode("utf-8", "replace"))


def _case_views(
    order: Sequence[tuple[int, CaseResult]], books: Sequence[Album], environment: Mapping[str, Any]
) -> list[CaseView]:
    views: list[CaseView] = []
    anchors = _anchors([case for _, case in order])
    for (index, case), book, anchor in zip(order, books, anchors, strict=True):
        found = {finding.factor for finding in case.findings}
        why = diagnosis_view(case.diagnosis) if case.diagnosis is not None else None
        shown = why is not None and why.origin is not None and why.origin.sigmas is not None
        views.append(
            CaseView(
                case=case,
                index=index,
                anchor=anchor,
                worst_frame=worst_frame(case),
                worst_frames=worst_frames(case, _STRIP),
                worst_metric=next((name for name in view.METRICS if name.key == leading_metric(case)), None),
                seconds=case.seconds,
                times=view.times(case),
                originals=view.originals(case),
                recipe_rows=view.recipe_rows(case.recipes),
                missing_factors=tuple(factor for factor in case.expect or () if factor not in found),
                stills=book,
                why=why,
                matter=counterfactuals(case, book),
                search=search_view(case.search) if case.search is not None else None,
                sigmas=None if shown else sigma_chart(case.sigmas),
                reproduce=view.reproduce(case, environment),
                answer=answer(case),
                approval=approval(case),
            )
        )
    return views


def _tiers(cases: Sequence[CaseView]) -> list[Tier]:
    """Failures, then drift as expected, then what passed; without those that hold no case."""
    titles = {
        "failed": "Failed",
        "expected_drift": "Drifted exactly as expected",
        "smoke": "Smoke runs",
        "passed": "Passed",
    }
    kept = {key: [case for case in cases if view.tier(case.case) == key] for key in titles}
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


def _page(run: Run, cases: Sequence[CaseView], max_bytes: int, folder: Path, pair: PairResult | None) -> str:
    limit = f"{max_bytes / (1 << 20):.3g} MiB" if max_bytes >= 1 << 20 else f"{max_bytes / 1024:.3g} KiB"
    return (
        _environment()
        .get_template("template.html")
        .render(
            run=run,
            cases=cases,
            explained=explained(view.case for view in cases),
            symptoms_of=symptoms_of,
            counts=view.counts(run),
            factor_counts=view.factor_counts(run),
            tiers=_tiers(cases),
            pair=pair,
            names=_CASE_NAMES if pair is None else _PAIR_NAMES,
            verdict=view.verdict(run) if pair is None else pair.sentence,
            metrics=view.METRICS,
            columns=overview.columns([one.case for one in cases], [one.stills for one in cases]),
            thumbnails=lambda one: overview.thumbnails(one.case, one.stills, limit),
            reason=lambda one: overview.reason(one.case, one.answer),
            not_run=NOT_RUN,
            all_identical=view.all_identical,
            curve_summary=view.curve_summary,
            limits=view.limits,
            repeat_floor=view.repeat_floor,
            evidence=view.evidence,
            server_facts=view.server_facts,
            file_facts=view.file_facts,
            decibels=DECIBELS,
            flatten=view.flatten,
            text=view.text,
            command=shlex.join(run.command),
            results=view.results_files(run, folder),
            accept=accept_command(run, folder),
            approvals=_data(json.dumps(approval_data(list(enumerate(run.cases))))),
            quote=shlex.quote,
            tidy=view.tidy,
            without_home=view.without_home,
            moment=view.moment,
            limit=limit,
            style=Markup(_joined(_STYLES)),
            scripts=_scripts(),
            hash=_hash,
            run_data=_data(to_json(run, indent=None)),
            stills_data=lambda book: _data(json.dumps(book.data())),
        )
    )


def _joined(names: Sequence[str]) -> str:
    return "\n".join((_PAGE / name).read_text(encoding="utf-8") for name in names)


def _scripts() -> _Scripts:
    parts = (("head.js",), _SCRIPTS, ("cases.js",))
    return _Scripts(*(Markup(f"(() => {{\n'use strict';\n{_joined(names)}}})();") for names in parts))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_PAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["breakable"] = _breakable
    return environment


@lru_cache(maxsize=1 << 14)  # cases repeat their values, and a page is rendered twice
def _breakable(text: str) -> Markup:
    """A text whose long words may break where a reader would break them: FlowMatch|Euler|Discrete|Scheduler."""
    plain_and_long = _LONG_WORD.split(text)
    plain_and_long[1::2] = ["\0".join(_pieces(word)) for word in plain_and_long[1::2]]
    return Markup(str(escape("".join(plain_and_long))).replace("\0", "<wbr>"))


def _pieces(word: str) -> list[str]:
    parts = _BREAKS.split(word)
    return [part[at : at + _LONGEST_PIECE] for part in parts for at in range(0, len(part), _LONGEST_PIECE)]


def _data(text: str) -> Markup:
    """JSON that is inert inside a script element: outside strings JSON has none of the escaped characters."""
    return Markup(text.translate(_UNSAFE))


def _hash(source: str) -> str:
    """The hash for the page's Content-Security-Policy, which allows our script and styles and nothing else."""
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode("ascii")
