"""The page of `parity compare`: two files in the viewer of the cases, which claims neither job nor recipe."""

from __future__ import annotations

from pathlib import Path, PurePath

from parity.results.case import CaseResult, Run, VideoResult, now
from parity.results.pair import FileFacts, PairResult
from pipelines.files.content import write_atomically
from reports.render import render

_FPS = 16
"""The frame rate at which files without one are played."""


def write_pair_report(
    result: PairResult, folder: Path, path: Path, *, stills: tuple[str, str], max_bytes: int = 25 << 20
) -> None:
    """Write the page to `path`, atomically. `stills`: the folders of both sides, relative to `folder`."""
    page = render(_run(result, stills), folder, max_bytes=max_bytes, pair=result)
    write_atomically(path, page.encode("utf-8", "replace"))


def _run(result: PairResult, stills: tuple[str, str]) -> Run:
    """The comparison as a run of one case, as far as the viewer needs one."""
    started = now()
    case = CaseResult(
        id=f"{PurePath(result.a.path).name} and {PurePath(result.b.path).name}",
        status="passed" if result.same else "drifted",
        model="",
        verdict=result.sentence,
        case_file="",
        preview=_video(result.a, result),
        output=_video(result.b, result),
        bit_identical=result.outcome == "identical",
        metrics=result.metrics,
        codec_floor=None if result.codec is None else {"psnr": result.codec.psnr},
        notes=result.notes,
        artifacts={"preview_frames": stills[0], "output_frames": stills[1]},
    )
    command = ("parity", "compare", result.a.path, result.b.path)
    return Run(started=started, finished=started, command=command, environment={}, cases=(case,))


def _video(facts: FileFacts, result: PairResult) -> VideoResult:
    """One side as it was compared: as many frames as there are pairs, of the size in which they were compared."""
    width, height = result.compared_size
    return VideoResult(frames=len(result.pairs), width=width, height=height, fps=facts.fps or _FPS, sha256=facts.sha256)
