"""Differences of level and colour, told apart from structure: one formula for the whole video that makes B of A.

Each formula is fitted to pairs of pixels, the fixed ones first: range and matrix have no number to fit, gamma and
saturation one, brightness and contrast two, a tint six. A formula is claimed only if it takes away most of the error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from parity.results.pair import Change
from pipelines.media.video import Frames

Pixels = npt.NDArray[np.float32]
"""Pixels of shape (N, 3), RGB, 0 to 255."""

EXPLAINS = 0.6
"""The least share of the squared error that a formula must take away. Measured on 96x64 previews and recordings: 0.86
to 1 where levels were changed, encoded again or not; at most 0.47 between any two others whose likeness is 0.5 or more,
and that by the six numbers of a tint."""
LEAST = 1.0
"""The least squared error (of 255) that it must take away: less is rounding."""
MOST_PIXELS = 200_000
_FRAMES = 24
_AS_GOOD = 0.05
"""A simpler formula is taken if it takes away all that the best one does, but for this share."""
_ROUNDING = 0.1
_SURELY, _SIMPLE, _SEEN = 0.8, 2, 0.15
"""The share of what a codec is estimated to cost that no formula need explain; the most numbers of a formula that may
leave it out; and the least share of the whole error that this takes away. Without the last two, recordings of ComfyUI
of one seed with other samplers, as WebP and mp4, were called tinted."""

_KR_KB = {"BT.601": (0.299, 0.114), "BT.709": (0.2126, 0.0722)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """A formula that makes B's levels of A's."""

    change: Change
    text: str
    explains: float
    apply: Callable[[Pixels], Pixels]
    """From pixels (…, 3) of A to those of B, 0 to 255, not rounded."""
    values: dict[str, float] = field(default_factory=dict)
    simplicity: int = 0
    """The number of fitted numbers."""


def sample(a: Frames, b: Frames, pairs: tuple[tuple[int, int], ...]) -> tuple[Pixels, Pixels]:
    """Pixels of the same places in both videos, spread over frames and pictures."""
    chosen = pairs[:: max(1, len(pairs) // _FRAMES)]
    each = max(1, MOST_PIXELS // len(chosen))
    count = a.shape[1] * a.shape[2]
    places = np.linspace(0, count - 1, min(count, each)).astype(np.int64)
    first = np.concatenate([a[i].reshape(-1, 3)[places] for i, _ in chosen])
    second = np.concatenate([b[j].reshape(-1, 3)[places] for _, j in chosen])
    return first.astype(np.float32), second.astype(np.float32)


def best_levels(a: Pixels, b: Pixels, floor: float = 0.0) -> Levels | None:
    """The simplest formula that explains most of what the pixels differ in beyond `floor`; None: none does.

    `floor`: the squared error that the codec of one of the files costs; 0: not known. The estimate may be too high.
    """
    before = _error(a, b)
    if before < LEAST:
        return None
    found = [(levels, _error(np.clip(levels.apply(a), 0, 255), b)) for levels in _candidates(a, b)]
    least = min(error for _, error in found)
    for levels, error in sorted(found, key=lambda item: (item[0].simplicity, item[1])):
        if error <= least + _AS_GOOD * (before - least) + _ROUNDING:
            gain = before - error
            share = gain / before
            beyond = before - _SURELY * floor
            if floor and levels.simplicity <= _SIMPLE and gain >= _SEEN * before and beyond > 0:
                share = max(share, min(1.0, gain / beyond))
            if share < EXPLAINS or gain < LEAST:
                return None
            return Levels(
                change=levels.change,
                text=levels.text,
                explains=round(share, 4),
                apply=levels.apply,
                values=levels.values,
                simplicity=levels.simplicity,
            )
    return None


def is_truncated(a: Frames, b: Frames) -> bool:
    """Whether every value of B is A's or one less, in about half of all places: cut to 8 bits instead of rounded."""
    lower = total = 0
    for first, second in zip(a, b, strict=True):
        apart = first.astype(np.int16) - second
        if apart.min() < 0 or apart.max() > 1:
            return False
        lower += int(apart.sum())
        total += apart.size
    return 0.3 <= lower / total <= 0.7


