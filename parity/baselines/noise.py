"""The difference that another environment alone may make to the output of one recipe, and to its metrics."""

from __future__ import annotations

import math
from dataclasses import dataclass

PSNR = {"lossless": 46.0, "lossy": 35.5}
"""dB between two environments, mean over frames. Measured on the demo's tiny checkpoints in bfloat16: three kinds of
CPU differ by 47.5 to 49.5 dB in raw frames and 36.3 to 37 dB in WebP files; the same limits as the tests and the demo's
tolerance. A wrong scheduler is at 38 and 34 dB."""

SSIM = {"lossless": 0.997, "lossy": 0.94}
"""Mean SSIM between two environments: measured at least 0.9978 and 0.951; a wrong scheduler's file is at 0.92."""

_WORST_FRAME_PSNR = 1.8
_WORST_FRAME_SSIM = 1.3
"""Factors by which a single frame's error may exceed the mean: measured up to 1.7 (35.5 - 33.8 dB lossy) and 1.25."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """The difference that another environment alone may make. None: the default, which depends on the codec."""

    psnr: float | None = None
    """dB, mean over frames."""
    ssim: float | None = None
    """Mean over frames."""

    def allowed(self, metric: str, baseline: float, *, lossless: bool, frame: bool) -> float | None:
        """The value that a metric (higher is better) may fall to in another environment.

        The baseline's error and the noise are taken as independent: squared errors add, and 1 - SSIM is about
        proportional to them. `baseline` may be infinite; then only the noise counts. `frame`: for a single frame,
        which scatters more than the mean. None for a metric without a noise model: LPIPS jumps by 0.26 for
        one unit in the last place (Wan 2.2, as others measured), so no limit would be useful; VMAF's was not measured.
        """
        kind = "lossless" if lossless else "lossy"
        if metric == "psnr":
            noise = PSNR[kind] if self.psnr is None else self.psnr
            error = 10 ** (-noise / 10) * (_WORST_FRAME_PSNR if frame else 1)
            return -10 * math.log10(10 ** (-baseline / 10) + error)
        if metric == "ssim":
            noise = SSIM[kind] if self.ssim is None else self.ssim
            return baseline - (1 - noise) * (_WORST_FRAME_SSIM if frame else 1)
        return None
