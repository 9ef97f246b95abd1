"""A case drawn on a server: compared as any other, findings with evidence; and what the server did, found out here."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from parity.blank import compared_result
from parity.case import Case
from parity.compare import Comparison, Output, compare, deliver, read_preview
from parity.diagnosis.counterfactuals import diagnose, make_plan
from parity.diagnosis.lab import BudgetSpentError, Lab
from parity.diagnosis.result import Diagnosis, Search
from parity.diagnosis.search import OF_SERVER, plan_text, search
from parity.findings import notes_on_repeating
from parity.outdir import OutDir
from parity.progress import Progress
from parity.remote.evidence import Known, disproved, findings_of, known_of, objections, said
from parity.remote.exchange import Exchange, Served
from parity.repeat.measure import Drawn, Measured, measure_repeats
from parity.result import CaseResult, Evidence
from parity.verdict import judge
from pipelines.errors import OutOfMemoryError, ParityError, UnreproducibleError
from pipelines.recipe import Recipe
from pipelines.stages import Trace
from pipelines.video import Frames, Video

_NO_PROOF = (
    "what the server did was not looked for: its drawings of one request are not alike, so none made here could prove "
    "what it does, and what comes near could not be told from its noise"
)
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


def compare_there(
    exchange: Exchange, out: OutDir, case: Case, progress: Progress, repeat: int | None = None
) -> Compared:
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
    artifacts = out.write_videos(case, comparison)
    done_at = time.perf_counter()
    timings = {
        "read_preview": read_at - clock,
        **served.seconds,
        **({"repeat": drawn_at - served_at} if again else {}),
        "compare": done_at - drawn_at,
        "total": done_at - clock,
    }
    result = _judged(case, known, comparison, served, measured)
    result = dataclasses.replace(
        result, timings={name: round(seconds, 3) for name, seconds in timings.items()}, artifacts=artifacts
    )
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


def _judged(case: Case, known: Known, comparison: Comparison, served: Served, measured: Measured | None) -> CaseResult:
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


class There:
    """Finds out here what a server did: draws what is expected of it, or looks for what it drew."""

    def __init__(self, compared: Compared, lab: Lab, mode: Literal["full", "gains"], progress: Progress, keep: Keep):
        """`lab`: of the case, with its preview. `keep`: hears of the result as it grows."""
        self._compared, self._lab, self._mode = compared, lab, mode
        self._progress, self._keep = progress, keep

    def diagnose(self) -> CaseResult:
        """The comparison's result with proven findings, a diagnosis, a search: as far as each came."""
        compared, result = self._compared, self._compared.result
        if result.repeat is not None and not result.repeat.identical:
            return dataclasses.replace(result, notes=(*result.notes, _NO_PROOF))
        expected = dataclasses.replace(compared.known.recipe, obstacles=())
        self._progress.planned("1 generation: is the server's file what is expected of it?")
        trace = Trace()
        try:
            frames = self._lab.draw(expected, "what is expected of the server", trace)
        except BudgetSpentError:
            return result
        except OutOfMemoryError:
            raise  # the session tries again with another offload mode; the server is not asked again
        except ParityError as error:
            return dataclasses.replace(result, diagnosis=_not_drawn(self._mode, error))
        if self._is_the_servers(frames, expected):
            note = "drawn here, what is expected of the server gives its file to the last bit"
            return self._explain(self._known_as(expected, "pixels", note), expected, self._lab, frames, trace)
        return self._search(expected)

    def _is_the_servers(self, frames: Frames, recipe: Recipe) -> bool:
        served = self._compared.served
        encoded, delivered = deliver(frames, recipe)
        if hashlib.sha256(encoded).digest() == hashlib.sha256(served.encoded).digest():
            return True
        return delivered.frames.shape == served.video.frames.shape and bool(
            np.array_equal(delivered.frames, served.video.frames)
        )

    def _known_as(self, recipe: Recipe, proof: Evidence, note: str) -> CaseResult:
        """The result, now that the server is known to have drawn `recipe`."""
        compared = self._compared
        known = dataclasses.replace(compared.known, recipe=recipe, proof=proof)
        result = _judged(compared.case, known, compared.comparison, compared.served, compared.measured)
        return dataclasses.replace(
            result,
            notes=(*result.notes, note),
            artifacts=compared.result.artifacts,
            timings=compared.result.timings,
        )

    def _explain(self, result: CaseResult, recipe: Recipe, lab: Lab, frames: Frames, trace: Trace) -> CaseResult:
        """What each factor costs, our drawing standing in for the server's."""
        plan = make_plan(dataclasses.replace(self._compared.case, inference=recipe), self._mode)
        self._progress.planned(str(plan))
        self._keep(result)
        fixes = {finding.factor: finding.fix for finding in result.findings}

        def with_diagnosis(known: Diagnosis) -> CaseResult:
            factors = tuple(dataclasses.replace(one, fix=fixes.get(one.factor, one.fix)) for one in known.factors)
            return dataclasses.replace(result, diagnosis=dataclasses.replace(known, factors=factors))

        return with_diagnosis(diagnose(lab, plan, frames, trace, lambda known: self._keep(with_diagnosis(known))))

    def _search(self, expected: Recipe) -> CaseResult:
        compared = self._compared
        case = dataclasses.replace(
            compared.case,
            preview=expected,
            inference=compared.case.preview,
            video=Path(f"output{compared.served.suffix}"),
        )
        self._progress.planned(plan_text(case, OF_SERVER))

        def keep(found: Search) -> None:
            self._keep(dataclasses.replace(compared.result, search=found))

        lab = self._lab.of(case, compared.served.video)
        found, best = search(lab, keep, OF_SERVER)
        if found.verdict == "proven":
            note = "what the server did was found by drawing it here: its file, to the last bit"
            result = dataclasses.replace(self._known_as(best, "pixels", note), search=found)
            frames = lab.draw(best, "what the server did")  # its latents are known
            again = lab.of(compared.case, compared.preview)
            return self._explain(result, best, again, frames, Trace())
        if found.verdict == "likely":
            note = "what the server did was found as far as rounding lets it: another kind of CPU or GPU drew its file"
            return dataclasses.replace(self._known_as(best, "likely", note), search=found)
        note = "what is expected of the server does not give its file here, and nothing that was tried does"
        result = dataclasses.replace(compared.result, notes=(*compared.result.notes, note))
        return dataclasses.replace(result, search=found)


def _not_drawn(mode: Literal["full", "gains"], error: ParityError) -> Diagnosis:
    """The server's video was compared; what it did can only be found out by an engine here."""
    reason = (
        f"what the server did is found out by drawing here, which needs checkpoint and LoRA on this machine: {error}"
    )
    return Diagnosis(mode=mode, sentence=f"stopped: {reason}", explained=None, stopped="error", error=reason)
