"""Image metrics per frame, each with its direction and its exact variant."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parity.results.case import MetricResult
from pipelines.media.video import Frames

HIGHER_IS_BETTER = {"psnr": True, "ssim": True, "lpips": False}

VARIANTS = {
    "psnr": "RGB, 8 bit, peak 255; mean over the frames that differ",
    "ssim": "scikit-image, RGB, Gaussian window sigma 1.5 (11x11), population covariance; mean of channels",
    "lpips": "lpips 0.1, AlexNet, RGB scaled to -1..1",
}
"""The exact formula of each metric."""

_ALEXNET = "alexnet-owt-7be5be79.pth"


def psnr_frame(a: Frames, b: Frames) -> float:
    """Peak signal-to-noise ratio of two frames (H, W, 3), or videos, in dB; infinite for identical ones."""
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def ssim_frame(a: Frames, b: Frames) -> float:
    """Structural similarity of two frames (H, W, 3), -1 to 1."""
    from skimage.metrics import structural_similarity

    value: Any = structural_similarity(
        a, b, channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return float(value)


def measure(preview: Frames, output: Frames, names: Sequence[str] = tuple(HIGHER_IS_BETTER)) -> dict[str, MetricResult]:
    """Measure PSNR, SSIM and LPIPS, or those in `names`, of two videos of equal shape (T, H, W, 3), frame by frame."""
    meters = {"psnr": _psnr, "ssim": _ssim, "lpips": _lpips}
    return {name: meters[name](preview, output) for name in names}


def _psnr(preview: Frames, output: Frames) -> MetricResult:
    return summarize("psnr", [psnr_frame(a, b) for a, b in zip(preview, output, strict=True)])


def _ssim(preview: Frames, output: Frames) -> MetricResult:
    if min(preview.shape[1:3]) < 11:
        return unavailable("ssim", "frames are smaller than the 11x11 window")
    return summarize("ssim", [ssim_frame(a, b) for a, b in zip(preview, output, strict=True)])


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


def lpips_weights() -> Path:
    """The place of the AlexNet weights that LPIPS needs, in torch hub's cache."""
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
    return Path(home).expanduser() / "hub" / "checkpoints" / _ALEXNET


def _lpips(preview: Frames, output: Frames) -> MetricResult:
    """Measure LPIPS on the CPU, so that the number does not depend on the GPU. Never downloads."""
    if not lpips_weights().is_file():
        return unavailable(
            "lpips",
            f"AlexNet weights not found ({lpips_weights()}); with network access, run `parity fetch --lpips` once",
        )
    if min(preview.shape[1:3]) < 32:
        return unavailable("lpips", "frames are smaller than AlexNet's 32 pixels")
    import torch

    model = _lpips_model()

    def tensor(frame: Frames) -> torch.Tensor:
        return torch.from_numpy(frame.astype(np.float32).transpose(2, 0, 1)[None] / 127.5 - 1)

    with torch.no_grad():
        pairs = zip(preview, output, strict=True)
        return summarize("lpips", [float(model(tensor(a), tensor(b))) for a, b in pairs])


_models: dict[str, Any] = {}


def _lpips_model() -> Any:
    from pipelines.engine.torch_setup import declare_missing_torchvision_operators

    declare_missing_torchvision_operators()
    if "alex" not in _models:
        import lpips

        with warnings.catch_warnings():  # lpips 0.1.4 still asks torchvision for `pretrained`
            warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
            _models["alex"] = lpips.LPIPS(net="alex", verbose=False).eval()
    return _models["alex"]


def fetch_lpips() -> Path:
    """Download the AlexNet weights to torch hub's cache. Nothing else downloads them."""
    if not lpips_weights().is_file():
        _lpips_model()
    return lpips_weights()
