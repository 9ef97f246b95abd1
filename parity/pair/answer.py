"""The answer on two files in one sentence, and what each part of it rests on. It claims no more than was found."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from parity.pair import geometry as places
from parity.pair import timing as times
from parity.pair.codec import Loss
from parity.pair.geometry import Geometry
from parity.pair.levels import Levels
from parity.pair.timing import MOST_FRAMES, Timing
from parity.results.pair import FileFacts, PairFinding, PairOutcome, SettingDifference
from parity.results.words import decibels
from pipelines.files.words import plural, shorten, together

CODEC_TIMES = 1.6
"""Two files are the same up to re-encoding if their squared error is at most this many times what the codecs are
estimated to cost: 2 dB, of pixels and of the means of 8x8 blocks. The estimate is within 0.8 dB for H.264 and VP9 and
1.9 dB for WebP, on recordings of real ComfyUI whose frames before encoding are known."""
_RELATED = 0.5
"""The least likeness of structure at which two videos have something in common."""
_OTHER_SPEED = 0.025
"""By which frame rates may differ: a WebP of 16 fps shows its frames for 62 ms, which is 16.13."""
_GIF_MS = 10
"""Milliseconds to which a GIF rounds the time of its frames."""
_NO_CAUSE = ("file", "fps")
"""Settings of a graph that change how its frames are saved, not what they show."""
_NAMED = 3
"""Settings that are named in the sentence; the rest is listed."""
_SCALED = 0.95
"""The likeness at which what is left of a scaled video may be the scaling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that was found out about two files."""

    a: FileFacts
    b: FileFacts
    geometry: Geometry
    filter_name: str | None
    timing: Timing
    levels: Levels | None
    truncated: bool
    likeness: float
    alike: bool
    """Whether the structure is alike enough to say how one became the other."""
    identical: bool
    """Whether all pairs of frames are, after geometry and timing."""
    apart: tuple[float, float]
    """The squared error after geometry, timing and levels: of pixels, and of the means of blocks."""
    before: float
    """The squared error after geometry and timing alone."""
    loss: Loss | None
    """The loss of the codecs; None: unknown, or none."""
    broken: tuple[str | None, str | None]
    """What is broken about each video: black or frozen."""
    settings: tuple[SettingDifference, ...] | None = None
    """Where the graphs in the files differ; None: not both hold one that can be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The parts of the result that are words."""

    outcome: PairOutcome
    sentence: str
    findings: tuple[PairFinding, ...]
    notes: tuple[str, ...]


def answer(found: Evidence) -> Answer:
    """The answer."""
    findings = tuple(_findings(found))
    outcome = _outcome(found, findings)
    return Answer(
        outcome=outcome,
        sentence=_sentence(found, findings, outcome),
        findings=findings,
        notes=tuple(_notes(found, outcome)),
    )


def _findings(found: Evidence) -> Iterator[PairFinding]:
    geometry, timing, levels = found.geometry, found.timing, found.levels
    if geometry.change is not None:
        (wide_a, high_a), (wide_b, high_b) = geometry.sizes
        other = f"of another size, {wide_b}x{high_b} not {wide_a}x{high_a}"
        text = places.in_words(geometry, found.filter_name) if found.alike else other
        yield PairFinding(change=geometry.change, text=text)
    yield from _speed(found)
    if timing.change is not None:
        text = times.in_words(timing, found.a.frames, found.b.frames)
        yield PairFinding(change=timing.change, text=text, values=timing.values)
    elif found.a.frames != found.b.frames:
        more = found.b.frames - found.a.frames
        text = (
            f"{plural(abs(more), 'frame')} {'longer' if more > 0 else 'shorter'}, {found.b.frames} not {found.a.frames}"
        )
        yield PairFinding(change="length", text=text, values={"frames": more})
    if levels is not None:
        yield PairFinding(change=levels.change, text=levels.text, explains=levels.explains, values=levels.values)
    if found.truncated:
        text = "cut to 8 bits where A is rounded: every value is A's or one less, as ComfyUI saves them"
        yield PairFinding(change="truncated", text=text)


def _speed(found: Evidence) -> Iterator[PairFinding]:
    """Another frame rate; with as many frames that is another speed."""
    a, b = found.a.fps, found.b.fps
    if not a or not b or abs(a / b - 1) <= _OTHER_SPEED:
        return
    if "gif" in (found.a.kind, found.b.kind) and abs(1000 / a - 1000 / b) <= _GIF_MS:
        return
    resampled = found.timing.change == "speed"
    text = f"{'at' if resampled else 'played at'} {b:.4g} instead of {a:.4g} frames per second"
    yield PairFinding(change="speed", text=text, values={"a": a, "b": b})


def _outcome(found: Evidence, findings: tuple[PairFinding, ...]) -> PairOutcome:
    if not found.alike and not found.identical:
        return "different"
    explained = found.identical or _by_codec(found) or _by_rounding(found)
    if not explained or (_causes(found) and not found.identical):
        return "similar"
    if findings:
        return "altered"
    return "identical" if found.identical else "recoded"


def _by_codec(found: Evidence) -> bool:
    """Whether what is left is no more than the codecs cost.

    Where both files are lossy, the pixels of neither can say what the other's codec took away; the means of blocks,
    which codecs hardly change, still can.
    """
    if found.loss is None:
        return False
    fine, coarse = found.apart
    both_lossy = found.a.lossless is False and found.b.lossless is False
    return coarse <= CODEC_TIMES * found.loss.coarse + 0.3 and (both_lossy or fine <= CODEC_TIMES * found.loss.fine)


def _by_rounding(found: Evidence) -> bool:
    """Whether what is left may be the rounding, cutting off or scaling of what was found."""
    if found.truncated:
        return True
    if found.filter_name is not None and found.likeness >= _SCALED:
        return True
    return found.levels is not None and found.levels.explains >= 0.98


def _sentence(found: Evidence, findings: tuple[PairFinding, ...], outcome: PairOutcome) -> str:
    black = [f"{name} is {what}" for name, what in zip("AB", found.broken, strict=True) if what and "black" in what]
    if black and outcome == "different":
        return f"{' and '.join(black)}."
    size = f"{plural(found.b.frames, 'frame')} of {found.b.width}x{found.b.height}"
    if outcome == "identical":
        return f"Identical, bit for bit: {size}."
    if outcome == "recoded":
        return f"The same video up to re-encoding: {_figures(found)}."
    texts = [finding.text for finding in findings]
    changes = together(texts if len(texts) == 1 else [text.partition(":")[0] for text in texts])
    if outcome == "altered":
        return f"B is A, {changes}; {_rest(found)}."
    if outcome == "similar":
        unknown = _why(found, "other settings or another program can do that, the files cannot say which")
        if findings:
            return f"B looks like A, {changes}, but differs besides: {_figures(found)}; {unknown}."
        if _by_codec(found):
            return f"No further apart than re-encoding puts them ({_figures(found)}), but not one video: {unknown}."
        return f"The same scene, but not the same video: {_figures(found)}; {unknown}."
    besides = f" ({changes})" if findings else ""
    if found.likeness >= _RELATED:
        related = f"parts of the structure are alike ({found.likeness:.0%})"
        return f"Not the same video{besides}: {related}, {_apart(found)}; {_why(found, 'the files cannot say why')}."
    seed = _why(found, "another seed, prompt or settings, or a change not looked for here; the files cannot say which")
    return f"Another video{besides}: the structure differs ({_apart(found)}): {seed}."


def _why(found: Evidence, unknown: str) -> str:
    """Where the graphs in both files differ, or `unknown` where they are not both known."""
    if found.settings is None:
        return unknown
    causes = _causes(found)
    if not causes:
        return "their ComfyUI graphs ask for the same, so the cause is not in them (precision, files, low VRAM)"
    some = [f"{each.name} ({shorten(each.b, 40)}, not {shorten(each.a, 40)})" for each in causes[:_NAMED]]
    more = len(causes) - len(some)
    return f"their ComfyUI graphs differ in {together([*some, *([f'{more} more'] if more else [])])}"


def _causes(found: Evidence) -> list[SettingDifference]:
    """Where the graphs in both files differ in what the frames show."""
    return [each for each in found.settings or () if each.name not in _NO_CAUSE]


def _apart(found: Evidence) -> str:
    """The distance after all that was found."""
    return f"{decibels(_psnr(found.apart[0]), 1)} apart"


def _figures(found: Evidence) -> str:
    """The distance, and what the codecs are estimated to cost."""
    apart = _apart(found)
    if found.loss is None:
        lossless = found.a.lossless is True and found.b.lossless is True
        return f"{apart}, and both files are lossless" if lossless else apart
    cost = decibels(_psnr(found.loss.fine), 0)
    both = found.a.lossless is False and found.b.lossless is False
    alone = f"re-encoding one as the other alone gives about {cost}" if both else f"the codec alone gives about {cost}"
    hidden = found.apart[0] <= CODEC_TIMES * found.loss.fine and not _by_codec(found)
    return f"{apart}; {alone}" + (", but leaves the means of 8x8 blocks closer" if hidden else "")


def _rest(found: Evidence) -> str:
    """What is left after the changes."""
    if found.identical:
        return "the rest is identical, bit for bit"
    if _by_codec(found):
        return f"the rest is re-encoding ({_figures(found)})"
    if found.truncated:
        return "that alone is the difference"
    if found.filter_name is not None:
        return f"what is left ({_apart(found)}) may be the scaling"
    assert found.levels is not None
    if not found.apart[0]:
        return "that alone is the difference, bit for bit"
    return f"that is {math.floor(100 * found.levels.explains)}% of the difference (what is left: {_apart(found)})"


def _notes(found: Evidence, outcome: PairOutcome) -> Iterator[str]:
    for name, what in zip("AB", found.broken, strict=True):
        if what and not (outcome == "different" and "black" in what):
            yield f"{name} is {what}"
    if min(found.a.width, found.a.height, found.b.width, found.b.height) < 8:
        yield "frames of fewer than 8 pixels a side have no structure to compare"
    if found.a.frames != found.b.frames and any(
        file.frames == 1 and "webp" in file.kind for file in (found.a, found.b)
    ):
        yield "a WebP whose frames are all equal holds one: how many were written is not in the file"
    if max(found.a.frames, found.b.frames) > MOST_FRAMES:
        yield f"no other timing was looked for: more than {MOST_FRAMES} frames"
    if not found.alike and (found.a.width, found.a.height) != (found.b.width, found.b.height):
        yield "the sizes differ, and no crop, border or turn makes the pictures alike: one was scaled to be compared"
    if not found.alike:
        yield "levels, crops and timing are only looked for in videos whose structure is alike"
    if found.loss is None and not found.identical and not (found.a.lossless and found.b.lossless):
        yield "what the codecs cost is not known: they cannot be tried here"
    if outcome == "recoded":
        yield "differences smaller than what the codecs cost cannot be seen in these files"
    if not found.a.fps or not found.b.fps:
        yield "the frame rates were not compared: a folder or a still has none"


def _psnr(error: float) -> float | None:
    return None if error <= 0 else 10 * math.log10(255**2 / error)