def _error(a: Pixels, b: Pixels) -> float:
    return float(np.square(a - b).mean())


def _candidates(a: Pixels, b: Pixels) -> Iterator[Levels]:
    yield from _fixed()
    yield _gamma(a, b)
    yield from _saturation(a, b)
    yield _brightness(a, b)
    yield _contrast(a, b)
    yield _tint(a, b)


def _fixed() -> Iterator[Levels]:
    washed = "washed out: its levels go from 16 to 235, as if video of limited range was read as full range"
    harsh = "with too much contrast: levels below 16 and above 235 are cut off, as if full range was read as limited"
    for chroma in (219 / 255, 224 / 255):
        yield _range(washed, 219 / 255, 16.0, chroma)
        yield _range(harsh, 255 / 219, -16 * 255 / 219, 1 / chroma)
    for written, read in (("BT.601", "BT.709"), ("BT.709", "BT.601")):
        yield _linear("matrix", f"off in colour: written with {written}, read with {read}", _matrix(written, read))
    yield _linear("channels", "with red and blue swapped (BGR for RGB)", np.eye(3, dtype=np.float32)[::-1])


def _range(text: str, scale: float, offset: float, chroma: float) -> Levels:
    def apply(pixels: Pixels) -> Pixels:
        luma = _luma(pixels)
        return np.asarray(luma * scale + offset + (pixels - luma) * chroma, np.float32)

    return Levels(change="range", text=text, explains=0.0, apply=apply)


def _linear(change: Change, text: str, matrix: npt.NDArray[np.float32]) -> Levels:
    def apply(pixels: Pixels) -> Pixels:
        return np.asarray(pixels @ matrix.T, np.float32)

    return Levels(change=change, text=text, explains=0.0, apply=apply)


def _matrix(written: str, read: str) -> npt.NDArray[np.float32]:
    """The RGB that one matrix makes of what another wrote: differences of colour are scaled by those of its weights."""
    return np.asarray(np.linalg.inv(_to_yuv(read)) @ _to_yuv(written), np.float32)


def _to_yuv(name: str) -> npt.NDArray[np.float64]:
    red, blue = _KR_KB[name]
    luma = np.array([red, 1 - red - blue, blue])
    return np.stack([luma, (np.eye(3)[2] - luma) / (2 - 2 * blue), (np.eye(3)[0] - luma) / (2 - 2 * red)])


def _luma(pixels: Pixels) -> Pixels:
    return np.asarray(pixels @ np.array([0.299, 0.587, 0.114], np.float32), np.float32)[..., None]


