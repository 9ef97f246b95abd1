"""Settings that can be read from a video file itself."""

from __future__ import annotations

import dataclasses

from parity.case.load import Case
from parity.results.diagnosis import Setting
from pipelines.graph import FRAME_RULES
from pipelines.limits import within_limits
from pipelines.media.video import Video
from pipelines.recipe import Asked, Recipe, frame_duration


def read_from_file(case: Case, video: Video) -> tuple[tuple[Setting, ...], Recipe]:
    """Read the settings stored in the file, and return them with a recipe that agrees with them.

    Values of the config that nobody can reproduce (a random seed, an unsupported quantization) are replaced by
    ones that can be generated.
    """
    recipe, frames = case.preview, len(video.frames)
    asked = recipe.num_frames.asked
    rules = [name for name, rule in FRAME_RULES.items() if rule(asked) == frames]
    rule = (
        f"{asked} frames by the {' or '.join(rules)} rule"
        if rules
        else f"{asked} asked: no rule turns that into {frames}"
    )
    fps = recipe.fps if not video.frame_ms or frame_duration(recipe.fps) == video.frame_ms else round(video.fps)
    found = dataclasses.replace(
        recipe,
        width=Asked(video.width, video.width),
        height=Asked(video.height, video.height),
        num_frames=Asked(frames, frames),
        fps=fps,
        seed=_first(recipe.seed, case.inference.seed, case.sample),
        quantization=within_limits(recipe).quantization,
        obstacles=(),
    )
    size, assumed = f"{video.width}x{video.height}", f"{recipe.width.applied}x{recipe.height.applied}"
    shown = (
        ("size", assumed, size, "read from the file"),
        ("frames", str(recipe.num_frames.applied), str(frames), f"read from the file; {rule}"),
        ("fps", str(recipe.fps), str(fps), f"read from the file: {video.frame_ms:g} ms per frame"),
    )
    settings = tuple(
        Setting(name=name, assumed=old, found=new, changed=old != new, tried=(), evidence=evidence)
        for name, old, new, evidence in shown
    )
    return settings, found


def why_not_generated(video: Video) -> str | None:
    """Say why no Wan recipe generates a video of this shape; None if one can."""
    if video.width % 16 or video.height % 16:
        return f"the file is {video.width}x{video.height}; Wan generates multiples of 16: it was resized since"
    if len(video.frames) % 4 != 1:
        return f"the file has {len(video.frames)} frames; Wan generates 4n + 1: it was cut or encoded again"
    return None


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
