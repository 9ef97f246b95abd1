"""Whether a request gives the same video when it is drawn again, and how far apart its drawings are if not."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np

from parity.case.load import Case
from parity.comparison.compare import Comparison, frames_sha256, shape_words
from parity.comparison.floor import Floor, Metrics, means_of
from parity.comparison.metrics import measure, unavailable
from parity.factors.findings import GPU_NOISE, why_not_repeatable
from parity.repeat.fresh import draw_afresh
from parity.results.case import RepeatDrawing, RepeatFloor, RepeatResult, Status
from parity.results.diagnosis import Closeness
from pipelines.media.video import Frames

if TYPE_CHECKING:
    from parity.case.progress import Progress
    from pipelines.engine.engine import Engine

_WHAT_NOW = (
    "its recipe repeats, so drawings must be equal to the bit, and no figure of this case can be trusted: see "
    "docs/repeat.md for what to look at"
)
_FRAMES_NAMED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """One drawing of a request."""

    where: Literal["this process", "fresh process", "server"]
    seen: Frames
    """As they are compared with the preview."""
    file_sha256: str
    raw: Frames | None = None
    """Before encoding; None: a server's."""
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What several drawings of one request say."""

    result: RepeatResult
    floor: Floor | None
    """None: the drawings are alike as they are compared, or do not pair."""

    @property
    def broken_promise(self) -> tuple[Status, str] | None:
        """Status and sentence of a case that was drawn here and does not repeat although its recipe does."""
        here = all(drawing.where != "server" for drawing in self.result.drawings)
        if self.result.identical or self.result.reason is not None or not here:
            return None
        return "error", f"{self.result.sentence}; {_WHAT_NOW}"


def draw_again(engine: Engine, case: Case, count: int, progress: Progress) -> list[tuple[bool, Frames]]:
    """The `count` - 1 drawings of a case's request besides its own, each with whether a fresh process drew it.

    One is the work of a fresh process, the others are this one's. Nothing of an earlier drawing is used but the
    weights, which the engine holds at the end. Raises as `draw_afresh`.
    """
    recipe, token = case.inference, case.token

    def begin(number: int, where: str = "") -> None:
        progress.trial_started(f"drawing {number} of {count}{where}", recipe.steps)

    progress.waiting(f"drawing 2 of {count}: a fresh process loads")
    fresh = draw_afresh(engine, recipe, token, lambda: begin(2, ", in a fresh process"), progress.step_done)
    drawn = [(True, fresh)]
    for number in range(3, count + 1):
        begin(number)
        engine.forget()
        drawn.append((False, engine.generate(recipe, progress.step_done, token)))
    engine.forget()
    return drawn


def measure_repeats(
    case: Case, comparison: Comparison, drawings: Sequence[Drawn], notes: Sequence[str] = (), doubt: str = ""
) -> Measured:
    """Hold drawings of a request against each other, every two of them, and each against the preview.

    `comparison`: of the first of the `drawings`, which is the case's output. `notes`: what else is to be said of them.
    `doubt`: why they may not be several drawings at all.
    """
    decisive = [drawing.seen if drawing.raw is None else drawing.raw for drawing in drawings]
    hashes = [frames_sha256(frames) for frames in decisive]
    places = [drawing.where for drawing in drawings]
    here = {value for value, where in zip(hashes, places, strict=True) if where == "this process"}
    identical = len(set(hashes)) == 1
    to_preview = _to_preview(case, comparison, drawings)
    between = () if identical else _pairs([drawing.seen for drawing in drawings], _metrics_of(case))
    raw = () if identical or drawings[0].raw is None else _pairs(decisive, ("psnr",))
    apart = _summary(between)
    pairing = all(metrics["psnr"].unavailable is None for metrics in to_preview)
    floor = Floor(to_preview=to_preview, between=between) if apart is not None and pairing else None
    result = RepeatResult(
        drawings=tuple(map(_result_of, drawings, to_preview)),
        identical=identical,
        between_processes=len(here) == 1 and places.count("this process") > 1 and not identical,
        reason=why_not_repeatable(case.inference),
        sentence="",
        frames=_differing(decisive),
        floor=apart,
        raw_floor=_summary(raw),
        within=floor.within if floor is not None else None,
        notes=(*_notes(case, places, identical), *notes),
    )
    return Measured(result=dataclasses.replace(result, sentence=_sentence(result, drawings, doubt)), floor=floor)


def _metrics_of(case: Case) -> tuple[str, ...]:
    """LPIPS takes a network, so only where it is gated."""
    return ("psnr", "ssim", "lpips") if any(key.startswith("lpips") for key in case.tolerance) else ("psnr", "ssim")


def _to_preview(case: Case, comparison: Comparison, drawings: Sequence[Drawn]) -> tuple[Metrics, ...]:
    """Each drawing against the preview; equal ones are measured once."""
    known: dict[str, Metrics] = {frames_sha256(drawings[0].seen): comparison.metrics}
    found: list[Metrics] = []
    for drawing in drawings:
        key = frames_sha256(drawing.seen)
        if key not in known:
            pairs = drawing.seen.shape == comparison.preview_frames.shape
            reason = (
                f"the preview has {shape_words(comparison.preview_frames)}, this drawing {shape_words(drawing.seen)}"
            )
            known[key] = (
                measure(comparison.preview_frames, drawing.seen, _metrics_of(case))
                if pairs
                else {name: unavailable(name, reason) for name in _metrics_of(case)}
            )
        found.append(known[key])
    return tuple(found)


def _pairs(frames: Sequence[Frames], names: Sequence[str]) -> tuple[Metrics, ...]:
    """Metrics of every two videos; none where they do not all pair."""
    if len({video.shape for video in frames}) > 1:
        return ()
    return tuple(measure(a, b, names) for a, b in combinations(frames, 2))


def _summary(pairs: Sequence[Metrics]) -> RepeatFloor | None:
    """None if no pair differs."""
    psnr, ssim = (means_of(pairs, name) for name in ("psnr", "ssim"))
    if not psnr:
        return None
    frames = zip(*(pair["psnr"].per_frame for pair in pairs), strict=True)
    return RepeatFloor(
        psnr_mean=sum(psnr) / len(psnr),
        psnr_lowest=min(psnr),
        ssim_mean=sum(ssim) / len(ssim) if ssim else None,
        ssim_lowest=min(ssim, default=None),
        per_frame=tuple(min((it for it in numbers if it is not None), default=None) for numbers in frames),
    )


def _differing(frames: Sequence[Frames]) -> tuple[int, ...]:
    """Indices of frames that are not the same in all videos; those that one lacks are not."""
    shortest, longest = min(map(len, frames)), max(map(len, frames))
    same_size = len({video.shape[1:] for video in frames}) == 1
    equal = [same_size and all(np.array_equal(frames[0][i], video[i]) for video in frames) for i in range(shortest)]
    return tuple(i for i in range(longest) if i >= shortest or not equal[i])


def _result_of(drawing: Drawn, to_preview: Metrics) -> RepeatDrawing:
    psnr, ssim = to_preview["psnr"], to_preview["ssim"]
    identical = psnr.unavailable is None and psnr.identical_frames == len(psnr.per_frame)
    return RepeatDrawing(
        where=drawing.where,
        file_sha256=drawing.file_sha256,
        to_preview=Closeness(
            identical=identical, psnr=psnr.mean, ssim=None if identical else ssim.mean, unavailable=psnr.unavailable
        ),
        raw_sha256=None if drawing.raw is None else frames_sha256(drawing.raw),
        request_id=drawing.request_id,
    )


def _notes(case: Case, places: Sequence[str], identical: bool) -> list[str]:
    how, reason = case.inference.conditioning, why_not_repeatable(case.inference)
    notes = []
    if identical and how is not None and how.noise == "cuda":
        notes.append(GPU_NOISE)
    if identical and reason is not None:
        notes.append(f"the drawings are alike although {reason}")
    if not identical and reason is None and list(places) == ["this process", "fresh process"]:
        notes.append("two drawings cannot tell whether it is the process that matters: --repeat 3 does")
    return notes


def _sentence(result: RepeatResult, drawings: Sequence[Drawn], doubt: str) -> str:
    """`repeats: bit-identical, 3 drawings, 1 in a fresh process`, or how it does not."""
    places = [drawing.where for drawing in drawings]
    where = "on the server" if "server" in places else f"{places.count('fresh process')} in a fresh process"
    count = f"{len(drawings)} drawings, {where}"
    if result.identical:
        return f"repeats: bit-identical, {count}" + (f"; {doubt}" if doubt else "")
    words = "differs between processes" if result.between_processes else "does not repeat"
    shapes = list(dict.fromkeys(shape_words(drawing.seen) for drawing in drawings))
    if len(shapes) > 1:
        words += f": {' and '.join(shapes)}"
    elif result.floor is not None:
        words += f": floor {_figures(result.floor)}"
    elif "server" not in places:
        words += ": the files show nothing of it"
    if result.raw_floor is not None:
        words += f"; raw {result.raw_floor.psnr_mean:.4g} dB"
    total = max(len(drawing.seen) for drawing in drawings)
    sentence = f"{words}; {_which(result.frames, total)}; {count}"
    return sentence if result.reason is None else f"{sentence}; {result.reason}"


def _figures(floor: RepeatFloor) -> str:
    """As a verdict writes metrics."""
    words = f"PSNR {floor.psnr_mean:.4g} dB, lowest {floor.psnr_lowest:.4g}"
    if floor.ssim_mean is None:
        return words
    return f"{words}; SSIM {floor.ssim_mean:.4g}, lowest {floor.ssim_lowest:.4g}"


def _which(frames: Sequence[int], total: int) -> str:
    if len(frames) == total:
        return f"all {total} frames"
    shown = ", ".join(map(str, frames[:_FRAMES_NAMED])) + (", …" if len(frames) > _FRAMES_NAMED else "")
    return f"frame{'' if len(frames) == 1 else 's'} {shown} of {total}"