def _gamma(a: Pixels, b: Pixels) -> Levels:
    some = slice(None, None, max(1, len(a) // 20_000))
    unit, target = np.clip(a[some] / 255, 1e-6, 1), b[some] / 255

    def loss(gamma: float) -> float:
        return float(np.square(unit**gamma - target).mean())

    gamma = float(np.exp(_least(lambda power: loss(float(np.exp(power))), -1.2, 1.2)))

    def apply(pixels: Pixels) -> Pixels:
        return np.asarray(255 * np.clip(pixels / 255, 0, 1) ** gamma, np.float32)

    look = "darker" if gamma > 1 else "lighter"
    return Levels(
        change="gamma",
        text=f"{look} by a gamma of {gamma:.2f}",
        explains=0.0,
        apply=apply,
        values={"gamma": round(gamma, 4)},
        simplicity=1,
    )


def _least(loss: Callable[[float], float], low: float, high: float) -> float:
    """The place of the least value between two bounds, by golden section."""
    ratio = (5**0.5 - 1) / 2
    first, second = high - ratio * (high - low), low + ratio * (high - low)
    at_first, at_second = loss(first), loss(second)
    for _ in range(24):
        if at_first < at_second:
            high, second, at_second = second, first, at_first
            first = high - ratio * (high - low)
            at_first = loss(first)
        else:
            low, first, at_first = first, second, at_second
            second = low + ratio * (high - low)
            at_second = loss(second)
    return (low + high) / 2


def _saturation(a: Pixels, b: Pixels) -> Iterator[Levels]:
    for red, blue in _KR_KB.values():
        weights = np.array([red, 1 - red - blue, blue], np.float32)
        luma = (a @ weights)[:, None]
        colour = a - luma
        energy = float(np.square(colour).sum())
        factor = float((colour * (b - luma)).sum() / energy) if energy > 0 else 1.0
        yield _saturated(factor, weights)


def _saturated(factor: float, weights: npt.NDArray[np.float32]) -> Levels:
    def apply(pixels: Pixels) -> Pixels:
        luma = (pixels @ weights)[..., None]
        return np.asarray(luma + factor * (pixels - luma), np.float32)

    if abs(factor) < 0.02:
        text = "without colour"
    else:
        text = f"{'less' if factor < 1 else 'more'} saturated, {factor:.2f} times"
    values = {"factor": round(factor, 4)}
    return Levels(change="saturation", text=text, explains=0.0, apply=apply, values=values, simplicity=1)


def _brightness(a: Pixels, b: Pixels) -> Levels:
    offset = float((b - a).mean())
    for _ in range(3):
        kept = (a + offset > 0.5) & (a + offset < 254.5) & (b > 0) & (b < 255)
        if kept.any():
            offset = float((b - a)[kept].mean())

    def apply(pixels: Pixels) -> Pixels:
        return np.asarray(pixels + offset, np.float32)

    text = f"{abs(offset):.1f} levels {'brighter' if offset > 0 else 'darker'}"
    values = {"gain": 1.0, "offset": round(offset, 2)}
    return Levels(change="contrast", text=text, explains=0.0, apply=apply, values=values, simplicity=1)


def _contrast(a: Pixels, b: Pixels) -> Levels:
    gain, offset = _line(a.reshape(-1), b.reshape(-1))

    def apply(pixels: Pixels) -> Pixels:
        return np.asarray(gain * pixels + offset, np.float32)

    if gain < 0:
        text = "inverted"
    else:
        brightness = f"{abs(offset):.1f} levels {'brighter' if offset > 0 else 'darker'}"
        text = f"with {gain:.2f} times the contrast, {brightness} at black"
    values = {"gain": round(gain, 4), "offset": round(offset, 2)}
    return Levels(change="contrast", text=text, explains=0.0, apply=apply, values=values, simplicity=2)


def _tint(a: Pixels, b: Pixels) -> Levels:
    lines = np.array([_line(a[:, channel], b[:, channel]) for channel in range(3)], np.float32)

    def apply(pixels: Pixels) -> Pixels:
        return np.asarray(pixels * lines[:, 0] + lines[:, 1], np.float32)

    gains = ", ".join(
        f"{name} times {gain:.2f} {'plus' if offset >= 0 else 'minus'} {abs(offset):.0f}"
        for name, (gain, offset) in zip(("red", "green", "blue"), lines, strict=True)
    )
    values = {name: round(float(gain), 4) for name, gain in zip(("red", "green", "blue"), lines[:, 0], strict=True)}
    return Levels(change="tint", text=f"tinted: {gains}", explains=0.0, apply=apply, values=values, simplicity=6)


def _line(x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Gain and offset by least squares, without the values that are cut off at 0 or 255."""
    gain, offset = _fit(x, y)
    for _ in range(3):
        made = gain * x + offset
        kept = (made > 0.5) & (made < 254.5) & (y > 0) & (y < 255)
        if kept.sum() < 0.05 * len(x):
            break
        gain, offset = _fit(x[kept], y[kept])
    return gain, offset


def _fit(x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]) -> tuple[float, float]:
    centre, mean = float(x.mean()), float(y.mean())
    spread = float(np.square(x - centre).mean())
    gain = float(((x - centre) * (y - mean)).mean() / spread) if spread > 1e-6 else 1.0
    return gain, mean - gain * centre
