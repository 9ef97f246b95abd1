"""How the pictures of B lie on those of A: resized, cropped, padded, mirrored, turned. Nothing else is tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from parity.pair.thumbs import Box, grid
from parity.results.pair import Change
from pipelines.files.words import plural
from pipelines.media.video import Frames

_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "Lanczos": Image.Resampling.LANCZOS,
    "area": Image.Resampling.BOX,
}
"""Pillow's filters, the closest of which is taken."""
TURNS: dict[str, Callable[[Any], Any]] = {
    "mirrored left to right": lambda frames: frames[:, :, ::-1],
    "mirrored top to bottom": lambda frames: frames[:, ::-1],
    "rotated by 180°": lambda frames: frames[:, ::-1, ::-1],
    "rotated by 90° to the right": lambda frames: np.rot90(frames, -1, (1, 2)),
    "rotated by 90° to the left": lambda frames: np.rot90(frames, 1, (1, 2)),
}
"""What is done to A to have B."""
_BACK = {
    "rotated by 90° to the right": "rotated by 90° to the left",
    "rotated by 90° to the left": "rotated by 90° to the right",
}
"""What undoes a turn, if not the same turn."""
_BORDER = 10
"""Levels by which a border may vary and still be one colour."""
_FARTHEST = 16
"""Pixels by which a video of the same size may be shifted."""
_STRAY = 0.15
"""The share of its pixels that may vary more: codecs blur the edge of a picture into its border."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """One way in which B may lie on A. The parts in the boxes show the same, once B is turned back."""

    box_a: Box
    box_b: Box
    """In B's own pixels, before it is turned back."""
    turn: str | None = None
    """A key of TURNS; None: as it is."""
    change: Change | None = None
    """None: as they are."""
    sizes: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    """Width and height of both videos."""

    @property
    def is_plain(self) -> bool:
        """Whether pixels are compared with those in the same place."""
        return self.change is None and self.turn is None

    @property
    def grid(self) -> tuple[int, int]:
        """The size of the thumbnails that both parts are compared in."""
        return grid(*self.size)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height at which both parts are compared: those of the smaller part."""
        first, second = self.box_a[2:], self.box_b[2:]
        if self.turn in _BACK:
            second = second[::-1]
        return first if first[0] * first[1] <= second[0] * second[1] else second

    @property
    def is_resized(self) -> bool:
        """Whether one of the parts is scaled."""
        second = self.box_b[2:][::-1] if self.turn in _BACK else self.box_b[2:]
        return self.box_a[2:] != second


def turned_back(frames: Any, turn: str | None) -> Any:
    """The frames (T, H, W, …) as they were before a turn."""
    return frames if turn is None else TURNS[_BACK.get(turn, turn)](frames)


def part(frames: Frames, box: Box) -> Frames:
    """The part of all frames in a box."""
    left, top, width, height = box
    return frames[:, top : top + height, left : left + width]


def whole(frames: Frames) -> Box:
    """The box around whole frames."""
    return 0, 0, frames.shape[2], frames.shape[1]


def candidates(a: Frames, b: Frames) -> Iterator[Geometry]:
    """The ways to try, the simplest first. The first is the one without any change that fits both sizes."""
    sizes = ((a.shape[2], a.shape[1]), (b.shape[2], b.shape[1]))
    full_a, full_b = whole(a), whole(b)
    same = sizes[0] == sizes[1]
    yield Geometry(box_a=full_a, box_b=full_b, change=None if same else "resized", sizes=sizes)
    if not same:
        yield from _windows(a, b, sizes)
        yield from _to_one_aspect(a, b, sizes)
    yield from _without_borders(a, b, sizes)
    upright = list(TURNS)[:3]
    if same or _alike(sizes[0], sizes[1]):
        for turn in upright:
            yield Geometry(box_a=full_a, box_b=full_b, turn=turn, change="turned", sizes=sizes)
    if _alike(sizes[0], sizes[1][::-1]):
        for turn in list(TURNS)[3:]:
            yield Geometry(box_a=full_a, box_b=full_b, turn=turn, change="turned", sizes=sizes)


def _alike(first: tuple[int, int], second: tuple[int, int]) -> bool:
    """Whether two sizes have one aspect, to two percent."""
    return abs(first[0] * second[1] / (first[1] * second[0]) - 1) < 0.02


def _to_one_aspect(a: Frames, b: Frames, sizes: tuple[tuple[int, int], tuple[int, int]]) -> Iterator[Geometry]:
    """The larger cut in its middle to the aspect of the other, then scaled, as ComfyUI's nodes and many scripts do."""
    if _alike(*sizes):
        return
    full_a, full_b = whole(a), whole(b)
    for box_a, box_b in ((_centre(full_a, sizes[1]), full_b), (full_a, _centre(full_b, sizes[0]))):
        is_border = _is_border(a, box_a) or _is_border(b, box_b)
        yield Geometry(box_a=box_a, box_b=box_b, change="padded" if is_border else "cropped", sizes=sizes)


