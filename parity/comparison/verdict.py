"""The verdict on a case: a status and one sentence, from numbers and findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from parity.case.load import Case
from parity.comparison.compare import Comparison
from parity.comparison.floor import Floor
from parity.comparison.metrics import meets, statistic
from parity.results.case import BeyondRecipes, FindingResult, MetricResult, Status
from parity.results.words import decibels, figure, in_a_line
from pipelines.media.video import Frames

BROKEN_OUTPUT: BeyondRecipes = "broken_output"
"""The finding for a NaN, black or frozen video on one side, which is not a factor of a recipe."""
_BLACK = 8
"""The highest pixel value (of 255) that counts as black; a codec may raise black by a few levels."""


def findings_from_pixels(
    comparison: Comparison, known: tuple[FindingResult, ...], floor: Floor | None = None
) -> list[FindingResult]:
    """Findings on factors in which the videos differ but not the recipes, by more than the repeat floor."""
    found = {finding.factor for finding in known}
    preview, output = comparison.preview, comparison.output
    more: list[FindingResult] = []
    note = "the recipes agree, the files do not: the preview was generated with a different config"
    if preview.frames != output.frames and "frame_count" not in found:
        more.append(_finding("frame_count", str(preview.frames), str(output.frames), note))
    size, output_size = f"{preview.width}x{preview.height}", f"{output.width}x{output.height}"
    if size != output_size and "snapping" not in found:
        more.append(_finding("snapping", size, output_size, note))
    if comparison.encoded_again is not None and "codec" not in found:
        note = (
            "ai-toolkit writes WebP: this file was re-encoded, which no recipe can reproduce; compare the original WebP"
        )
        more.append(_finding("codec", comparison.encoded_again, "webp", note))
    was_broken, broken = broken_in_words(comparison.preview_frames), broken_in_words(comparison.output_frames)
    if broken != was_broken:
        note = "the output is broken: check the server's precision, weights and driver before anything else"
        if broken is None:
            note = "the preview is broken, which no setting of the request explains: compare another preview of the job"
        more.append(_finding(BROKEN_OUTPUT, was_broken or "a video", broken or "a video", note))
    noise = floor is not None and floor.within
    if not comparison.bit_identical and not found and not more and not noise:
        note = (
            "the recipes are equal, the bits are not: another CPU or GPU rounds differently, or the cause lies "
            "outside the "
            "preview's config (other library versions, live weights)"
        )
        more.append(_finding("environment", "the trainer's machine", "this machine", note))
    return more


def broken_in_words(frames: Frames) -> str | None:
    """A description of broken output, black or frozen; None if it is neither."""
    if frames.max() <= _BLACK:
        return "black in every frame"
    if len(frames) > 1 and bool((frames == frames[0]).all()):
        return f"frozen: {len(frames)} equal frames"
    return None


def not_a_number(reason: str) -> FindingResult:
    """The finding for output that ended in NaN."""
    return _finding(BROKEN_OUTPUT, "a video", "not a number", reason)


def _finding(factor: str, preview: str, inference: str, note: str) -> FindingResult:
    return FindingResult(factor=factor, preview=preview, inference=inference, note=note, evidence="pixels")


def judge(
    case: Case,
    comparison: Comparison,
    findings: tuple[FindingResult, ...],
    *,
    evidence: str = "",
    objections: Sequence[str] = (),
    floor: Floor | None = None,
) -> tuple[Status, str]:
    """Status and verdict of a case that ran.

    `evidence` replaces the findings' names at the end of the sentence: the names grouped by how they are known.
    `objections` are further reasons to fail. `floor` is the difference between its outputs, which fails no gate.
    """
    found = {finding.factor for finding in findings}
    if floor is not None and floor.within and "environment" in (case.expect or ()):
        found.add("environment")  # its absence is noise as well
    noise = floor.excused(case.tolerance) if floor is not None else ()
    problems = list(objections)
    if case.expect is not None:
        found_by_recipe = found - ({"environment"} - set(case.expect))
        missing, surprise = sorted(set(case.expect) - found), sorted(found_by_recipe - set(case.expect))
        if missing:
            problems.append(f"expected difference not found: {', '.join(missing)}")
        if surprise:
            problems.append(f"unexpected difference: {', '.join(surprise)}")
    tolerance = {key: limit for key, limit in case.tolerance.items() if key not in noise}
    gates, broken = check_tolerance(tolerance, comparison.metrics)
    if broken:
        return "error", f"tolerance cannot be checked: {'; '.join(broken)}"
    problems += gates
    same = "bit-identical" if comparison.bit_identical else _numbers(comparison.metrics, case.tolerance)
    factors = f"; differs in {', '.join(f.factor for f in findings)}" if findings and not evidence else ""
    repeats = _against_floor(floor, noise)
    if case.seconds_ratio is not None:
        repeats += "; speed not judged: only a baseline has the seconds to compare with"
    if problems:
        return "drifted", f"{'; '.join(problems)} ({same}{factors}{evidence}{repeats})"
    if case.expect:
        return "expected_drift", f"differs exactly as expected in {', '.join(case.expect)} ({same}{evidence}{repeats})"
    return "passed", same + factors + evidence + repeats


def _against_floor(floor: Floor | None, excused: Sequence[str]) -> str:
    if floor is None:
        return ""
    text = f"; {'within' if floor.within else 'beyond'} the repeat floor of {decibels(floor.psnr)}"
    return text + (f", out of tolerance by noise alone: {', '.join(excused)}" if excused else "")


def check_tolerance(tolerance: Mapping[str, float], metrics: Mapping[str, MetricResult]) -> tuple[list[str], list[str]]:
    """Tolerances that failed, and tolerances that could not be checked because their metric was not measured."""
    failed: list[str] = []
    broken: list[str] = []
    incomparable: list[str] = []
    for key, limit in tolerance.items():
        metric = metrics[key.partition("_")[0]]
        if metric.unavailable is not None:
            if all(other.unavailable is not None for other in metrics.values()):
                incomparable.append(key)
            else:
                broken.append(f"{key}: {metric.unavailable}")
            continue
        if not meets(metric, key, limit):
            wanted = "at least" if metric.higher_is_better else "at most"
            failed.append(f"{key} is {statistic(metric, key):.4g}, must be {wanted} {limit:g}")
    if incomparable:  # another size or frame count is drift, and the reason is the same for all metrics
        failed.append(f"{', '.join(incomparable)}: {metrics['psnr'].unavailable}")
    return failed, broken


def _numbers(metrics: Mapping[str, MetricResult], tolerance: Mapping[str, float]) -> str:
    parts = []
    for name, metric in metrics.items():
        if metric.unavailable is None and metric.mean is not None and in_a_line(name, tolerance):
            worst = f", worst {figure(name, metric.worst, unit=False)}" if metric.worst is not None else ""
            parts.append(f"{name.upper()} {figure(name, metric.mean)}{worst}")
    return "; ".join(parts) or "not comparable"
