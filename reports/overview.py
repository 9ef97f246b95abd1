"""All cases in one table, without markup: which columns it has, and what a row shows beside its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from parity.results.case import NOT_RUN, CaseResult
from pipelines.files.words import plural, shorten
from reports.answer_parts import Answer
from reports.baseline_view import approval
from reports.stills import Album
from reports.view import METRICS, MetricName, without_home

_WIDEST, _HIGHEST = 96, 72
"""Pixels that a thumbnail takes at most."""
_PAIR = ("preview", "output")
_LONGEST = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The columns that hold a value for some case, and why others do not."""

    metrics: tuple[MetricName, ...]
    models: bool
    """Whether rows name their model: cases have several."""
    frames: bool
    approve: bool
    unmeasured: tuple[str, ...]
    """A sentence for each metric that was not measured for some case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnails:
    """The pair of small pictures of a row, or why there is none."""

    frame: int = 0
    """The frame that differs most, or the nearest one whose stills are in the page."""
    sizes: tuple[tuple[int, int], ...] = ()
    """Width and height of the preview's and of the output's; empty: there are none."""
    gap: str = ""
    """What stands in their place, in two words."""
    reason: str = ""
    """Why."""


def columns(cases: Sequence[CaseResult], books: Sequence[Album]) -> Columns:
    """The columns for these cases."""
    measured = tuple(name for name in METRICS if any(_measures(case, name.key) for case in cases))
    return Columns(
        metrics=measured,
        models=len({case.model for case in cases}) > 1,
        frames=any(book.found for book in books),
        approve=any(approval(case) for case in cases),
        unmeasured=tuple(filter(None, (_unmeasured(cases, name) for name in METRICS))),
    )


def thumbnails(case: CaseResult, book: Album, limit: str) -> Thumbnails:
    """The pair for a case. `limit` is the size of the page that may have left its stills out."""
    held = [set(book.embedded.get(side, ())) for side in _PAIR]
    frames = held[0] & held[1] or held[0] | held[1]
    if frames:
        frame = min(frames, key=lambda frame: (abs(frame - book.worst), frame))
        return Thumbnails(frame=frame, sizes=tuple(_size(case, side) for side in _PAIR))
    if case.status in NOT_RUN and case.output is None:
        return Thumbnails(gap="not generated", reason=shorten(_first_line(case.error or case.verdict), _LONGEST))
    if case.smoke is not None:
        return Thumbnails(gap="smoke run", reason=shorten(case.verdict, _LONGEST))
    if book.found:
        kept = f"Its {plural(book.found, 'still')} were left out to keep this file below {limit}."
        return Thumbnails(gap="left out", reason=kept)
    reason = book.problems[0] if book.problems else "No video of this case was kept."
    return Thumbnails(gap="no stills", reason=reason)


def reason(case: CaseResult, found: Answer) -> str:
    """What a reader should know of a case, in one sentence: its error, or its answer.

    Empty if all is as it should be: its other columns say that.
    """
    improved = case.baseline is not None and case.baseline.outcome == "improved"
    if not case.failed and not case.error and not improved:
        return ""
    return shorten(_first_line(case.error or found.sentence), _LONGEST)


def _measures(case: CaseResult, key: str) -> bool:
    metric = case.metrics.get(key)
    return metric is not None and metric.unavailable is None and bool(metric.per_frame)


def _unmeasured(cases: Sequence[CaseResult], name: MetricName) -> str:
    asked = [case.metrics[name.key] for case in cases if name.key in case.metrics]
    reasons = dict.fromkeys(metric.unavailable for metric in asked if metric.unavailable is not None)
    if not reasons:
        return ""
    missing = sum(metric.unavailable is not None for metric in asked)
    some = "" if missing == len(asked) else f" in {missing} of {plural(len(asked), 'case')}"
    return f"{name.label} was not measured{some}: {shorten('; '.join(map(without_home, reasons)), 2 * _LONGEST)}."


def _size(case: CaseResult, side: str) -> tuple[int, int]:
    """The size of a thumbnail, to the scale of its video."""
    video = case.preview if side == "preview" else case.output
    if video is None:
        return _WIDEST, _HIGHEST
    scale = min(_WIDEST / video.width, _HIGHEST / video.height)
    return max(1, round(video.width * scale)), max(1, round(video.height * scale))


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0]