def _centre(box: Box, like: tuple[int, int]) -> Box:
    """The largest part in the middle of a box with the aspect of another size."""
    _, _, width, height = box
    wide, high = min(width, round(height * like[0] / like[1])), min(height, round(width * like[1] / like[0]))
    return (width - wide) // 2, (height - high) // 2, max(1, wide), max(1, high)


def _windows(a: Frames, b: Frames, sizes: tuple[tuple[int, int], tuple[int, int]]) -> Iterator[Geometry]:
    """One as a window of the other, pixel for pixel, where it fits best."""
    (wide_a, high_a), (wide_b, high_b) = sizes
    if wide_b <= wide_a and high_b <= high_a:
        left, top = _best_place(a, b)
        yield Geometry(box_a=(left, top, wide_b, high_b), box_b=whole(b), change="cropped", sizes=sizes)
    elif wide_a <= wide_b and high_a <= high_b:
        left, top = _best_place(b, a)
        change: Change = "padded" if _is_border(b, (left, top, wide_a, high_a)) else "cropped"
        yield Geometry(box_a=whole(a), box_b=(left, top, wide_a, high_a), change=change, sizes=sizes)


def _best_place(large: Frames, small: Frames) -> tuple[int, int]:
    """Left and top of the window of `large` that is most like `small`, by the correlation of their luma.

    Tried on the first, middle and last frames; the one that correlates best decides.
    """
    places = []
    count = min(len(large), len(small))
    for number in sorted({0, count // 2, count - 1}):
        score, left, top = _place_of(_luma(large[number]), _luma(small[number]))
        places.append((score, left, top))
    _, left, top = max(places)
    return left, top


def _place_of(large: npt.NDArray[np.float64], small: npt.NDArray[np.float64]) -> tuple[float, int, int]:
    """The highest normalised correlation of a window, with its left and top. By Fourier transform: all at once."""
    high, wide = small.shape
    shape = large.shape
    large = large - large.mean()
    small = small - small.mean()
    spectrum = np.fft.rfft2(large) * np.conj(np.fft.rfft2(small, shape))
    product = np.fft.irfft2(spectrum, shape)[: shape[0] - high + 1, : shape[1] - wide + 1]
    mean = _window_sums(large, high, wide) / (high * wide)
    variance = np.maximum(_window_sums(large * large, high, wide) - high * wide * mean * mean, 1.0)
    scores = product / np.sqrt(variance * max(float((small * small).sum()), 1.0))
    top, left = np.unravel_index(int(np.argmax(scores)), scores.shape)
    return float(scores[top, left]), int(left), int(top)


def _window_sums(values: npt.NDArray[np.float64], high: int, wide: int) -> npt.NDArray[np.float64]:
    total = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    found: npt.NDArray[np.float64] = (
        total[high:, wide:] - total[:-high, wide:] - total[high:, :-wide] + total[:-high, :-wide]
    )
    return found


def _luma(frame: Frames) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = frame @ np.array([0.299, 0.587, 0.114])
    return found


def _is_border(frames: Frames, box: Box) -> bool:
    """Whether all that lies outside a box has one colour."""
    left, top, width, height = box
    outside = np.ones(frames.shape[1:3], bool)
    outside[top : top + height, left : left + width] = False
    if not outside.any():
        return False
    pixels = frames[:: max(1, len(frames) // 5)][:, outside].reshape(-1, 3)
    return _share_off(pixels, np.median(pixels, axis=0)) <= _STRAY


def _share_off(pixels: Any, colour: Any) -> float:
    """The share of pixels that are not of a colour."""
    return float((np.abs(pixels.astype(np.int16) - colour) > _BORDER).any(axis=-1).mean())


def _content(frames: Frames) -> Box:
    """The box without borders of one colour (letterbox)."""
    some = frames[:: max(1, len(frames) // 2)][:3].astype(np.int16)
    busy = (np.abs(some - some[0, 0, 0]) > _BORDER).any(axis=(0, 3))
    rows = np.flatnonzero(busy.mean(axis=1) > _STRAY)
    columns = np.flatnonzero(busy.mean(axis=0) > _STRAY)
    if not rows.size or not columns.size:
        return whole(frames)
    return (
        int(columns[0]),
        int(rows[0]),
        int(columns[-1] - columns[0] + 1),
        int(rows[-1] - rows[0] + 1),
    )


def _without_borders(a: Frames, b: Frames, sizes: tuple[tuple[int, int], tuple[int, int]]) -> Iterator[Geometry]:
    """Scaled to fit and padded: the part of one within its border is the whole of the other."""
    for box_a, box_b in ((whole(a), _content(b)), (_content(a), whole(b))):
        is_bordered = box_a != whole(a) or box_b != whole(b)
        if is_bordered and _alike(box_a[2:], box_b[2:]) and min(*box_a[2:], *box_b[2:]) >= 16:
            yield Geometry(box_a=box_a, box_b=box_b, change="padded", sizes=sizes)


def shifted(a: Frames, b: Frames, pair: tuple[int, int]) -> Geometry | None:
    """How B of the same size is shifted by a few whole pixels, by one pair of frames; None: it is not.

    Thumbnails cannot tell: a pixel of a large picture is a tenth of theirs.
    """
    first, second = _luma(a[pair[0]]), _luma(b[pair[1]])
    high, wide = first.shape
    margin = min(_FARTHEST, wide // 8, high // 8)
    if margin < 1:
        return None
    _, left, top = _place_of(first, second[margin : high - margin, margin : wide - margin])
    right, down = margin - left, margin - top
    if not right and not down:
        return None
    width, height = wide - abs(right), high - abs(down)
    size = (wide, high)
    return Geometry(
        box_a=(max(0, -right), max(0, -down), width, height),
        box_b=(max(0, right), max(0, down), width, height),
        change="shifted",
        sizes=(size, size),
    )


def apply(a: Frames, b: Frames, geometry: Geometry) -> tuple[Frames, Frames, str | None]:
    """Both videos as they can be compared, of equal frame sizes, and the filter that scaled one, if one was."""
    first = part(a, geometry.box_a)
    second = turned_back(part(b, geometry.box_b), geometry.turn)
    if not geometry.is_resized:
        return first, second, None
    size = geometry.size
    large_is_a = (first.shape[2], first.shape[1]) != size
    large, small = (first, second) if large_is_a else (second, first)
    middle = min(len(large), len(small)) // 2
    errors = {name: _error(_scaled(large[middle], size, name), small[middle]) for name in _FILTERS}
    chosen = min(errors, key=lambda name: errors[name])
    scaled = np.stack([_scaled(frame, size, chosen) for frame in large])
    if (small.shape[2], small.shape[1]) != size:
        small = np.stack([_scaled(frame, size, chosen) for frame in small])
    return (scaled, small, chosen) if large_is_a else (small, scaled, chosen)


def _scaled(frame: Frames, size: tuple[int, int], name: str) -> Frames:
    found: Frames = np.asarray(Image.fromarray(np.ascontiguousarray(frame)).resize(size, _FILTERS[name]))
    return found


def _error(a: Frames, b: Frames) -> float:
    if a.shape != b.shape:
        return 0.0
    return float(np.square(a.astype(np.float32) - b).mean())


def in_words(geometry: Geometry, filter_name: str | None) -> str:
    """What B's pictures are of A's, as part of a sentence that begins with "B is A"."""
    (wide_a, high_a), (wide_b, high_b) = geometry.sizes
    scale = f", then scaled ({filter_name})" if filter_name else ""
    if geometry.change == "turned":
        also = f" and resized from {wide_a}x{high_a} to {wide_b}x{high_b}" if filter_name else ""
        return f"{geometry.turn}{also}"
    if geometry.change == "shifted":
        right, down = geometry.box_b[0] - geometry.box_a[0], geometry.box_b[1] - geometry.box_a[1]
        ways = [
            f"{plural(abs(by), 'pixel')} {ahead if by > 0 else back}"
            for by, ahead, back in ((right, "to the right", "to the left"), (down, "down", "up"))
            if by
        ]
        return f"shifted by {' and '.join(ways)}"
    if geometry.change == "resized":
        return f"resized from {wide_a}x{high_a} to {wide_b}x{high_b}"
    if geometry.change == "padded":
        inner = geometry.box_b if geometry.box_b[2:] != (wide_b, high_b) else geometry.box_a
        left, top, width, height = inner
        if inner is geometry.box_a:
            return f"without the border of A: the {width}x{height} at {left},{top} in A{scale}"
        return f"with a border: A is the {width}x{height} at {left},{top} in B's {wide_b}x{high_b}{scale}"
    if geometry.change == "cropped":
        if geometry.box_a[2:] != (wide_a, high_a):
            left, top, width, height = geometry.box_a
            return f"cropped: the {width}x{height} at {left},{top} of A's {wide_a}x{high_a}{scale}"
        left, top, width, height = geometry.box_b
        return f"with more around it: A is the {width}x{height} at {left},{top} of B's {wide_b}x{high_b}{scale}"
    return ""
