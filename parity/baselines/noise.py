"""How far two environments may lie apart that draw the same recipe, and what that does to a metric."""

from __future__ import annotations

import math
from dataclasses import dataclass

PSNR = {"lossless": 46.0, "lossy": 35.5}
"""dB between two environments, mean over frames. Measured on the demo's tiny checkpoints in bfloat16: three kinds of
CPU draw raw frames 47.5 to 49.5 dB apart and WebP files 36.3 to 37 dB; the same limits as the tests and the demo's
tolerance. A wrong scheduler is at 38 and 34 dB."""

SSIM = {"lossless": 0.997, "lossy": 0.94}
"""The same: measured 0.9978 and 0.951 at the least; a wrong scheduler's file is at 0.92."""

_WORST_FRAME_PSNR = 1.8
_WORST_FRAME_SSIM = 1.3
"""How many times the error a single frame may have: measured up to 1.7 (35.5 - 33.8 dB lossy) and 1.25."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """What another environment alone may cost. None: the default, which depends on the codec."""

    psnr: float | None = None
    """dB, mean over frames."""
    ssim: float | None = None
    """Mean over frames."""

    def allowed(self, metric: str, baseline: float, *, lossless: bool, frame: bool) -> float | None:
        """What a metric (higher is better) may fall to in another environment.

        The baseline's error and the noise are taken as independent: squared errors add, and what SSIM lacks to 1 is
        about proportional to them. `baseline`: may be infinite; the noise is then all there is. `frame`: of a single
        frame, which scatters more than the mean. None for a metric without a noise model: LPIPS jumps by 0.26 for
        one unit in the last place (Wan 2.2, as others measured), so no limit would be both quiet and of use.
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
