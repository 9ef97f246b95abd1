"""The measurement of repeats: does a request give the same video each time, and how large is the difference?"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np

from parity.case.load import Case
from parity.comparison.compare import Comparison, frames_sha256, shape_text
from parity.comparison.floor import Floor, Metrics, means_of
from parity.comparison.metrics import measure, unavailable
from parity.factors.findings import GPU_NOISE, why_not_repeatable
from parity.repeat.fresh import generate_in_fresh_process
from parity.results.case import RepeatedGeneration, RepeatFloor, RepeatResult, Status
from parity.results.diagnosis import Closeness
from parity.results.words import decibels, figure
from pipelines.files.words import listed
from pipelines.limits import within_limits
from pipelines.media.video import Frames

if TYPE_CHECKING:
    from parity.case.progress import Progress
    from pipelines.engine.engine import Engine

_ADVICE = (
    "its recipe should repeat bit for bit, so no figure of this case can be trusted: docs/repeat.md says what to check"
)
_FRAMES_NAMED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedOutput:
    """One of several outputs of the same request."""

    where: Literal["this process", "fresh process", "server"]
    seen: Frames
    """The frames as they are compared with the preview."""
    file_sha256: str
    raw: Frames | None = None
    """The frames before encoding; None: generated on a server."""
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The comparison of several outputs of one request."""

    result: RepeatResult
    floor: Floor | None
    """None: the outputs are identical as compared with the preview, or differ in size or frame count."""

    @property
    def broken_promise(self) -> tuple[Status, str] | None:
        """Status and verdict of a case generated on this machine that does not repeat although its recipe should."""
        local = all(output.where != "server" for output in self.result.drawings)
        if self.result.identical or self.result.reason is not None or not local:
            return None
        return "error", f"{self.result.sentence}; {_ADVICE}"


def generate_repeats(engine: Engine, case: Case, count: int, progress: Progress) -> list[tuple[bool, Frames]]:
    """Generate a case's request `count` - 1 more times. Each result says whether a fresh process made it.

    One is made by a fresh process, the others by this one. Nothing of an earlier generation is reused but the
    weights, which the engine holds at the end. Raises as `generate_in_fresh_process`.
    """
    recipe, token = within_limits(case.inference), case.token

    def begin(number: int, where: str = "") -> None:
        progress.trial_started(f"generation {number} of {count}{where}", recipe.steps)

    progress.waiting(f"generation 2 of {count}: a fresh process is loading")
    fresh = generate_in_fresh_process(
        engine, recipe, token, lambda: begin(2, ", in a fresh process"), progress.step_done
    )
    repeats = [(True, fresh)]
    for number in range(3, count + 1):
        begin(number)
        engine.forget()
        repeats.append((False, engine.generate(recipe, progress.step_done, token)))
    engine.forget()
    return repeats


def measure_repeats(
    case: Case, comparison: Comparison, outputs: Sequence[RepeatedOutput], notes: Sequence[str] = (), doubt: str = ""
) -> Measured:
    """Compare the outputs of a request with each other, every two of them, and each with the preview.

    `comparison` is that of the first output, which is the case's. `notes` are added to the result's. `doubt`: why
    they may be copies of one output.
    """
    decisive = [output.seen if output.raw is None else output.raw for output in outputs]
    hashes = [frames_sha256(frames) for frames in decisive]
    places = [output.where for output in outputs]
    of_this_process = {value for value, where in zip(hashes, places, strict=True) if where == "this process"}
    identical = len(set(hashes)) == 1
    to_preview = _to_preview(case, comparison, outputs)
    between = () if identical else _pairs([output.seen for output in outputs], _metrics_of(case))
    raw = () if identical or outputs[0].raw is None else _pairs(decisive, ("psnr",))
    summary = _summary(between)
    pairing = all(metrics["psnr"].unavailable is None for metrics in to_preview)
    floor = Floor(to_preview=to_preview, between=between) if summary is not None and pairing else None
    result = RepeatResult(
        drawings=tuple(map(_result_of, outputs, to_preview)),
        identical=identical,
        between_processes=len(of_this_process) == 1 and places.count("this process") > 1 and not identical,
        reason=why_not_repeatable(case.inference),
        sentence="",
        frames=_differing(decisive),
        floor=summary,
        raw_floor=_summary(raw),
        within=floor.within if floor is not None else None,
        notes=(*_notes(case, places, identical), *notes),
    )
    return Measured(result=dataclasses.replace(result, sentence=_sentence(result, outputs, doubt)), floor=floor)


def _metrics_of(case: Case) -> tuple[str, ...]:
    """The metrics to compute: PSNR, SSIM and those that a tolerance limits, since the others take long."""
    return tuple(dict.fromkeys(("psnr", "ssim", *(key.partition("_")[0] for key in case.tolerance))))


