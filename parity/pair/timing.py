"""Which frame of A is which frame of B: late, reversed, at another rate, frozen, with frames dropped or doubled.

Looked for in thumbnails; a timing counts only if it is clearly better than equal frame numbers and than its neighbours.
A video that moves slowly, or not at all, has no clear timing, and then none is claimed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from parity.pair.thumbs import Thumbs, over
from parity.results.pair import Change

CLEAR = 0.6
"""A timing must leave at most this share of the squared error of equal frame numbers, over the frames that it moves,
and of the error of the same half as far off, at least one frame to either side. Measured on thumbnails of the demo's
23 previews, late, backwards, frozen and halved: at most 0.49 as H.264 of crf 28; of the best timing of any two of them,
at least 0.85 where their likeness is 0.6 or more. 0.47 is reached where nothing is alike, and there nothing is claimed.
"""
MOST_FRAMES = 1200
"""Frames of a video in which a timing is looked for: the search takes the product of both numbers."""
_ROUNDING = 0.05
"""The squared difference of thumbnails, of 255, that rounding alone may make."""
_FEWEST = 3
"""Pairs without which a timing is chance."""

_OTHER_RATE = 0.2
"""The logarithm of the least ratio of frame counts that is another rate; below, single frames were dropped or doubled,
unless the files' own rates say otherwise."""

Pairs = tuple[tuple[int, int], ...]
Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """A pairing of frames of A with frames of B."""

    pairs: Pairs
    """(A, B), in the order of B."""
    change: Change | None = None
    """None: equal frame numbers."""
    values: dict[str, float] = field(default_factory=dict)
    """Its numbers: `frames` for an offset, `rate`, `first`."""

    exact: bool = True
    """False: one frame more or less is nearly as good, as where little moves."""

    @property
    def moved(self) -> Pairs:
        """The pairs of other frame numbers."""
        return tuple(pair for pair in self.pairs if pair[0] != pair[1])


def plain(count_a: int, count_b: int) -> Timing:
    """Equal frame numbers."""
    return Timing(pairs=tuple((number, number) for number in range(min(count_a, count_b))))


def best_timing(between: Matrix, motion_a: float, rate: float | None = None) -> Timing:
    """The clearly best timing, the simplest among equals; the plain one if none is clearly better.

    `between`: squared differences of shape (Ta, Tb). `motion_a`: the mean squared difference of neighbours in A.
    `rate`: frames per second of A over those of B, if known.
    """
    count_a, count_b = between.shape
    start = plain(count_a, count_b)
    clear = [timing for timing in candidates(between, motion_a, rate) if is_clear(between, timing)]
    if not clear:
        return start
    errors = [_error(between, timing) for timing in clear]
    least = min(errors)
    found = next(timing for timing, error in zip(clear, errors, strict=True) if error <= 1.25 * least + 0.05)
    return replace(found, exact=_is_sharp(between, found.moved, 1))


