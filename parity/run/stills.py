"""Stills of a diagnosis: the same few frames of every video that it generates."""

from __future__ import annotations

import dataclasses
import errno
import re
import shutil
from pathlib import Path

from parity.comparison.compare import is_lossless
from parity.results.case import CaseResult
from parity.results.frames import spread, worst_frame
from parity.run.outdir import OutDir
from pipelines.files.words import cannot_write
from pipelines.media.video import Frames

RESERVE = 64 << 20
"""Bytes that stills leave free: without room for results.json the whole run would end."""
_SLUG = 40
"""The longest name of a folder, without its number."""


class TrialStills:
    """Keeps stills of a case's trials. Equal outputs share a folder; the request's are those of the case's output.

    If they cannot be written, the diagnosis goes on without them and says so.
    """

    def __init__(self, out: OutDir, result: CaseResult, video: Path, count: int) -> None:
        """`result` is that of the comparison with `video`, the preview; `count` frames are kept of each trial."""
        self._out, self._case, self._count = out, result.id, count
        frames = result.preview.frames if result.preview is not None else 0
        self._frames = spread(frames, count, worst_frame(result))
        self._folders: dict[str, str] = {}
        self._problem: str | None = None
        output = result.output
        shown = None if output is None else output.raw_sha256 if is_lossless(video) else output.sha256
        if shown is not None and "output_frames" in result.artifacts:
            self._folders[shown] = result.artifacts["output_frames"]

    def __call__(self, label: str, sha256: str, frames: Frames) -> str | None:
        """Keep stills of an output, which `sha256` identifies. Returns their folder; None: none are kept."""
        if not self._frames or self._problem is not None:
            return None
        if sha256 not in self._folders:
            name = f"{len(self._folders)}-{_slug(label)}"
            kept = {number: frames[number] for number in self._frames if number < len(frames)}
            try:
                if shutil.disk_usage(self._out.path).free < RESERVE:
                    raise OSError(errno.ENOSPC, f"less than {RESERVE >> 20} MiB are free, which are left to results")
                self._folders[sha256] = self._out.write_trial(self._case, name, kept)
            except OSError as error:
                self._problem = f"no stills were kept from “{label}” on: {cannot_write(self._out.path, error)}"
                return None
        return self._folders[sha256]

    def noted(self, result: CaseResult) -> CaseResult:
        """A result whose diagnosis says how many frames it keeps, and what kept it from that."""
        if result.diagnosis is None:
            return result
        diagnosis = dataclasses.replace(result.diagnosis, stills=self._count, stills_missing=self._problem)
        return dataclasses.replace(result, diagnosis=diagnosis)


def _slug(label: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", label.lower())[:_SLUG].strip("-")