def _to_preview(case: Case, comparison: Comparison, outputs: Sequence[RepeatedOutput]) -> tuple[Metrics, ...]:
    """Metrics of each output against the preview; equal outputs are measured once."""
    known: dict[str, Metrics] = {frames_sha256(outputs[0].seen): comparison.metrics}
    found: list[Metrics] = []
    for output in outputs:
        key = frames_sha256(output.seen)
        if key not in known:
            comparable = output.seen.shape == comparison.preview_frames.shape
            reason = f"the preview has {shape_text(comparison.preview_frames)}, this output {shape_text(output.seen)}"
            known[key] = (
                measure(comparison.preview_frames, output.seen, (), _metrics_of(case))
                if comparable
                else {name: unavailable(name, reason) for name in _metrics_of(case)}
            )
        found.append(known[key])
    return tuple(found)


def _pairs(frames: Sequence[Frames], names: Sequence[str]) -> tuple[Metrics, ...]:
    """Metrics of every two videos; none if they differ in size or frame count."""
    if len({video.shape for video in frames}) > 1:
        return ()
    return tuple(measure(a, b, (), names) for a, b in combinations(frames, 2))


def _summary(pairs: Sequence[Metrics]) -> RepeatFloor | None:
    """The figures over all pairs; None if no pair differs."""
    psnr, ssim = (means_of(pairs, name) for name in ("psnr", "ssim"))
    if not psnr:
        return None
    frames = zip(*(pair["psnr"].per_frame for pair in pairs), strict=True)
    return RepeatFloor(
        psnr_mean=sum(psnr) / len(psnr),
        psnr_lowest=min(psnr),
        ssim_mean=sum(ssim) / len(ssim) if ssim else None,
        ssim_lowest=min(ssim, default=None),
        per_frame=tuple(min((value for value in values if value is not None), default=None) for values in frames),
    )


def _differing(frames: Sequence[Frames]) -> tuple[int, ...]:
    """Indices of frames that are not the same in all videos, including those that one of them lacks."""
    shortest, longest = min(map(len, frames)), max(map(len, frames))
    same_size = len({video.shape[1:] for video in frames}) == 1
    equal = [same_size and all(np.array_equal(frames[0][i], video[i]) for video in frames) for i in range(shortest)]
    return tuple(i for i in range(longest) if i >= shortest or not equal[i])


def _result_of(output: RepeatedOutput, to_preview: Metrics) -> RepeatedGeneration:
    psnr, ssim = to_preview["psnr"], to_preview["ssim"]
    identical = psnr.unavailable is None and psnr.identical_frames == len(psnr.per_frame)
    return RepeatedGeneration(
        where=output.where,
        file_sha256=output.file_sha256,
        to_preview=Closeness(
            identical=identical, psnr=psnr.mean, ssim=None if identical else ssim.mean, unavailable=psnr.unavailable
        ),
        raw_sha256=None if output.raw is None else frames_sha256(output.raw),
        request_id=output.request_id,
    )


def _notes(case: Case, places: Sequence[str], identical: bool) -> list[str]:
    conditioning, reason = case.inference.conditioning, why_not_repeatable(case.inference)
    notes = []
    if identical and conditioning is not None and conditioning.noise == "cuda":
        notes.append(GPU_NOISE)
    if identical and reason is not None:
        notes.append(f"the outputs are identical although {reason}")
    if not identical and reason is None and list(places) == ["this process", "fresh process"]:
        notes.append("two generations cannot tell whether the process makes the difference; --repeat 3 can")
    return notes


def _sentence(result: RepeatResult, outputs: Sequence[RepeatedOutput], doubt: str) -> str:
    """One sentence: `repeats: bit-identical, 3 generations, 1 in a fresh process`, or how the outputs differ."""
    places = [output.where for output in outputs]
    where = "on the server" if "server" in places else f"{places.count('fresh process')} in a fresh process"
    count = f"{len(outputs)} generations, {where}"
    if result.identical:
        return f"repeats: bit-identical, {count}" + (f"; {doubt}" if doubt else "")
    difference = "differs between processes" if result.between_processes else "does not repeat"
    shapes = list(dict.fromkeys(shape_text(output.seen) for output in outputs))
    if len(shapes) > 1:
        difference += f": {' and '.join(shapes)}"
    elif result.floor is not None:
        difference += f": floor {_figures(result.floor)}"
    elif "server" not in places:
        difference += ": only in raw frames, the files are equal"
    if result.raw_floor is not None:
        difference += f"; raw {decibels(result.raw_floor.psnr_mean)}"
    total = max(len(output.seen) for output in outputs)
    sentence = f"{difference}; {_which(result.frames, total)}; {count}"
    return sentence if result.reason is None else f"{sentence}; {result.reason}"


def _figures(floor: RepeatFloor) -> str:
    """PSNR and SSIM in the form that verdicts use."""
    psnr = f"PSNR {decibels(floor.psnr_mean)}, lowest {figure('psnr', floor.psnr_lowest, unit=False)}"
    if floor.ssim_mean is None:
        return psnr
    return f"{psnr}; SSIM {figure('ssim', floor.ssim_mean)}, lowest {figure('ssim', floor.ssim_lowest)}"


def _which(frames: Sequence[int], total: int) -> str:
    if len(frames) == total:
        return f"all {total} frames"
    return f"frame{'' if len(frames) == 1 else 's'} {listed(frames, _FRAMES_NAMED)} of {total}"
