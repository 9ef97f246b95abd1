"""A case generated on this machine: compared with the preview and, with --repeat, with repeated generations."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

from parity.case.load import Case
from parity.comparison.compare import Comparison, compare, deliver, is_lossless, local_output
from parity.comparison.outcome import compared_result
from parity.comparison.verdict import findings_from_pixels, judge
from parity.diagnosis.lab import Lab
from parity.factors.findings import known_differences, notes_on_repeating
from parity.repeat.measure import Measured, RepeatedOutput, measure_repeats
from parity.results.case import CaseResult
from parity.run.generation import Shelf, generate
from parity.run.outdir import OutDir
from pipelines.engine.stages import Trace
from pipelines.media.video import Frames


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalComparison:
    """A case's result, with the raw frames that a diagnosis needs."""

    result: CaseResult
    raw: Frames


def compare_locally(
    lab: Lab, out: OutDir, shelf: Shelf | None, trace: Trace | None, repeats: Sequence[tuple[bool, Frames]]
) -> LocalComparison:
    """Generate the lab's case and compare it with the preview. Raises as `Lab.generate`, and MediaError.

    `shelf` may hold its frames. `repeats` are the other generations of its request, each with whether a fresh process
    made it; if there are any, the case's own frames are not taken from the cache.
    """
    case = lab.case
    generation = generate(lab, None if repeats else shelf, trace)
    generated_at = time.perf_counter()
    lab.progress.phase("encode", "")
    output = local_output(generation.frames, case.inference)
    lab.progress.phase("compare", "")
    comparison = compare(case.video, lab.preview, output, case.preview, case.asked_metrics)
    measured = _measure(case, comparison, generation.frames, repeats) if repeats else None
    floor = measured.floor if measured is not None else None
    known = known_differences(case)
    findings = (*known, *findings_from_pixels(comparison, known, floor))
    judged = judge(case, comparison, findings, floor=floor)
    if measured is not None:
        judged = measured.broken_promise or judged
    ran = generation.ran
    if ran is not None and ran.not_as_asked:
        judged = judged[0], f"{judged[1]}; not as asked: {'; '.join(ran.not_as_asked)}"
    notes = () if ran is None else (*(f"not as asked: {what}" for what in ran.not_as_asked), *ran.notes)
    lab.progress.phase("write", "")
    artifacts = out.write_videos(case, comparison)
    timings = {
        "load": generation.load_seconds,
        "generate": generation.generate_seconds,
        "compare": time.perf_counter() - generated_at,
    }
    result = dataclasses.replace(
        compared_result(case, comparison, judged, findings, (*generation.notes, *notes_on_repeating(case), *notes)),
        ran=ran,
        weights_sha256=generation.weights_sha256,
        drawn_before=generation.generated_before,
        timings=timings,
        artifacts=artifacts,
        repeat=measured.result if measured is not None else None,
    )
    return LocalComparison(result=result, raw=generation.frames)


def _measure(case: Case, comparison: Comparison, raw: Frames, repeats: Sequence[tuple[bool, Frames]]) -> Measured:
    own = RepeatedOutput(
        where="this process", seen=comparison.output_frames, file_sha256=comparison.output.sha256, raw=raw
    )
    others = []
    for fresh, frames in repeats:
        encoded, delivered = deliver(frames, case.inference)
        others.append(
            RepeatedOutput(
                where="fresh process" if fresh else "this process",
                seen=frames if is_lossless(case.video) else delivered.frames,
                file_sha256=hashlib.sha256(encoded).hexdigest(),
                raw=frames,
            )
        )
    return measure_repeats(case, comparison, [own, *others])
