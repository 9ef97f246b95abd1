"""A case drawn on a server: compared as any other, findings with evidence; and what the server did, found out here."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from parity.case.load import Case
from parity.case.progress import Progress
from parity.comparison.compare import Comparison, Output, compare, read_preview
from parity.comparison.outcome import compared_result
from parity.comparison.verdict import judge
from parity.factors.findings import notes_on_repeating
from parity.remote.evidence import Known, disproved, findings_of, known_of, objections, said
from parity.remote.exchange import Exchange, Served
from parity.repeat.measure import Drawn, Measured, measure_repeats
from parity.results.case import CaseResult
from pipelines.errors import UnreproducibleError
from pipelines.media.video import Video

Keep = Callable[[CaseResult], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A server's video held against a preview, and what a diagnosis needs of it."""

    case: Case
    preview: Video
    served: Served
    known: Known
    comparison: Comparison
    result: CaseResult
    measured: Measured | None
    """None: its request was not to be repeated."""


def compare_there(exchange: Exchange, case: Case, progress: Progress, repeat: int | None = None) -> Compared:
    """Have a case drawn by its target and compare. Raises TargetError, MediaError and UnreproducibleError.

    `repeat`: how often to send its request; None: once, and not at all if an equal one was sent in this run.
    """
    if case.preview.obstacles:
        raise UnreproducibleError("; ".join(case.preview.obstacles))
    clock = time.perf_counter()
    preview = read_preview(case.video, case.preview)
    read_at = time.perf_counter()
    served = exchange.draw(case, progress)
    served_at = time.perf_counter()
    again = _ask_again(exchange, case, progress, repeat) if repeat is not None else []
    drawn_at = time.perf_counter()
    kind = served.suffix.removeprefix(".")
    output = Output(encoded=served.encoded, suffix=served.suffix, kind=kind, seen=served.video, raw=None)
    comparison = compare(case.video, preview, output, case.preview)
    known = known_of(case, served)
    measured = measure_there(case, comparison, [served, *again]) if again else None
    done_at = time.perf_counter()
    timings = {
        "read_preview": read_at - clock,
        **served.seconds,
        **({"repeat": drawn_at - served_at} if again else {}),
        "compare": done_at - drawn_at,
        "total": done_at - clock,
    }
    result = judged(case, known, comparison, served, measured)
    result = dataclasses.replace(result, timings={name: round(seconds, 3) for name, seconds in timings.items()})
    return Compared(
        case=case,
        preview=preview,
        served=served,
        known=known,
        comparison=comparison,
        result=result,
        measured=measured,
    )


def _ask_again(exchange: Exchange, case: Case, progress: Progress, count: int) -> list[Served]:
    drawn = []
    for number in range(2, count + 1):
        progress.waiting(f"drawing {number} of {count}")
        drawn.append(exchange.draw(case, progress, anew=True))
    return drawn


def measure_there(case: Case, comparison: Comparison, drawn: Sequence[Served]) -> Measured:
    """Hold a server's drawings against each other. What can be seen of its not having drawn is said."""
    notes = ["whether a fresh process drew any of them is the server's matter, and not known here"]
    seeds = {served.said.seed for served in drawn}
    if len(seeds) > 1:
        notes.append(f"its answers name other seeds: {', '.join(sorted(map(str, seeds)))}")
    drawings = [
        Drawn(
            where="server",
            seen=served.video.frames,
            file_sha256=hashlib.sha256(served.encoded).hexdigest(),
            request_id=served.target.request_id,
        )
        for served in drawn
    ]
    return measure_repeats(case, comparison, drawings, notes, _doubt(drawn))


def _doubt(drawn: Sequence[Served]) -> str:
    """Why equal files may be one file, sent more than once; empty: nothing to be seen of that."""
    seen: dict[tuple[str, str | None], bytes] = {}
    for served in drawn:
        for what, name in (("request id", served.target.request_id), ("place of its file", served.target.fetched)):
            if seen.get((what, name)) == served.encoded:
                return f"the server answered with one {what} again, so it may have kept the file and drawn nothing"
            seen.setdefault((what, name), served.encoded)
    return ""


def judged(case: Case, known: Known, comparison: Comparison, served: Served, measured: Measured | None) -> CaseResult:
    floor = measured.floor if measured is not None else None
    findings = findings_of(case, known, comparison, served.suffix, floor)
    gone = disproved(case, known, comparison)
    ending = said(case, findings, gone)
    judged = judge(case, comparison, findings, said=ending, objections=objections(case, known), floor=floor)
    notes = [*case.inference.notes, *served.notes, *known.surprises]
    if gone:
        notes.append(
            f"bit-identical to the preview, so the server does not differ in {', '.join(gone)}, as "
            f"{case.profile or 'the case'} says it would: it draws as the trainer does"
        )
    notes.append(
        "drawn on a server, whose frames before encoding nobody knows: there is no codec floor; findings are what its "
        "file shows, what it says and what is expected of it"
    )
    if case.profile is None:
        notes.append("`pipeline` is a mapping: what it says of the server is an expectation, nothing there reads it")
    notes += [f"expected of the server: {note}" for note in notes_on_repeating(case)]
    return dataclasses.replace(
        compared_result(case, comparison, judged, findings, tuple(notes)),
        target=served.target,
        repeat=measured.result if measured is not None else None,
    )
