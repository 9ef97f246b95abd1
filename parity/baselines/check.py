"""The gate: one result compared with its baseline."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from parity.baselines.file import Baseline, environment_of, factors_of
from parity.baselines.frames import changed_frames, describe_frames
from parity.baselines.nearness import Nearness, compare_metrics
from parity.baselines.noise import Noise
from parity.baselines.recipes import RecipeChanges, compare_recipes, without_paths
from parity.baselines.rules import factor_changes, rule_failures
from parity.baselines.speed import with_speed
from parity.results.case import BaselineResult, CaseResult, VideoResult
from parity.results.environment import differences


def check_case(
    result: CaseResult, environment: Mapping[str, Any], baseline: Baseline | None, noise: Noise | None = None
) -> BaselineResult:
    """Compare a result, generated in `environment` (of its results.json), with its baseline; None if it has none.

    The one decision of `parity run --baselines`, `parity baseline check` and `pytest --parity-baselines`. A result that
    was compared before is compared anew, by what it was without baselines.
    """
    own = result.by_own_rules()
    if baseline is None:
        return _without_baseline(own)
    if own.output is None:
        check = BaselineResult(outcome="not_run", problems=(f"not run: {own.verdict}",), **_own(own))
    else:
        check = _with_rules(_compared(own, own.output, environment, baseline, noise), own, baseline)
    check = with_speed(check, own, baseline)
    return dataclasses.replace(
        check,
        accepted_at=baseline.accepted.at,
        accepted_output=VideoResult(**dataclasses.asdict(baseline.output)),
        accepted_means={name: metric.mean for name, metric in baseline.metrics.items()},
        accepted_factors=baseline.accepted.factors,
        frames_changed=changed_frames(
            baseline.output.frame_sha256, () if own.output is None else own.output.frame_sha256
        ),
    )


def _own(result: CaseResult) -> dict[str, Any]:
    """The fields of the outcome that say how the case came out by its own rules."""
    return {"status": result.status, "verdict": result.verdict}


def _with_rules(check: BaselineResult, result: CaseResult, baseline: Baseline) -> BaselineResult:
    """Add what the output alone does not tell: the factors found, and the case's own rules."""
    factors = factor_changes(baseline.accepted.factors, factors_of(result))
    rules = rule_failures(result, baseline.accepted)
    return dataclasses.replace(
        check,
        outcome="changed" if factors or rules else check.outcome,
        problems=(*check.problems, *factors, *rules),
        acceptable=result.status != "error" and bool(check.acceptable or factors or rules),
    )


def _compared(
    result: CaseResult,
    output: VideoResult,
    environment: Mapping[str, Any],
    baseline: Baseline,
    noise: Noise | None,
) -> BaselineResult:
    """Compare the output, its recipe and its nearness to the preview."""
    changes = _environment_changes(result, environment, baseline)
    recipe = compare_recipes(baseline.recipe, without_paths(result.recipes.get("inference", {})))
    near = compare_metrics(
        baseline.metrics,
        result.metrics,
        (noise or Noise()) if changes else None,
        lossless=result.codec_floor is None and not result.made_elsewhere,
    )
    if _never_repeats(result) and not _frames_equal(output, baseline):
        note = "no two generations of this request are identical: only recipe, size and frame count are checked"
        near = Nearness(worse=(), better=(), missing=near.missing, notes=(note,))
        return _by_tolerance(result, output, baseline, changes, recipe, near)
    if changes and not (_frames_equal(output, baseline) and output.sha256 == baseline.output.sha256):
        return _by_tolerance(result, output, baseline, changes, recipe, near)
    return _by_bits(result, output, baseline, changes, recipe, near)


def _environment_changes(result: CaseResult, environment: Mapping[str, Any], baseline: Baseline) -> tuple[str, ...]:
    """Differences between the environments. A server's environment is unknown, so it is never taken as equal."""
    changes = differences(baseline.environment, environment_of(result, environment))
    return changes or (("the server's environment is unknown",) if result.target is not None else ())


def _never_repeats(result: CaseResult) -> bool:
    """Return whether the request uses unseeded noise (`Recipe.repeats`), or a server was seen to give different videos.

    A recipe that should repeat but does not on this machine is an error, which no baseline excuses.
    """
    if result.target is not None and result.repeat is not None and not result.repeat.identical:
        return True
    conditioning = result.recipes.get("inference", {}).get("conditioning")
    return isinstance(conditioning, Mapping) and conditioning.get("noise") == "unseeded"


