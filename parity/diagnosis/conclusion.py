"""A diagnosis in one sentence."""

from __future__ import annotations

from parity.diagnosis.ranking import RequestNoise
from parity.results.diagnosis import Closeness, FactorCost, Stopped, Trial
from parity.results.words import decibels


def format_closeness(closeness: Closeness) -> str:
    """Format as `36.1 dB`, `bit-identical` or `not comparable`."""
    if closeness.unavailable is not None:
        return "not comparable"
    return "bit-identical" if closeness.identical else decibels(closeness.psnr, 1)


def conclude(
    factors: tuple[FactorCost, ...],
    smallest: tuple[str, ...] | None,
    as_is: Trial | None,
    preview: Trial | None,
    stopped: Stopped | None,
    error: str | None,
    noise: RequestNoise | None = None,
    left_out: tuple[str, ...] = (),
) -> str:
    """Say in one sentence what is known so far: explained or not, by which factors, and which matters most.

    `left_out`: the factors without which both sides were generated.
    """
    if stopped == "error":
        return f"stopped: {error}"
    head = "interrupted; so far: " if stopped == "interrupted" else ""
    if preview is None or as_is is None:
        return f"{head}the preview's recipe was not generated, so nothing is known"
    if not factors:
        return _without_factors(preview)
    names = ", ".join(smallest) if smallest is not None else ""
    if preview.to_preview.identical:
        cause = f"fixing {names}" if names else "the preview's recipe"
        sentence = f"fully explained: {cause} reproduces the preview bit for bit"
    elif preview.to_preview.unavailable is not None:
        sentence = (
            f"not explained: the preview's own recipe generates {preview.to_preview.unavailable}; this preview was "
            "generated from another config (try --search)"
        )
    else:
        cause = f"fixing {names}" if names else "the preview's recipe"
        before, after = format_closeness(as_is.to_preview), format_closeness(preview.to_preview)
        sentence = f"partly explained: {cause} reaches {after} (as requested: {before}); "
        sentence += (
            f"the remaining difference is that of {', '.join(left_out)}, not supported yet and left out on both sides"
            if left_out
            else "the remaining difference lies outside the recipes"
        )
    first = factors[0]
    if len(factors) > 1 and first.level in ("visible", "frames do not pair"):
        sentence += f"; {first.factor} matters most"
    if noise is not None:
        sentence += f"; {noise}"
    return head + sentence


def _without_factors(preview: Trial) -> str:
    if preview.to_preview.identical:
        return "nothing to explain: the recipes are equal and the frames are bit-identical"
    closeness = format_closeness(preview.to_preview)
    return f"the recipes are equal, the videos are not ({closeness}): the cause lies outside the recipes"
