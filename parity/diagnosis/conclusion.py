"""A diagnosis in one sentence."""

from __future__ import annotations

from parity.diagnosis.ranking import Noise
from parity.results.diagnosis import Closeness, FactorCost, Stopped, Trial


def words(closeness: Closeness) -> str:
    """`36.1 dB`, `bit-identical`, or why there is no figure."""
    if closeness.unavailable is not None:
        return "frames do not pair"
    return "bit-identical" if closeness.identical else f"{closeness.psnr:.1f} dB"


def conclude(
    factors: tuple[FactorCost, ...],
    smallest: tuple[str, ...] | None,
    as_is: Trial | None,
    preview: Trial | None,
    stopped: Stopped | None,
    error: str | None,
    noise: Noise | None = None,
) -> str:
    """What is known by now: explained or not, by which factors, and which costs most."""
    if stopped == "error":
        return f"stopped: {error}"
    head = "interrupted; so far: " if stopped == "interrupted" else ""
    if preview is None or as_is is None:
        return f"{head}the preview's recipe was not drawn, so nothing is known"
    if not factors:
        return _without_factors(preview)
    names = ", ".join(smallest) if smallest is not None else ""
    if preview.to_preview.identical:
        verb = "restores" if smallest is not None and len(smallest) == 1 else "restore"
        what = f"{names} {verb} the preview to the last bit" if names else "the preview's recipe repeats the preview"
        sentence = f"fully explained: {what}"
    elif preview.to_preview.unavailable is not None:
        sentence = (
            f"not explained: the preview's own recipe makes {preview.to_preview.unavailable}; another config drew "
            "this preview (try --search)"
        )
    else:
        sentence = f"explained up to {words(preview.to_preview)} (as it is: {words(as_is.to_preview)})"
        sentence += f": {names}; the rest lies outside the recipes" if names else "; the rest lies outside the recipes"
    first = factors[0]
    if len(factors) > 1 and first.level in ("visible", "frames do not pair"):
        sentence += f"; {first.factor} costs most"
    if noise is not None:
        sentence += f"; {noise}"
    return head + sentence


def _without_factors(preview: Trial) -> str:
    if preview.to_preview.identical:
        return "nothing to explain: the recipes are equal and so are the bits"
    return f"the recipes are equal, the videos are not ({words(preview.to_preview)}): the cause lies outside them"
