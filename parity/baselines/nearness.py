"""A result's metrics compared with its baseline's: closer to the preview, further from it, or neither."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from parity.baselines.file import DECIMALS, BaselineMetric
from parity.baselines.noise import Noise
from parity.results.case import MetricResult
from parity.results.words import figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearness:
    """The changes of the metrics, as text."""

    worse: tuple[str, ...]
    better: tuple[str, ...]
    missing: tuple[str, ...]
    """Decisive metrics of the baseline that cannot be compared now."""
    notes: tuple[str, ...]


def compare_metrics(
    before: Mapping[str, BaselineMetric], after: Mapping[str, MetricResult], noise: Noise | None, *, lossless: bool
) -> Nearness:
    """Compare means and frames of every metric. `noise` None: in an equal environment, up to the file's rounding."""
    worse: list[str] = []
    better: list[str] = []
    missing: list[str] = []
    notes: list[str] = []
    for name, old in before.items():
        new = after.get(name)
        reason = _cannot(old, new)
        if new is None or reason is not None:
            (missing if name in ("psnr", "ssim") else notes).append(f"{name} cannot be compared: {reason}")
            continue
        if noise is not None and noise.allowed(name, 0.0, lossless=lossless, frame=False) is None:
            notes.append(f"{name} is compared only in an equal environment: {_mean(old.mean)} -> {_mean(new.mean)}")
            continue
        lower, higher = _moves(name, old, new, noise, lossless)
        worse += lower
        better += higher
    return Nearness(worse=tuple(worse), better=tuple(better), missing=tuple(missing), notes=tuple(notes))


def _cannot(old: BaselineMetric, new: MetricResult | None) -> str | None:
    if new is None:
        return "was not measured"
    if new.unavailable is not None:
        return new.unavailable
    if _formula(new.variant) != _formula(old.variant):
        return f"different formula ({old.variant} -> {new.variant})"
    if len(new.per_frame) != len(old.per_frame):
        return f"{len(new.per_frame)} frames instead of {len(old.per_frame)}"
    return None


def _formula(variant: str) -> str:
    """A variant without the program that computes SSIM: scikit-image before 0.2, numpy since. They agree to 1e-6."""
    program, _, formula = variant.partition(", ")
    return formula if program in ("scikit-image", "numpy") else variant


def _moves(
    name: str, old: BaselineMetric, new: MetricResult, noise: Noise | None, lossless: bool
) -> tuple[list[str], list[str]]:
    """The changes for the worse and for the better: the whole video first, then the frame that changed most.

    What is shown is what was decided on. A frame is never named without how the whole video moved.
    """
    sign = 1 if old.higher_is_better else -1
    unit = 10.0 ** -DECIMALS.get(name, 5)  # one unit of the last digit that a baseline keeps

    def fell(a: float, b: float, *, frame: bool) -> bool:
        """Return whether `b` is worse than `a` by more than noise."""
        allowed = noise.allowed(name, a, lossless=lossless, frame=frame) if noise is not None else None
        return sign * (b - (a if allowed is None else allowed)) < -unit and a != b

    worse: list[str] = []
    better: list[str] = []
    before, after = _whole(name, old.mean, old.per_frame), _whole(name, new.mean, new.per_frame)
    label = _label(name, (before, _number(old.mean)), (after, _number(new.mean)))
    change = f"{_show(name, before)} -> {_show(name, after)}"
    if fell(before, after, frame=False):
        worse.append(f"{label} {change}")
    elif fell(after, before, frame=False):
        better.append(f"{label} {change}")
    pairs = [
        (k, _number(a), _number(b))
        for k, (a, b) in enumerate(zip(old.per_frame, new.per_frame, strict=True))
        if name == "psnr" or None not in (a, b)  # only PSNR's can be infinite: LPIPS of such a frame was not measured
    ]
    down = [(k, a, b) for k, a, b in pairs if fell(a, b, frame=True)]
    up = [(k, a, b) for k, a, b in pairs if fell(b, a, frame=True)]
    for found, changes in ((down, worse), (up, better)):
        if found:
            k, a, b = max(found, key=lambda item: abs(_finite(item[1]) - _finite(item[2])))
            more = f" and {len(found) - 1} more" if len(found) > 1 else ""
            whole = "" if changes else f" (whole video: {label} {change})"
            changes.append(f"{name.upper()} of frame {k} {_show(name, a)} -> {_show(name, b)}{more}{whole}")
    return worse, better


def _whole(name: str, mean: float | None, per_frame: Sequence[float | None]) -> float:
    """The metric over the whole video; PSNR by mean squared error, in which noise adds up, and every frame counts."""
    if name != "psnr" or not per_frame:
        return _number(mean)
    error = sum(10 ** (-_number(value) / 10) for value in per_frame) / len(per_frame)
    return -10 * math.log10(error) if error else math.inf


def _label(name: str, *pairs: tuple[float, float]) -> str:
    """The metric's name, and what it is if it is not, as shown, the mean that the report shows. Pairs of both."""
    same = all(_show(name, whole) == _show(name, mean) for whole, mean in pairs)
    return name.upper() if same else f"{name.upper()} by mean squared error"


def _number(value: float | None) -> float:
    return math.inf if value is None else value


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 1000.0


def _show(name: str, value: float) -> str:
    return "identical" if math.isinf(value) else figure(name, value)


def _mean(value: float | None) -> str:
    return "identical" if value is None else f"{value:.4g}"
