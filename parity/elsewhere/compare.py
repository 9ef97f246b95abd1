"""A video made elsewhere, compared like one that is generated here; its findings come with their evidence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from parity.case.load import Case
from parity.comparison.compare import Comparison, Output, compare
from parity.comparison.outcome import compared_result
from parity.comparison.verdict import judge
from parity.elsewhere.evidence import Known, disproved, evidence_text, findings_of, known_of, objections
from parity.elsewhere.made import Made
from parity.factors.findings import notes_on_repeating
from parity.repeat.measure import Measured
from parity.results.case import CaseResult
from parity.results.words import decibels
from pipelines.media.video import Video


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeComparison:
    """A video made elsewhere compared with a preview, with what a diagnosis needs."""

    case: Case
    preview: Video
    made: Made
    known: Known
    comparison: Comparison
    result: CaseResult
    measured: Measured | None = None
    """None: the video is the only one of its request."""

    def timed(self, seconds: Mapping[str, float]) -> MadeComparison:
        """The same with the time that each phase took."""
        timings = {name: round(number, 3) for name, number in seconds.items()}
        return dataclasses.replace(self, result=dataclasses.replace(self.result, timings=timings))


def compare_made(
    case: Case, preview: Video, made: Made, measure: Callable[[Comparison], Measured] | None = None
) -> MadeComparison:
    """Compare a video with the case's preview. `measure` compares it with further outputs of its request."""
    known = known_of(case, made)
    output = Output(
        encoded=made.encoded,
        suffix=made.suffix,
        sha256=made.sha256,
        kind=made.suffix.removeprefix("."),
        seen=made.video,
        raw=None,
        codec=known.recipe.codec if made.file is not None else None,
    )
    comparison = compare(case.video, preview, output, case.preview, case.asked_metrics)
    measured = measure(comparison) if measure is not None else None
    result = judged(case, known, comparison, made, measured)
    return MadeComparison(
        case=case,
        preview=preview,
        made=made,
        known=known,
        comparison=comparison,
        result=result,
        measured=measured,
    )


def judged(case: Case, known: Known, comparison: Comparison, made: Made, measured: Measured | None) -> CaseResult:
    """The result of a comparison by what is known of the video now."""
    floor = measured.floor if measured is not None else None
    findings = findings_of(case, known, comparison, made, floor)
    refuted = disproved(case, known, comparison)
    ending = evidence_text(case, findings, refuted) + _codecs(comparison)
    judged = judge(case, comparison, findings, evidence=ending, objections=objections(case, known), floor=floor)
    notes = (*case.inference.notes, *made.notes, *known.surprises, *_notes(case, made, refuted))
    return dataclasses.replace(
        compared_result(case, comparison, judged, findings, notes),
        target=made.target,
        file=made.file,
        repeat=measured.result if measured is not None else None,
    )


def _codecs(comparison: Comparison) -> str:
    """What the codecs of two lossy files cost, for the end of a verdict; empty: it was not estimated."""
    floor = (comparison.codec_floor or {}).get("psnr")
    return "" if floor is None or comparison.bit_identical else f"; the codecs alone cost about {decibels(floor, 1)}"


def _notes(case: Case, made: Made, refuted: tuple[str, ...]) -> list[str]:
    """What limits the comparison, and what the pixels disprove."""
    notes = []
    if refuted:
        cause = "it generates what the trainer does" if made.file is None else "they are the preview's"
        notes.append(
            f"bit-identical to the preview, so {made.who} does not differ in {', '.join(refuted)} as "
            f"{case.profile or 'the case'} says: {cause}"
        )
    if made.file is not None:
        return notes
    notes.append(
        "generated on a server, whose raw frames are unknown: there is no codec floor; findings come from its file, "
        "from its answer, and from what is expected of it"
    )
    if case.profile is None:
        notes.append("`pipeline` is a mapping: it states what is expected of the server, and is not sent to it")
    return notes + [f"expected of the server: {note}" for note in notes_on_repeating(case)]
