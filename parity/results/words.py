"""The words and figures in which results are told, wherever they are: one spelling for each."""

from __future__ import annotations

import math
from collections.abc import Iterable

METRIC_DIGITS = {"psnr": 2, "ssim": 4, "lpips": 4, "vmaf": 2}
"""Every metric, and the decimals it is written with."""


def duration(seconds: float) -> str:
    """A time that somebody waits: `8 s`, `1 min 40 s`, `12 min`, `1 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 10:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    if not hours:
        return f"{minutes} min"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def decibels(psnr: float | None, digits: int = METRIC_DIGITS["psnr"]) -> str:
    """A PSNR with its unit: `36.12 dB`. A sentence that rounds takes fewer `digits`. None: infinite, as in a result."""
    return "∞ dB" if psnr is None or math.isinf(psnr) else f"{psnr:.{digits}f} dB"


def figure(metric: str, value: float | None, *, unit: bool = True) -> str:
    """A metric's value: `36.12 dB` or, without unit, `36.12`; `0.9531`. None: infinite, as in a result."""
    if metric == "psnr" and unit:
        return decibels(value)
    return "∞" if value is None or math.isinf(value) else f"{value:.{METRIC_DIGITS[metric]}f}"


def factor_name(factor: str) -> str:
    """A factor as people write it: `lora_application` is "LoRA application"."""
    return " ".join(
        {"lora": "LoRA", "loras": "LoRAs", "vae": "VAE", "clip": "CLIP"}.get(word, word) for word in factor.split("_")
    )


def in_a_line(metric: str, tolerance: Iterable[str]) -> bool:
    """Whether a metric that was measured is told in one line of text: LPIPS only if a tolerance key limits it."""
    return metric != "lpips" or any(key.startswith(metric) for key in tolerance)
