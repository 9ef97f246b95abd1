"""From numbers and findings to a status and one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from parity.case.load import Case
from parity.comparison.compare import Comparison
from parity.comparison.floor import Floor
from parity.comparison.metrics import meets, statistic
from parity.results.case import BeyondRecipes, FindingResult, MetricResult, Status
from pipelines.media.video import Frames

BROKEN_OUTPUT: BeyondRecipes = "broken_output"
"""NaN, black, frozen: no factor of a recipe, but a finding of its own."""
_BLACK = 8
"""Levels of 255 up to which every pixel is black; a codec may lift black by a few."""


def findings_from_pixels(
    comparison: Comparison, known: tuple[FindingResult, ...], floor: Floor | None = None
) -> list[FindingResult]:
    """Factors the recipes do not differ in, but the videos do: by more than drawings do from each other (`floor`)."""
    found = {finding.factor for finding in known}
    preview, output = comparison.preview, comparison.output
    more: list[FindingResult] = []
    note = "the recipes agree, the file does not: the preview was drawn by another config than the one named"
    if preview.frames != output.frames and "frame_count" not in found:
        more.append(_finding("frame_count", str(preview.frames), str(output.frames), note))
    size, output_size = f"{preview.width}x{preview.height}", f"{output.width}x{output.height}"
    if size != output_size and "snapping" not in found:
        more.append(_finding("snapping", size, output_size, note))
    if comparison.encoded_again is not None and "codec" not in found:
        note = "ai-toolkit writes WebP: this file was encoded again, which no recipe can repeat; compare the WebP"
        more.append(_finding("codec", comparison.encoded_again, "webp", note))
    broken = _broken(comparison.output_frames)
    if broken is not None and broken != _broken(comparison.preview_frames):
        note = "what was drawn is no video: look at the server's precision, weights and driver before anything else"
        more.append(_finding(BROKEN_OUTPUT, "a video", broken, note))
    noise = floor is not None and floor.within
    if not comparison.bit_identical and not found and not more and not noise:
        note = (
            "the recipes are equal, the bits are not: another CPU or GPU rounds differently, or the preview's cause "
            "lies outside its config (other library versions, live weights)"
        )
        more.append(_finding("environment", "the trainer's machine", "this machine", note))
    return more


def _broken(frames: Frames) -> str | None:
    """Why frames are no video, if they are none."""
    if frames.max() <= _BLACK:
        return "black in every frame"
    if len(frames) > 1 and bool((frames == frames[0]).all()):
        return f"frozen: {len(frames)} equal frames"
    return None


def not_a_number(reason: str) -> FindingResult:
    """The finding of a drawing that ended in NaN."""
    return _finding(BROKEN_OUTPUT, "a video", "not a number", reason)


def _finding(factor: str, preview: str, inference: str, note: str) -> FindingResult:
    return FindingResult(factor=factor, preview=preview, inference=inference, note=note, evidence="pixels")


def judge(
    case: Case,
    comparison: Comparison,
    findings: tuple[FindingResult, ...],
    *,
    said: str = "",
    objections: Sequence[str] = (),
    floor: Floor | None = None,
) -> tuple[Status, str]:
    """Status and sentence of a case that ran.

    `said`: what the sentence ends in instead of the findings' names: these by how they are known.
    `objections`: further reasons to fail. `floor`: what its drawings differ by, which fails no gate.
    """
    found = {finding.factor for finding in findings}
    if floor is not None and floor.within and "environment" in (case.expect or ()):
        found.add("environment")  # that it does not show is noise as well
    noise = floor.excused(case.tolerance) if floor is not None else ()
    problems = list(objections)
    if case.expect is not None:
        found_by_recipe = found - ({"environment"} - set(case.expect))
        missing, surprise = sorted(set(case.expect) - found), sorted(found_by_recipe - set(case.expect))
        if missing:
            problems.append(f"expected to differ but do not: {', '.join(missing)}")
        if surprise:
            problems.append(f"differ unexpectedly: {', '.join(surprise)}")
    tolerance = {key: limit for key, limit in case.tolerance.items() if key not in noise}
    gates, broken = check_tolerance(tolerance, comparison.metrics)
    if broken:
        return "error", f"could not be gated: {'; '.join(broken)}"
    problems += gates
    same = "bit-identical" if comparison.bit_identical else _numbers(comparison.metrics)
    factors = f"; differs in {', '.join(f.factor for f in findings)}" if findings and not said else ""
    repeats = _against_floor(floor, noise)
    if problems:
        return "drifted", f"{'; '.join(problems)} ({same}{factors}{said}{repeats})"
    if case.expect:
        return "expected_drift", f"differs exactly as expected in {', '.join(case.expect)} ({same}{said}{repeats})"
    return "passed", same + factors + said + repeats


def _against_floor(floor: Floor | None, excused: Sequence[str]) -> str:
    if floor is None:
        return ""
    words = f"; {'within' if floor.within else 'beyond'} the repeat floor of {floor.psnr:.4g} dB"
    return words + (f", below tolerance by noise alone: {', '.join(excused)}" if excused else "")


def check_tolerance(tolerance: Mapping[str, float], metrics: Mapping[str, MetricResult]) -> tuple[list[str], list[str]]:
    """Gates that failed, and gates that could not be checked because their metric is missing for no drift of ours."""
    failed: list[str] = []
    broken: list[str] = []
    unpaired: list[str] = []
    for key, limit in tolerance.items():
        metric = metrics[key.partition("_")[0]]
        if metric.unavailable is not None:
            if all(other.unavailable is not None for other in metrics.values()):
                unpaired.append(key)
            else:
                broken.append(f"{key}: {metric.unavailable}")
            continue
        if not meets(metric, key, limit):
            wanted = "at least" if metric.higher_is_better else "at most"
            failed.append(f"{key} is {statistic(metric, key):.4g}, must be {wanted} {limit:g}")
    if unpaired:  # frames that do not pair are drift, and the reason is the same for all
        failed.append(f"{', '.join(unpaired)}: {metrics['psnr'].unavailable}")
    return failed, broken


def _numbers(metrics: Mapping[str, MetricResult]) -> str:
    words = []
    for name, metric in metrics.items():
        if metric.unavailable is None and metric.mean is not None:
            worst = metric.min if metric.higher_is_better else metric.max
            unit = " dB" if name == "psnr" else ""
            words.append(
                f"{name.upper()} {metric.mean:.4g}{unit}" + (f", worst {worst:.4g}" if worst is not None else "")
            )
    return "; ".join(words) or "nothing to compare"
