"""A file that a case gives as its output: read, described, and compared with the preview; nothing is generated."""

from __future__ import annotations

import time
from pathlib import Path

from parity.case.load import Case
from parity.case.progress import Progress
from parity.comparison.compare import frames_sha256, read_preview
from parity.elsewhere.compare import MadeComparison, compare_made
from parity.elsewhere.evidence import IN_FILE
from parity.elsewhere.made import Made
from parity.factors.findings import show
from parity.results.case import FileResult
from parity.results.words import factor_name
from pipelines.comfyui.metadata import FoundGraph, find_graph
from pipelines.drift import FACTORS
from pipelines.errors import ParityError
from pipelines.files.words import one_line
from pipelines.media.encoding import suffix_of
from pipelines.media.video import encode, read_video
from pipelines.recipe import Codec, frame_duration


def compare_file(case: Case, progress: Progress) -> MadeComparison:
    """Compare the case's `output` with its preview. Raises MediaError for a file that cannot be read whole."""
    clock = time.perf_counter()
    progress.phase("read", "")
    preview = read_preview(case.video, case.preview)
    read_at = time.perf_counter()
    made = read_made(case)
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


def read_made(case: Case) -> Made:
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
    found, problem = _graph(path)
    file = FileResult(
        path=one_line(path.as_posix()),
        made_by=None if found is None else found.made_by,
        graph=None if found is None or case.comfyui is None else found.where,
        unknown=_unknown(case),
    )
    notes = (*problem, *_limits(case, path, found))
    return Made(encoded=encoded, suffix=suffix, sha256=sha256, video=video, notes=notes, file=file, seconds={})


def _graph(path: Path) -> tuple[FoundGraph | None, list[str]]:
    """What the file's metadata hold. That they cannot be read keeps nobody from looking at the pixels."""
    try:
        return find_graph(path), []
    except ParityError as error:
        return None, [f"the file's metadata were not read: {one_line(str(error))}"]


def _unknown(case: Case) -> tuple[str, ...]:
    """What decides pixels and the file does not say."""
    if case.comfyui is not None:
        return case.unknown
    return tuple(
        f"{factor_name(factor)}: the preview's is {one_line(show(case.preview, factor))}; the file does not say"
        for factor in FACTORS
        if factor not in IN_FILE and show(case.preview, factor) != "none"
    )


def _limits(case: Case, path: Path, found: FoundGraph | None) -> list[str]:
    """Where the findings come from, and what to do to know more."""
    name = one_line(path.name)
    floor = "the codec floor is an estimate: each of the two videos, encoded as the other is"
    if case.comfyui is not None:
        return [f"{name} was made elsewhere: findings come from its ComfyUI graph and from the file itself; {floor}"]
    holds = one_line(found.origin) if found is not None else name
    return [
        f"{holds}. So it shows its size, frame count, frame rate and codec, and no other setting; {floor}",
        "to know more: name the graph (`pipeline: {base: comfyui, graph: …}`), write the settings it was made with as "
        "`request`, or let `parity diagnose` search for settings that give these frames",
    ]
