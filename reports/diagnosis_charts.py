"""Charts of a diagnosis as coordinates in percent from the left and from the top, without markup."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from parity.results.diagnosis import Closeness, Origin, WaterfallStep
from parity.results.words import decibels

_FROM_DB, _TO_DB = 10.0, 55.0
"""The bars' scale, as in the terminal. Unrelated videos are at 10 dB or so."""
_LONGEST = 97.0
"""A bar with a finite value stays shorter than the full one, which means bit-identical."""
_BAND = 22.0
"""Height of the strip below a logarithmic axis, for steps after which nothing differs."""
_DECADES = 5
"""Most powers of ten with a grid line of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A grid line."""

    at: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One step of the waterfall."""

    name: str
    kind: Literal["measured", "identical", "no-value", "not-generated"]
    text: str
    detail: str = ""
    width: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One value of a line."""

    x: float
    y: float
    text: str
    equal: bool = False
    """Zero, which a logarithmic axis does not have: it stands in the strip below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A run of values."""

    name: str
    points: tuple[Point, ...]

    @property
    def path(self) -> str:
        """The SVG path in a box of 100 by 100; the line breaks where a point is not on the axis."""
        parts, pen = [], "M"
        for point in self.points:
            if not point.equal:
                parts.append(f"{pen}{point.x:g} {point.y:g}")
            pen = "M" if point.equal else "L"
        return "".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Lines over the denoising steps."""

    label: str
    """A description for screen readers."""
    lines: tuple[Line, ...]
    ticks: tuple[Tick, ...]
    first: str
    """The label below the left end."""
    last: str
    """The label below the right end; empty if there is only one step."""
    band: Tick | None = None
    """The strip's upper edge."""
    mark: Tick | None = None
    """A vertical line, `at` from the left."""


DECIBELS = tuple(
    Tick(at=round(100 * (value - _FROM_DB) / (_TO_DB - _FROM_DB), 2), label=f"{value}") for value in (10, 25, 40, 55)
)
"""The scale below the bars."""


def percent(gap: float) -> str:
    """A squared gap as a share of the size: `18.7%`."""
    share = 100 * math.sqrt(gap)
    if 0 < share < 0.001:
        return "below 0.001%"
    return f"{share:.3g}%" if share < 999 else f"{share:.0f}%"


def waterfall(steps: Sequence[WaterfallStep]) -> list[Bar]:
    """A bar for each step, starting with the request as sent; none if that is the only one."""
    return [_bar(step) for step in steps] if len(steps) > 1 else []


def _bar(step: WaterfallStep) -> Bar:
    name = "as requested" if step.taken is None else f"+ {step.taken}"
    if step.trial is None:
        return Bar(name=name, kind="not-generated", text="not generated", detail="over the budget")
    return _measured(name, step.trial.to_preview)


def _measured(name: str, closeness: Closeness) -> Bar:
    if closeness.identical:
        return Bar(name=name, kind="identical", text="bit-identical")
    if closeness.unavailable is not None or closeness.psnr is None:
        return Bar(name=name, kind="no-value", text="no value", detail=closeness.unavailable or "not comparable")
    share = 100 * (closeness.psnr - _FROM_DB) / (_TO_DB - _FROM_DB)
    return Bar(
        name=name, kind="measured", text=decibels(closeness.psnr), width=round(max(1.0, min(_LONGEST, share)), 2)
    )


