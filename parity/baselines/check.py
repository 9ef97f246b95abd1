"""The gate: one result against its baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from parity.baselines.file import Baseline, environment_of
from parity.baselines.frames import describe_frames
from parity.baselines.nearness import Nearness, compare_metrics
from parity.baselines.noise import Noise
from parity.baselines.recipes import RecipeChanges, compare_recipes, without_paths
from parity.results.case import CaseResult, VideoResult
from parity.results.environment import differences

Outcome = Literal["holds", "improved", "changed", "worse", "no_baseline", "not_run", "unpairable"]
"""holds: equal bits, or within the noise of another environment. improved: nearer to the preview beyond that noise.
changed: other bits, recipe, size or preview. worse: further from the preview beyond the noise of another environment.
no_baseline: nobody accepted it yet. not_run: no output. unpairable: neither, and nobody can have one."""

FAILED: frozenset[Outcome] = frozenset(("changed", "worse", "no_baseline", "not_run"))


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseCheck:
    """What the gate says of one case."""

    case: str
    outcome: Outcome
    problems: tuple[str, ...] = ()
    """Why it fails, the first one the gravest."""
    notes: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    """In what the environment differs from the baseline's; none: bits must be equal."""
    compared: Literal["bits", "tolerance"] | None = None
    """Equal bits need no tolerance, whatever the environment. None: there was nothing to compare."""
    acceptable: bool = False
    """Whether accepting the result would change anything."""

    @property
    def failed(self) -> bool:
        return self.outcome in FAILED


def check_case(
    result: CaseResult, environment: Mapping[str, Any], baseline: Baseline | None, noise: Noise | None = None
) -> CaseCheck:
    """Hold a result, drawn in `environment` (of its results.json), against its baseline, None if it has none."""
    if baseline is None:
        return _without_baseline(result)
    if result.output is None:
        return CaseCheck(case=result.id, outcome="not_run", problems=(f"not run: {result.verdict}",))
    changes = _environment_changes(result, environment, baseline)
    recipe = compare_recipes(baseline.recipe, without_paths(result.recipes.get("inference", {})))
    near = compare_metrics(
        baseline.metrics,
        result.metrics,
        (noise or Noise()) if changes else None,
        lossless=result.codec_floor is None and result.target is None,
    )
    if _never_twice(result) and not _frames_equal(result.output, baseline):
        note = "no two generations of this request are identical: its recipe and shape are held, its figures are not"
        near = Nearness(worse=(), better=(), missing=near.missing, notes=(note,))
        return _by_tolerance(result, result.output, baseline, changes, recipe, near)
    if changes and not (_frames_equal(result.output, baseline) and result.output.sha256 == baseline.output.sha256):
        return _by_tolerance(result, result.output, baseline, changes, recipe, near)
    return _by_bits(result, result.output, baseline, changes, recipe, near)


def _environment_changes(result: CaseResult, environment: Mapping[str, Any], baseline: Baseline) -> tuple[str, ...]:
    """In what the environments differ. A server's is not known, so it is never taken for the same."""
    changes = differences(baseline.environment, environment_of(result, environment))
    return changes or (("what the server runs on is not known",) if result.target is not None else ())


def _never_twice(result: CaseResult) -> bool:
    """Whether the request is drawn with noise that nobody seeds (`Recipe.repeats`), or a server's was seen to differ.

    What is drawn here and does not repeat although its recipe does is an error, which no baseline makes good.
    """
    if result.target is not None and result.repeat is not None and not result.repeat.identical:
        return True
    conditioning = result.recipes.get("inference", {}).get("conditioning")
    return isinstance(conditioning, Mapping) and conditioning.get("noise") == "unseeded"


def _without_baseline(result: CaseResult) -> CaseCheck:
    if result.output is not None:
        return CaseCheck(case=result.id, outcome="no_baseline", problems=("has no baseline",), acceptable=True)
    if result.status == "unpairable":
        return CaseCheck(case=result.id, outcome="unpairable", notes=(result.verdict,))
    problems = (f"not run, and has no baseline: {result.verdict}",)
    return CaseCheck(case=result.id, outcome="not_run", problems=problems)


