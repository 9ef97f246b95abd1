"""Image metrics per frame, each with its direction and its exact variant."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from parity.comparison import lpips, vmaf
from parity.comparison.ssim import WINDOW, ssim_frame
from parity.results.case import MetricResult
from pipelines.errors import MediaError
from pipelines.media.video import Frames

T = TypeVar("T")

HIGHER_IS_BETTER = {"psnr": True, "ssim": True, "lpips": False, "vmaf": True}
STANDARD = ("psnr", "ssim", "lpips")
"""The metrics that are measured unasked."""

VARIANTS = {
    "psnr": "RGB, 8 bit, peak 255; mean over the frames that differ",
    "ssim": "numpy, RGB, Gaussian window sigma 1.5 (11x11), population covariance; mean of channels",
    "lpips": "lpips 0.1, AlexNet, RGB scaled to -1..1",
    "vmaf": f"model {vmaf.MODEL}, luma of BT.601",
}
"""The exact formula of each metric. That of SSIM begins with the program, whose numbers are scikit-image's to 1e-6."""

_AT_ONCE = 1_000_000
"""Pixels of a video above which its frames are measured in threads: for fewer these cost more than they gain."""


def psnr_frame(a: Frames, b: Frames) -> float:
    """Peak signal-to-noise ratio of two frames (H, W, 3), or videos, in dB; infinite for identical ones."""
    apart = (np.maximum(a, b) - np.minimum(a, b)).astype(np.uint16)
    error = int(np.square(apart, out=apart).sum(dtype=np.uint64)) / apart.size  # in whole numbers, so exact
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def measure(
    preview: Frames, output: Frames, names: Sequence[str] = STANDARD, asked: Collection[str] = ()
) -> dict[str, MetricResult]:
    """Measure the metrics in `names`, and those that were `asked` for, of two videos of equal shape (T, H, W, 3).

    LPIPS of a large video is that of its worst frames by PSNR, or of all frames if it was asked for.
    """
    meters = {
        "psnr": _psnr,
        "ssim": _ssim,
        "lpips": lambda a, b: _lpips(a, b, every_frame="lpips" in asked)[0],
        "vmaf": _vmaf,
    }
    return {name: meter(preview, output) for name, meter in meters.items() if name in names or name in asked}


def measure_with_floor(
    preview: Frames, output: Frames, raw: Frames, asked: Collection[str] = ()
) -> tuple[dict[str, MetricResult], dict[str, float | None]]:
    """`measure`, and the `codec_floor` of the raw frames that were delivered as the output.

    The two have the output in common, so LPIPS, the dearest by far, takes three videos through its network, not four.
    """
    others = [name for name in STANDARD if name != "lpips"]
    metrics = measure(preview, output, others, [name for name in asked if name != "lpips"])
    lpips_result, floor_of_lpips = _lpips(preview, output, every_frame="lpips" in asked, raw=raw)
    floor = codec_floor(raw, output, metrics)
    if floor_of_lpips is not None:
        floor["lpips"] = floor_of_lpips
    shown = metrics | {"lpips": lpips_result}
    return _in_order(shown), _in_order(floor)


def _in_order(found: Mapping[str, T]) -> dict[str, T]:
    return {name: found[name] for name in HIGHER_IS_BETTER if name in found}


def codec_floor(raw: Frames, delivered: Frames, metrics: Mapping[str, MetricResult]) -> dict[str, float | None]:
    """The loss from the codec alone, measured on our own frames: a limit for every comparison of such files.

    By PSNR and SSIM, and by the other metrics if they were measured, of the same frames. None: lossless.
    """
    if raw.shape != delivered.shape:
        return {}
    measured = [name for name, metric in metrics.items() if metric.unavailable is None]
    psnr = psnr_frame(raw, delivered)
    floor: dict[str, float | None] = {"psnr": psnr if math.isfinite(psnr) else None}
    if min(raw.shape[1:3]) >= WINDOW:
        floor["ssim"] = float(np.mean(_each(ssim_frame, raw, delivered)))
    if "lpips" in measured:
        chosen = list(metrics["lpips"].measured or range(len(raw)))
        floor["lpips"] = float(np.mean(lpips.distances(raw[chosen], delivered[chosen])))
    if "vmaf" in measured:
        floor["vmaf"] = _vmaf(raw, delivered).mean
    return floor