def _without_baseline(result: CaseResult) -> BaselineResult:
    if result.output is not None:
        acceptable = result.status != "error"
        return BaselineResult(outcome="no_baseline", problems=("no baseline",), acceptable=acceptable, **_own(result))
    if result.status == "unpairable":
        return BaselineResult(outcome="unpairable", notes=(result.verdict,), **_own(result))
    problems = (f"not run, and no baseline: {result.verdict}",)
    return BaselineResult(outcome="not_run", problems=problems, **_own(result))


def _by_bits(
    result: CaseResult,
    output: VideoResult,
    baseline: Baseline,
    environment: tuple[str, ...],
    recipe: RecipeChanges,
    near: Nearness,
) -> BaselineResult:
    """Compare by bits, in an equal environment or with equal bits; metrics only tell better from worse."""
    notes = _recipe_notes(recipe)
    problems: list[str] = []
    frames_equal = _frames_equal(output, baseline)
    if not frames_equal:
        problems.append(_frame_changes(output, baseline))
    elif output.sha256 != baseline.output.sha256:
        problems.append("the file changed, but not its raw frames")
    if problems and recipe.reaching:
        problems += [f"because of {change}" for change in recipe.reaching]
    elif not frames_equal and result.file is not None:
        problems.append("another file is given as `output`")
    elif not frames_equal:
        problems.append("the recipe is unchanged: the code changed, or something the environment does not record")
    elif problems:
        problems.append("the recipe is unchanged: the encoder (Pillow, libwebp) or the code around it changed")
    elif recipe.reaching:
        notes += [f"the recipe changed, but not the bits: {change}" for change in recipe.reaching]
    problems += _preview_changed(result, baseline)
    problems += near.missing
    problems += [f"further from the preview: {change}" for change in near.worse]
    better = [f"closer to the preview: {change}" for change in near.better]
    if problems and better and not near.worse:
        better.append("an improvement; accept it unless something above speaks against it")
    return BaselineResult(
        **_own(result),
        outcome="changed" if problems else "holds",
        problems=tuple(problems),
        notes=(*better, *near.notes, *notes) if problems else (*near.notes, *notes),
        environment=environment,
        compared="bits",
        acceptable=bool(problems or recipe.reaching or recipe.harmless),
    )


def _by_tolerance(
    result: CaseResult,
    output: VideoResult,
    baseline: Baseline,
    environment: tuple[str, ...],
    recipe: RecipeChanges,
    near: Nearness,
) -> BaselineResult:
    """Compare by tolerance, in a different environment: recipe and size must be equal, metrics within its noise."""
    problems = [f"the recipe changed: {change}" for change in recipe.reaching]
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
        notes.append("size or frame count differs from the preview, so only recipe, size and frame count are compared")
    changed = bool(problems)
    if _frames_equal(output, baseline):
        notes.append("the raw frames are bit-identical all the same")
    problems += [f"worse beyond the noise between environments: {change}" for change in near.worse]
    better = [f"better beyond the noise between environments: {change}" for change in near.better]
    improved = bool(better) and not problems
    if improved:
        better.append("an improvement; accept it, so that it is checked from now on")
    return BaselineResult(
        **_own(result),
        outcome="changed" if changed else "worse" if problems else "improved" if improved else "holds",
        problems=tuple(problems),
        notes=(*better, *near.notes, *notes),
        environment=environment,
        compared="tolerance",
        acceptable=bool(problems) or improved,
    )


def _frames_equal(output: VideoResult, baseline: Baseline) -> bool:
    """Return whether raw frames are equal; or the files, where an older results.json did not record raw frames."""
    if output.raw_sha256 is None or baseline.output.raw_sha256 is None:
        return output.sha256 == baseline.output.sha256
    return output.raw_sha256 == baseline.output.raw_sha256


def _frame_changes(output: VideoResult, baseline: Baseline) -> str:
    old = baseline.output
    if (output.width, output.height) != (old.width, old.height):
        return f"{old.frames} frames of {old.width}x{old.height} -> {output.frames} of {output.width}x{output.height}"
    changes = describe_frames(old.frame_sha256, output.frame_sha256)
    if not old.frame_sha256 or not output.frame_sha256:
        changes = "" if output.frames == old.frames else f"{output.frames} frames instead of {old.frames}"
    if output.raw_sha256 is None and not changes:
        return "the file changed"
    return changes or "frames changed (an older wan-parity did not record which)"


def _preview_changed(result: CaseResult, baseline: Baseline) -> list[str]:
    new = result.preview.sha256 if result.preview is not None else "none"
    if new == baseline.preview_sha256:
        return []
    return [f"the preview is a different file (sha256 {baseline.preview_sha256[:12]} -> {new[:12]})"]


def _recipe_notes(recipe: RecipeChanges) -> list[str]:
    return [f"the recipe changed without effect on the video: {change}" for change in recipe.harmless]
