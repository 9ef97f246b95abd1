"""A case drawn here: its frames compared with the preview, and with more drawings of the same request if asked for."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

from parity.case.load import Case
from parity.comparison.compare import Comparison, compare, deliver, drawn_here, is_lossless
from parity.comparison.outcome import compared_result
from parity.comparison.verdict import findings_from_pixels, judge
from parity.diagnosis.lab import Lab
from parity.factors.findings import known_differences, notes_on_repeating
from parity.repeat.measure import Drawn, Measured, measure_repeats
from parity.results.case import CaseResult
from parity.run.drawing import Shelf, draw
from parity.run.outdir import OutDir
from pipelines.engine.stages import Trace
from pipelines.media.video import Frames


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A case's result, and its raw frames for a diagnosis."""

    result: CaseResult
    raw: Frames


def compare_here(
    lab: Lab, out: OutDir, shelf: Shelf | None, trace: Trace | None, again: Sequence[tuple[bool, Frames]]
) -> Compared:
    """Draw the lab's case and compare. Raises as `Lab.generate`, and MediaError.

    `shelf`: where its frames may lie. `again`: other drawings of its request and whether a fresh process made them,
    none if that was not asked for; the case itself is drawn anew then, too.
    """
    case = lab.case
    drawing = draw(lab, None if again else shelf, trace)
    drawn_at = time.perf_counter()
    comparison = compare(case.video, lab.preview, drawn_here(drawing.frames, case.inference), case.preview)
    measured = _measure(case, comparison, drawing.frames, again) if again else None
    floor = measured.floor if measured is not None else None
    known = known_differences(case)
    findings = (*known, *findings_from_pixels(comparison, known, floor))
    judged = judge(case, comparison, findings, floor=floor)
    if measured is not None:
        judged = measured.broken_promise or judged
    artifacts = out.write_videos(case, comparison)
    timings = {
        "load": drawing.load_seconds,
        "generate": drawing.draw_seconds,
        "compare": time.perf_counter() - drawn_at,
    }
    result = dataclasses.replace(
        compared_result(case, comparison, judged, findings, (*drawing.notes, *notes_on_repeating(case))),
        weights_sha256=drawing.weights_sha256,
        drawn_before=drawing.drawn_before,
        timings=timings,
        artifacts=artifacts,
        repeat=measured.result if measured is not None else None,
    )
    return Compared(result=result, raw=drawing.frames)


def _measure(case: Case, comparison: Comparison, raw: Frames, again: Sequence[tuple[bool, Frames]]) -> Measured:
    own = Drawn(where="this process", seen=comparison.output_frames, file_sha256=comparison.output.sha256, raw=raw)
    others = []
    for fresh, frames in again:
        encoded, delivered = deliver(frames, case.inference)
        others.append(
            Drawn(
                where="fresh process" if fresh else "this process",
                seen=frames if is_lossless(case.video) else delivered.frames,
                file_sha256=hashlib.sha256(encoded).hexdigest(),
                raw=frames,
            )
        )
    return measure_repeats(case, comparison, [own, *others])