def is_clear(between: Matrix, timing: Timing) -> bool:
    """Whether a timing is clearly better than equal frame numbers, and than the same half as far off."""
    moved = timing.moved
    if not moved:
        return False
    both = [pair for pair in moved if pair[1] < len(between)]
    if both and not _clearly(over(between, both), over(between, [(b, b) for _, b in both])):
        return False
    half = min(max(abs(a - b) for a, b in moved) // 2, len(between) // 3)
    return _is_sharp(between, moved, max(1, half))


def _clearly(error: float, other: float) -> bool:
    """Whether an error is clearly less than another, which is more than rounding."""
    return other > _ROUNDING and error <= CLEAR * other


def _is_sharp(between: Matrix, moved: Pairs, step: int) -> bool:
    """Whether a timing is clearly better than the same some frames earlier or later."""
    ways = [[(a, b) for a, b in moved if 0 <= a + by < len(between)] for by in (-step, step)]
    return any(ways) and all(
        _clearly(over(between, kept), over(between, [(a + by, b) for a, b in kept]))
        for by, kept in zip((-step, step), ways, strict=True)
        if kept
    )


def _error(between: Matrix, timing: Timing) -> float:
    """The mean error of a timing, with a little more for each frame that it leaves without a counterpart."""
    alone = int(between.shape[1]) - len(timing.pairs)
    return over(between, timing.pairs) * (1 + 0.02 * alone)


def candidates(between: Matrix, motion_a: float, rate: float | None) -> Iterator[Timing]:
    """The timings to try, the simplest first."""
    count_a, count_b = between.shape
    if min(count_a, count_b) >= _FEWEST:
        yield from _offsets(count_a, count_b)
        yield from _reversed(count_a, count_b)
        yield from _rates(count_a, count_b, rate)
        yield from _there_and_back(count_a, count_b)
        yield from _irregular(between, motion_a)


def _offsets(count_a: int, count_b: int) -> Iterator[Timing]:
    """B shifted: by n, frame j of B is frame j - n of A."""
    least = max(_FEWEST, min(count_a, count_b) // 2)
    shifts = [n for n in range(-(count_a - least), count_b - least + 1) if n]
    for n in sorted(shifts, key=abs):
        pairs = tuple((j - n, j) for j in range(max(0, n), min(count_b, count_a + n)))
        if len(pairs) >= least:
            yield Timing(pairs=pairs, change="offset", values={"frames": n})


def _reversed(count_a: int, count_b: int) -> Iterator[Timing]:
    if count_a == count_b:
        yield Timing(pairs=tuple((count_a - 1 - j, j) for j in range(count_b)), change="reversed")


def _rates(count_a: int, count_b: int, rate: float | None) -> Iterator[Timing]:
    """B with another number of frames in the same time: frame j of B is frame j * rate of A."""
    wanted = [2.0, 0.5, 3.0, 1 / 3, 4.0, 0.25, 1.5, 2 / 3, count_a / count_b, (count_a - 1) / max(1, count_b - 1)]
    for each in dict.fromkeys([*wanted, *([rate] if rate else [])]):
        if not 0.1 <= each <= 10 or abs(np.log(each)) < (_OTHER_RATE if each != rate else 0.02):
            continue
        for start in (0.0, 0.5, 0.25, 0.75):
            places = [int(j * each + start) for j in range(count_b)]
            pairs = tuple((place, j) for j, place in enumerate(places) if place < count_a)
            if len(pairs) >= max(_FEWEST, 0.8 * min(count_b, count_a / each)):
                yield Timing(pairs=pairs, change="speed", values={"rate": each, "start": start})


def _there_and_back(count_a: int, count_b: int) -> Iterator[Timing]:
    """B plays A forwards and then backwards."""
    if count_b in (2 * count_a - 2, 2 * count_a - 1, 2 * count_a):
        twice = count_b == 2 * count_a
        back = range(count_a - 1, -1, -1) if twice else range(count_a - 2, -1, -1)
        order = [*range(count_a), *back][:count_b]
        yield Timing(pairs=tuple((i, j) for j, i in enumerate(order)), change="repeated")


def _irregular(between: Matrix, motion_a: float) -> Iterator[Timing]:
    """Frames dropped, doubled or frozen: the cheapest way through the matrix on which time never runs backwards."""
    count_b = between.shape[1]
    if motion_a <= 0:
        return
    places = _cheapest_way(between, motion_a / 2)
    pairs = tuple((place, j) for j, place in enumerate(places))
    steps = np.diff(places)
    still = np.flatnonzero(steps == 0)
    jumps = np.flatnonzero(steps > 1)
    if not still.size and not jumps.size:
        return
    if len(still) + len(jumps) > max(2, count_b // 3) and not _is_tail(still, count_b):
        return
    if _is_tail(still, count_b) and not jumps.size:
        yield Timing(pairs=pairs, change="frozen", values={"first": int(still[0])})
    elif not jumps.size or len(still) > len(jumps):
        yield Timing(pairs=pairs, change="repeated", values={"first": int(still[0]), "count": len(still)})
    else:
        dropped = int(sum(steps[jumps] - 1))
        first = int(places[jumps[0]] + 1)
        yield Timing(pairs=pairs, change="dropped", values={"first": first, "count": dropped})


def _is_tail(still: npt.NDArray[np.intp], count_b: int) -> bool:
    """Whether B repeats one frame, from somewhere to its end."""
    return bool(still.size) and np.array_equal(still, np.arange(count_b - 1 - still.size, count_b - 1))


def _cheapest_way(between: Matrix, irregular: float) -> list[int]:
    """The frame of A for each frame of B, with the least sum of errors and `irregular` for each step but +1."""
    count_a, count_b = between.shape
    total = between[:, 0] + irregular * (np.arange(count_a) > 0)
    came = np.zeros((count_b, count_a), np.int64)
    rows = np.arange(count_a)
    for j in range(1, count_b):
        least = np.minimum.accumulate(total)
        fresh = np.concatenate(([True], total[1:] < least[:-1]))
        nearest = np.maximum.accumulate(np.where(fresh, rows, 0))
        jump = total[nearest] + irregular
        regular = np.concatenate(([np.inf], total[:-1]))
        better = regular <= jump
        came[j] = np.where(better, rows - 1, nearest)
        total = np.where(better, regular, jump) + between[:, j]
    place = int(np.argmin(total))
    places = [place]
    for j in range(count_b - 1, 0, -1):
        place = int(came[j, place])
        places.append(place)
    return places[::-1]


def in_words(timing: Timing, count_a: int, count_b: int) -> str:
    """What a timing does to B, as part of a sentence that begins with "B is A"; empty for the plain one."""
    values = timing.values
    if timing.change == "offset":
        return _offset_in_words(timing)
    if timing.change == "reversed":
        return "played backwards"
    if timing.change == "speed":
        rate = values["rate"]
        if rate > 1:
            return f"with frames left out: {count_b} of {count_a}, one of every {rate:.3g}"
        return f"with frames repeated: {count_b} made of {count_a}, each shown {1 / rate:.3g} times"
    if timing.change == "frozen":
        first = int(values["first"])
        return f"frozen at its end: frames {first + 1} to {count_b - 1} show frame {first} again"
    if timing.change == "repeated" and not values:
        return "played forwards and then backwards"
    count, first = int(values.get("count", 0)), int(values.get("first", 0))
    which = f"frame {first}" if count == 1 else f"{count} frames, the first of them {first}"
    if timing.change == "repeated":
        return f"with {which} shown twice"
    if timing.change == "dropped":
        return f"without {which} of A"
    return ""


def _offset_in_words(timing: Timing) -> str:
    by = int(timing.values["frames"])
    (first_a, first_b), (last_a, last_b) = timing.pairs[0], timing.pairs[-1]
    about = "" if timing.exact else "about "
    much = "one frame" if abs(by) == 1 else f"{about}{abs(by)} frames"
    where = f"its frames {first_b} to {last_b} are frames {first_a} to {last_a} of A"
    return f"{much} {'late' if by > 0 else 'early'}: {where}"


def motion(images: Thumbs) -> float:
    """The mean squared difference of neighbouring frames."""
    return float(np.square(np.diff(images, axis=0)).mean()) if len(images) > 1 else 0.0