def _psnr(preview: Frames, output: Frames) -> MetricResult:
    return summarize("psnr", _each(psnr_frame, preview, output))


def _ssim(preview: Frames, output: Frames) -> MetricResult:
    if min(preview.shape[1:3]) < WINDOW:
        return unavailable("ssim", "frames are smaller than the 11x11 window")
    return summarize("ssim", _each(ssim_frame, preview, output))


def _each(metric: Callable[[Frames, Frames], float], a: Frames, b: Frames) -> list[float]:
    """A metric of each pair of frames, on all cores: a frame is measured by one thread, so the numbers are the same."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(len(a), cores if a[..., 0].size > _AT_ONCE else 1)
    if workers <= 1:
        return [metric(first, second) for first, second in zip(a, b, strict=True)]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(metric, a, b))


def _lpips(
    preview: Frames, output: Frames, *, every_frame: bool, raw: Frames | None = None
) -> tuple[MetricResult, float | None]:
    """LPIPS, and that of `raw` frames against the output, of the same frames."""
    count, height, width, _ = preview.shape
    why_not = lpips.why_not()
    if why_not is not None:
        return unavailable("lpips", why_not), None
    if min(height, width) < lpips.LEAST_SIDE:
        return unavailable("lpips", "frames are smaller than AlexNet's 32 pixels"), None
    chosen = list(range(count)) if every_frame else _worst(preview, output, lpips.MOST_PIXELS // (height * width))
    others = [video[chosen] for video in (preview, raw) if video is not None]
    distances, *floor = lpips.distances_to(output[chosen], others)
    result, mean = summarize("lpips", distances), float(np.mean(floor[0])) if floor else None
    if len(chosen) == count:
        return result, mean
    variant = f"{result.variant}; of {len(chosen)} of {count} frames, those with the lowest PSNR"
    shown = dict(zip(chosen, result.per_frame, strict=True))
    per_frame = tuple(shown.get(index) for index in range(count))
    return dataclasses.replace(result, variant=variant, per_frame=per_frame, measured=tuple(chosen)), mean


def _worst(a: Frames, b: Frames, most: int) -> list[int]:
    """The indices of up to `most` frames, at least one, those with the lowest PSNR."""
    if len(a) <= most:
        return list(range(len(a)))
    psnr = _each(psnr_frame, a, b)
    return sorted(sorted(range(len(a)), key=psnr.__getitem__)[: max(1, most)])


def _vmaf(preview: Frames, output: Frames) -> MetricResult:
    if min(preview.shape[1:3]) < vmaf.LEAST_SIDE:
        return unavailable("vmaf", f"frames are smaller than {vmaf.LEAST_SIDE} pixels")
    try:
        scores = vmaf.scores(preview, output)
    except MediaError as error:
        return unavailable("vmaf", str(error))
    result = summarize("vmaf", scores.per_frame)
    return dataclasses.replace(result, variant=f"libvmaf {scores.libvmaf}, {result.variant}")


def summarize(name: str, values: Sequence[float]) -> MetricResult:
    """Mean and extremes of per-frame values. Infinite values are counted, but not part of the mean."""
    finite = [value for value in values if math.isfinite(value)]
    shown = tuple(value if math.isfinite(value) else None for value in values)
    return MetricResult(
        variant=VARIANTS[name],
        higher_is_better=HIGHER_IS_BETTER[name],
        mean=sum(finite) / len(finite) if finite else None,
        min=min(finite) if finite else None,
        max=max(finite) if len(finite) == len(values) else None,
        per_frame=shown,
        identical_frames=len(values) - len(finite),
    )


def statistic(metric: MetricResult, key: str) -> float:
    """The value that a tolerance key (`psnr`, `ssim_min`, `lpips_max`) limits: the mean, or the worst frame."""
    value = {"": metric.mean, "min": metric.min, "max": metric.max}[key.partition("_")[2]]
    return math.inf if value is None else value


def meets(metric: MetricResult, key: str, limit: float) -> bool:
    """Return whether a measured metric is within a tolerance."""
    number = statistic(metric, key)
    return number >= limit if metric.higher_is_better else number <= limit


def unavailable(name: str, reason: str) -> MetricResult:
    """A metric that was not measured, with the reason."""
    return MetricResult(variant=VARIANTS[name], higher_is_better=HIGHER_IS_BETTER[name], unavailable=reason)