def gap_chart(origin: Origin) -> Chart | None:
    """The difference of the latents after each step; None if they never differ, or cannot be compared."""
    gaps = [math.sqrt(gap) for gap in origin.latent_gaps]
    if not any(gaps):
        return None
    low, high = _decades([gap for gap in gaps if gap])
    bottom = 100.0 if all(gaps) else 100 - _BAND

    def height(gap: float) -> float:
        return round(bottom * (high - math.log10(gap)) / (high - low), 2) if gap else 100 - _BAND / 2

    points = tuple(
        Point(x=_across(place, len(gaps)), y=height(gap), text=f"step {place + 1}: {_apart(gap)}", equal=not gap)
        for place, gap in enumerate(gaps)
    )
    every = math.ceil((high - low) / _DECADES)
    powers = range(low, high + 1, every)
    return Chart(
        label=_gap_label(gaps, origin.first_step),
        lines=(Line(name="latents", points=points),),
        ticks=tuple(Tick(at=height(10.0**power), label=percent(10.0 ** (2 * power))) for power in powers),
        first="after step 1",
        last=f"step {len(gaps)}" if len(gaps) > 1 else "",
        band=None if all(gaps) else Tick(at=100 - _BAND, label="equal"),
        mark=_first_mark(origin.first_step, len(gaps)),
    )


def _apart(gap: float) -> str:
    return percent(gap**2) if gap else "equal"


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """Powers of ten around all values."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _first_mark(step: int | None, steps: int) -> Tick | None:
    if step is None or not 1 <= step <= steps:
        return None
    return Tick(at=_across(step - 1, steps), label=f"first differs: step {step}")


def _gap_label(gaps: Sequence[float], first: int | None) -> str:
    most = max(gaps)
    start = f"They first differ after step {first}; " if first is not None else ""
    return (
        f"Line chart of the relative difference of the latents after each of {len(gaps)} steps. {start}"
        f"largest after step {gaps.index(most) + 1}, {_apart(most)}; at the end {_apart(gaps[-1])}."
    )


_SIDES = {"preview": "preview", "inference": "request"}
"""The two schedules in results.json, and what the page calls them."""


def sigma_chart(sigmas: Mapping[str, tuple[float, ...]]) -> Chart | None:
    """The schedules of `preview` and `inference` over the steps; None if neither is known."""
    schedules = {side: sigmas[side] for side in _SIDES if sigmas.get(side)}
    if not schedules:
        return None
    longest = max(len(values) for values in schedules.values())
    top = max(1.0, *(value for values in schedules.values() for value in values))
    lines = tuple(Line(name=_SIDES[side], points=_schedule(values, longest, top)) for side, values in schedules.items())
    ends = "; ".join(f"{_SIDES[side]} from {values[0]:.4g} to {values[-1]:.4g}" for side, values in schedules.items())
    return Chart(
        label=f"Line chart of sigma at the start of each step: {ends}. {_comparison(schedules)}",
        lines=lines,
        ticks=tuple(Tick(at=at, label=f"{top * (1 - at / 100):.3g}") for at in (0.0, 50.0, 100.0)),
        first="step 1",
        last=f"end of step {longest - 1}" if longest > 1 else "",
    )


def _schedule(values: Sequence[float], longest: int, top: float) -> tuple[Point, ...]:
    return tuple(
        Point(
            x=_across(place, longest),
            y=round(100 - 100 * max(0.0, value) / top, 2),
            text=f"{_sigma_step(place, len(values))}: {value:.6g}",
        )
        for place, value in enumerate(values)
    )


def _sigma_step(place: int, count: int) -> str:
    return "end" if place == count - 1 else f"step {place + 1}"


def _comparison(schedules: dict[str, tuple[float, ...]]) -> str:
    if len(schedules) < 2:
        return "The other schedule is not known."
    preview, inference = schedules.values()
    if len(preview) != len(inference):
        return f"{len(preview) - 1} steps in the preview, {len(inference) - 1} in the request."
    if tuple(preview) == tuple(inference):
        return "They are equal: the lines coincide."
    far = max(range(len(preview)), key=lambda place: abs(preview[place] - inference[place]))
    where = _sigma_step(far, len(preview))
    return f"They differ most at {where}: {preview[far]:.4g} against {inference[far]:.4g}."


def _across(place: int, count: int) -> float:
    return round(100 * place / (count - 1), 2) if count > 1 else 50.0
