"""A file that a case gives as its output: read, described, and compared with the preview; nothing is generated."""

from __future__ import annotations

import time
from pathlib import Path

from parity.case.load import Case
from parity.case.progress import Progress
from parity.comparison.compare import frames_sha256, read_preview
from parity.elsewhere.compare import MadeComparison, compare_made
from parity.elsewhere.made import Made
from parity.factors.findings import show
from parity.results.case import FileResult
from parity.results.words import factor_name
from pipelines.comfyui.metadata import FoundGraph
from pipelines.drift import LORA_FACTORS, Factor
from pipelines.files.shown import shown
from pipelines.files.words import capital
from pipelines.media.encoding import suffix_of
from pipelines.media.video import encode, read_video
from pipelines.recipe import Codec, frame_duration

_NO_REPEAT = ("nothing was repeated (--repeat): the file was made elsewhere, and nothing generates it here",)
_LONGEST = 200
"""Characters of a setting's value."""

_SETTINGS: tuple[Factor, ...] = (
    "prompt",
    "negative_prompt",
    "steps",
    "guidance",
    "seed",
    "scheduler",
    "boundary",
    *LORA_FACTORS,
    "precision",
    "quantization",
    "control_image",
    "resize",
)
"""The trainer's settings that a file without a graph is said to lack."""


def compare_file(case: Case, progress: Progress, *, repeat: bool = False) -> MadeComparison:
    """Compare the case's `output` with its preview. Raises MediaError for a file that cannot be read whole.

    `repeat`: repeats were asked for (`--repeat`), which is said to be impossible.
    """
    clock = time.perf_counter()
    progress.phase("read", "")
    preview = read_preview(case.video, case.preview)
    read_at = time.perf_counter()
    made = read_made(case, _NO_REPEAT if repeat else ())
    progress.phase("compare", "")
    made_at = time.perf_counter()
    compared = compare_made(case, preview, made)
    done_at = time.perf_counter()
    return compared.timed(
        {
            "read_preview": read_at - clock,
            "read_file": made_at - read_at,
            "compare": done_at - made_at,
            "total": done_at - clock,
        }
    )


def read_made(case: Case, notes: tuple[str, ...] = ()) -> Made:
    """Read the case's `output`, and what is known of how it was made."""
    path = case.output
    assert path is not None
    expected = case.inference
    video = read_video(path, frame_duration(expected.fps), expected.num_frames.applied)
    if path.is_dir():
        encoded, suffix = encode(video.frames, Codec("apng", None), expected.fps), ".png"
        sha256 = frames_sha256(video.frames)
    else:
        encoded = path.read_bytes()
        suffix = suffix_of(encoded) or path.suffix.lower()
        sha256 = None
    found = case.found
    file = FileResult(
        path=shown(path.as_posix()),
        made_by=None if found is None else found.made_by,
        graph=None if found is None or case.comfyui is None else _place(found, path),
        unknown=_unknown(case),
    )
    notes = (*notes, *_limits(case, path))
    return Made(encoded=encoded, suffix=suffix, sha256=sha256, video=video, notes=notes, file=file, seconds={})


def _place(found: FoundGraph, output: Path) -> str | None:
    """Where the graph was read: a place in the file, or another file that the case names."""
    inside = found.path == output or found.path.parent == output
    return shown(found.where or "") if inside else shown(found.origin)


def _unknown(case: Case) -> tuple[str, ...]:
    """What decides pixels and the file does not say."""
    if case.comfyui is not None:
        return tuple(map(shown, case.unknown))
    settings = (
        f"{capital(factor_name(factor))}: the preview's is {shown(show(case.preview, factor), _LONGEST)}."
        for factor in _SETTINGS
        if show(case.preview, factor) != "none"
    )
    return (*map(shown, case.unknown), *settings)


def _limits(case: Case, path: Path) -> tuple[str, ...]:
    """Where the findings come from, and what to do to know more."""
    name = shown(path.name)
    obstacles = case.preview.obstacles
    lost = tuple(f"the preview cannot be reproduced: {reason}; pixels are compared" for reason in obstacles)
    floor = "the codec floor is an estimate: each of the two videos, encoded as the other is"
    if case.comfyui is not None:
        source = "findings come from its ComfyUI graph and from the file itself"
        return (*lost, f"{name} was made elsewhere: {source}; {floor}")
    return (
        *lost,
        f"{name} was made elsewhere; not known of it: {shown(' '.join(case.unknown)) or 'its settings'}",
        floor,
        "to know more: name the graph (`pipeline: {base: comfyui, graph: …}`), write the settings it was made with as "
        "`request`, or let `parity diagnose` search for settings that give these frames",
    )
