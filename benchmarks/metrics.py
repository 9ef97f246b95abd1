"""SSIM and PSNR against scikit-image, PSNR alone against numpy in float64; LPIPS and VMAF as information."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from benchmarks.core import Row, Size, duration, in_turn
from parity.comparison import lpips, vmaf
from parity.comparison.metrics import measure, psnr_frame
from parity.comparison.ssim import ssim_frame
from pipelines.media.video import Frames

PROMISE = "at most 1/12"


def rows(size: Size) -> Iterator[Row]:
    """SSIM and PSNR of 41 frames of 832x480 against scikit-image; LPIPS and VMAF.

    The video is of smooth shapes with grain, the other has other grain.
    """
    count, height, width = (2, 48, 80) if size.small else (41, 480, 832)
    a, b = _video(count, height, width, seed=1), _video(count, height, width, seed=2)
    what = f"{count} frames of {width}x{height}"
    few = slice(0, min(count, 8))  # scikit-image takes 6 s for all of them, and no frame longer than another
    share = len(a[few]) / count
    cores = len(os.sched_getaffinity(0))

    ours, theirs = in_turn(size.pairs, lambda: measure(a, b, ("psnr", "ssim")), lambda: _scikit_image(a[few], b[few]))
    theirs /= share
    yield Row(
        what=f"SSIM and PSNR, {what}, on {cores} cores",
        anchor="scikit-image, which uses one of them",
        ratio=ours / theirs,
        promise=PROMISE,
        ours=duration(ours),
        theirs=duration(theirs),
    )
    one, theirs = in_turn(
        size.pairs,
        lambda: [(ssim_frame(*pair), psnr_frame(*pair)) for pair in zip(a[few], b[few], strict=True)],
        lambda: _scikit_image(a[few], b[few]),
    )
    yield Row(
        what="the same on one core",
        anchor="scikit-image on one core",
        ratio=one / theirs,
        ours=duration(one / share),
        theirs=duration(theirs / share),
    )
    psnr, theirs = in_turn(
        size.pairs,
        lambda: [psnr_frame(*pair) for pair in zip(a[few], b[few], strict=True)],
        lambda: [_psnr_in_float64(*pair) for pair in zip(a[few], b[few], strict=True)],
    )
    yield Row(
        what=f"PSNR, {what}, exact",
        anchor="numpy in float64",
        ratio=psnr / theirs,
        ours=duration(psnr / share),
        theirs=duration(theirs / share),
    )
    yield from _information(a[few], b[few], size)


def _information(a: Frames, b: Frames, size: Size) -> Iterator[Row]:
    """The dear metrics, a frame: they have no anchor, because each is measured by its only implementation here."""
    for name, why_not, run in (
        ("LPIPS (AlexNet)", lpips.why_not(), lambda: lpips.distances(a[:2], b[:2])),
        ("VMAF", None, lambda: vmaf.scores(a, b)),
    ):
        what = f"{name}, a frame of {a.shape[2]}x{a.shape[1]}"
        if why_not is not None:
            yield Row(what=what, anchor="", ratio=None, ours=f"not measured: {why_not}")
            continue
        (seconds,) = in_turn(size.pairs, run)
        yield Row(what=what, anchor="", ratio=None, ours=duration(seconds / (2 if "LPIPS" in name else len(a))))


def _scikit_image(a: Frames, b: Frames) -> list[tuple[float, float]]:
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    return [
        (
            float(
                structural_similarity(
                    x, y, channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
                )
            ),
            float(peak_signal_noise_ratio(x, y, data_range=255)),
        )
        for x, y in zip(a, b, strict=True)
    ]


def _psnr_in_float64(a: Frames, b: Frames) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)))


def _video(count: int, height: int, width: int, seed: int) -> Frames:
    rows, columns = np.mgrid[:height, :width]
    rng = np.random.default_rng(seed)
    shapes = (128 + 100 * np.sin((columns + 9 * index) / 50) * np.cos(rows / 70) for index in range(count))
    noisy = (shape[..., None] + rng.normal(0, 4, (height, width, 3)) for shape in shapes)
    return np.stack([frame.clip(0, 255).astype(np.uint8) for frame in noisy])