def _by_bits(
    result: CaseResult,
    output: VideoResult,
    baseline: Baseline,
    environment: tuple[str, ...],
    recipe: RecipeChanges,
    near: Nearness,
) -> CaseCheck:
    """In an equal environment, or with equal bits in another: metrics only say where the video went."""
    notes = _recipe_notes(recipe)
    problems: list[str] = []
    frames_equal = _frames_equal(output, baseline)
    if not frames_equal:
        problems.append(_what_changed(output, baseline))
    elif output.sha256 != baseline.output.sha256:
        problems.append("the file changed, its raw frames did not")
    if problems and recipe.drawing:
        problems += [f"because of {change}" for change in recipe.drawing]
    elif not frames_equal:
        problems.append("recipe equal: the code changed, or something that the environment does not record")
    elif problems:
        problems.append("recipe equal: the encoder (Pillow, libwebp) or the code around it changed")
    elif recipe.drawing:
        notes += [f"the recipe changed, the bits did not: {change}" for change in recipe.drawing]
    problems += _preview_changed(result, baseline)
    problems += near.missing
    problems += [f"further from the preview: {words}" for words in near.worse]
    better = [f"nearer to the preview: {words}" for words in near.better]
    if problems and better and not near.worse:
        better.append("an improvement, if nothing above speaks against it: accept it")
    return CaseCheck(
        case=result.id,
        outcome="changed" if problems else "holds",
        problems=tuple(problems),
        notes=(*better, *near.notes, *notes) if problems else (*near.notes, *notes),
        environment=environment,
        compared="bits",
        acceptable=bool(problems or recipe.drawing or recipe.words),
    )


def _by_tolerance(
    result: CaseResult,
    output: VideoResult,
    baseline: Baseline,
    environment: tuple[str, ...],
    recipe: RecipeChanges,
    near: Nearness,
) -> CaseCheck:
    """In another environment: recipe and shape must be equal, metrics within its noise."""
    problems = [f"the recipe changed: {change}" for change in recipe.drawing]
    notes = _recipe_notes(recipe)
    old = baseline.output
    shapes = [(f"{video.frames} frames of {video.width}x{video.height}", video.fps) for video in (old, output)]
    if shapes[0][0] != shapes[1][0]:
        problems.append(f"{shapes[0][0]} -> {shapes[1][0]}")
    elif shapes[0][1] != shapes[1][1]:
        problems.append(f"{shapes[0][1]:g} fps -> {shapes[1][1]:g} fps")
    problems += _preview_changed(result, baseline)
    problems += near.missing
    if not near.missing and not baseline.metrics:
        notes.append("the preview has another shape, so there is no metric to compare; recipe and shape are")
    changed = bool(problems)
    if _frames_equal(output, baseline):
        notes.append("the raw frames are equal all the same")
    problems += [f"worse beyond the noise of another environment: {words}" for words in near.worse]
    better = [f"better beyond the noise of another environment: {words}" for words in near.better]
    improved = bool(better) and not problems
    if improved:
        better.append("an improvement: accept it, so that it is held from now on")
    return CaseCheck(
        case=result.id,
        outcome="changed" if changed else "worse" if problems else "improved" if improved else "holds",
        problems=tuple(problems),
        notes=(*better, *near.notes, *notes),
        environment=environment,
        compared="tolerance",
        acceptable=bool(problems) or improved,
    )


def _frames_equal(output: VideoResult, baseline: Baseline) -> bool:
    """By raw frames; by the file where one of the two, of an older results.json, knows no more."""
    if output.raw_sha256 is None or baseline.output.raw_sha256 is None:
        return output.sha256 == baseline.output.sha256
    return output.raw_sha256 == baseline.output.raw_sha256


def _what_changed(output: VideoResult, baseline: Baseline) -> str:
    old = baseline.output
    if (output.width, output.height) != (old.width, old.height):
        return f"{old.frames} frames of {old.width}x{old.height} -> {output.frames} of {output.width}x{output.height}"
    words = describe_frames(old.frame_sha256, output.frame_sha256)
    if not old.frame_sha256 or not output.frame_sha256:
        words = "" if output.frames == old.frames else f"{output.frames} frames instead of {old.frames}"
    return words or "the frames changed (which of them is not known: results.json is of an older wan-parity)"


def _preview_changed(result: CaseResult, baseline: Baseline) -> list[str]:
    new = result.preview.sha256 if result.preview is not None else "none"
    if new == baseline.preview_sha256:
        return []
    return [f"the preview is another file (sha256 {baseline.preview_sha256[:12]} -> {new[:12]})"]


def _recipe_notes(recipe: RecipeChanges) -> list[str]:
    return [f"said differently in the recipe, drawn alike: {change}" for change in recipe.words]
