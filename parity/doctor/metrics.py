"""The metrics on this machine: SSIM against scikit-image's, and whether LPIPS has its weights."""

from __future__ import annotations

from collections.abc import Iterator

from parity.doctor.check import Asked, Check, ok, problem, skipped, warning

MOST_APART = 1e-6
"""How far SSIM may be from scikit-image's: no figure shows it."""


def ssim(_: Asked) -> Iterator[Check]:
    """SSIM of two small frames, whose size fills no block of ours, as ours and as scikit-image's."""
    import numpy as np

    try:
        from skimage.metrics import structural_similarity
    except ImportError:
        yield skipped("ssim", "scikit-image is not installed, which it is compared with", "pip install scikit-image")
        return
    from parity.comparison.ssim import ssim_frame

    chance = np.random.default_rng(0)
    frame = chance.integers(0, 256, (75, 93, 3), np.uint8)
    other = np.clip(frame + chance.normal(0, 20, frame.shape), 0, 255).astype(np.uint8)
    theirs = structural_similarity(
        frame, other, channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    apart = abs(ssim_frame(frame, other) - float(theirs))
    if apart <= MOST_APART:
        yield ok("ssim", f"as scikit-image measures it, to {MOST_APART:g}")
    else:
        found = f"{apart:.1g} from scikit-image's: its figures cannot be trusted"
        yield problem("ssim", found, "compare the versions above with the tested ones; or report it")


def lpips(_: Asked) -> Iterator[Check]:
    """The weights of LPIPS, which come in a package of their own."""
    from parity.comparison.lpips import weights, why_not

    reason = why_not()
    if reason is None:
        yield ok("lpips", f"weights in {weights()}")
    else:
        found, to_do = reason.split("; ")
        yield warning("lpips", f"{found}: LPIPS is not measured, PSNR and SSIM are", to_do)
