"""The folder of a run: used by one run at a time, with no partial files, so that a killed run can be continued."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from PIL import Image

from parity.case.load import Case
from parity.comparison.compare import Comparison
from parity.results.case import Run
from parity.results.environment import differences, reaching_the_bits
from parity.results.folders import make_out
from parity.results.merge import read_results
from parity.results.shard import Shard
from pipelines.errors import MediaError, UsageError
from pipelines.files.content import read_text
from pipelines.files.words import cannot_write, reason_of
from pipelines.media.video import Frames

_NEW = ".new-"
TRIALS = "trials"
"""Folder of a case's artifacts with stills of the videos that its diagnosis generated."""
UNDER_WAY = ".under-way"
"""File with the id of the case under way, which is left only by a process that was killed or died in it."""
SHARES = ".shares"
"""Folder with the results of the workers of one session, until they are merged."""
_ID_BYTES = 4096


class OutDir:
    """The folder that a run writes to: results.json, artifacts/<case>/, errors/<case>.txt.

    One process at a time may hold it.
    """

    def __init__(self, path: Path, share: Path | None = None) -> None:
        """`share`: the file for the results of one of several workers, whose parent process holds the folder."""
        self.path = path
        self.whole = path / "results.json"
        self.results = share or self.whole
        self._shared = share is not None
        self._lock: int | None = None
        self.under_way: str | None = None
        """The case that the last process to use the folder was killed or died in."""

    def acquire(self) -> None:
        """Lock the folder and remove partial files of a killed run. Raises UsageError if another run has it."""
        if self._shared:
            return
        make_out(self.path)
        self._lock = _lock(self.path)
        with suppress(OSError, ValueError):
            self.under_way = read_text(self.path / UNDER_WAY, _ID_BYTES).strip() or None
        self.mark(None)
        self.clear()

    def clear(self) -> None:
        """Remove what a killed run or worker left behind. Only the holder of the folder may call this."""
        patterns = (
            ".results.json.*",
            *(f"artifacts/{below}{_NEW}*" for below in ("", "*/", f"*/{TRIALS}/")),
            SHARES,
            UNDER_WAY,
        )
        for path in (path for pattern in patterns for path in self.path.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def mark(self, case: str | None) -> None:
        """Note the case under way, for the process that continues after this one was killed; None: there is none."""
        if self._shared:
            return
        with suppress(OSError):  # the mark is no result: without it the run is whole, too
            mark = self.path / UNDER_WAY
            mark.unlink(missing_ok=True) if case is None else mark.write_text(case, encoding="utf-8")

    def traceback_of(self, case: str) -> Path:
        """The file for the traceback of a case that ended in an unexpected exception."""
        return self.path / "errors" / f"{case}.txt"

    def release(self) -> None:
        """Unlock the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def write_videos(self, case: Case, comparison: Comparison) -> dict[str, str]:
        """Copy both videos, and write stills of every frame for the report."""
        names = {
            "output": f"output{comparison.suffix}",
            "preview": f"preview{case.video.suffix}",
            "preview_frames": "preview_frames",
            "output_frames": "output_frames",
        }
        try:
            with _replacing(self.path / "artifacts" / case.id) as folder:
                (folder / names["output"]).write_bytes(comparison.encoded)
                copy = shutil.copytree if case.video.is_dir() else shutil.copyfile
                copy(case.video, folder / names["preview"])
                _write_stills(folder / names["preview_frames"], dict(enumerate(comparison.preview_frames)))
                _write_stills(folder / names["output_frames"], dict(enumerate(comparison.output_frames)))
        except OSError as error:
            raise MediaError(f"{self.path}: the videos cannot be written: {reason_of(error)}") from None
        return {key: f"artifacts/{case.id}/{name}" for key, name in names.items()}

    def write_trial(self, case: str, name: str, frames: Mapping[int, Frames]) -> str:
        """Write stills of a trial of a case's diagnosis. Returns their folder as results.json names it.

        Raises OSError; then no folder is left.
        """
        relative = f"artifacts/{case}/{TRIALS}/{name}"
        with _replacing(self.path / relative) as folder:
            _write_stills(folder, frames)
        return relative

    def read_previous(self, environment: Mapping[str, Any] | None) -> Run:
        """Read the run to continue. Raises UsageError if there is none, or if its environment is different.

        With `environment` None it is not checked here: the workers check it.
        """
        if not self.whole.exists():
            raise UsageError(f"--resume: no results.json in {self.path}; pass the folder of the stopped run with --out")
        previous = read_results(self.whole)
        if environment is not None:
            require_same(previous, environment, self.whole)
        return previous

    def refuse_another_part(self, previous: Run, part: Shard | None) -> None:
        """Raises UsageError if the run to continue had other cases than this one: another shard, say."""
        if previous.shard == part:
            return
        named = [str(shard or "a run without --shard") for shard in (previous.shard, part)]
        if named[0] == named[1]:
            raise UsageError(
                f"--resume: {self.whole} is {named[0]} of cases that are split differently now, because cases, options "
                "or --balance changed; run without --resume"
            )
        raise UsageError(
            f"--resume: {self.whole} is {named[0]}, this is {named[1]}; pass the folder of that with --out"
        )


def require_same(previous: Run, environment: Mapping[str, Any], path: Path) -> None:
    """Raises UsageError if the results of a run, which are at `path`, were made in a different environment."""
    if not previous.cases:
        return
    changed = differences(*(reaching_the_bits(each) for each in (previous.environment, environment)))
    if changed:
        raise UsageError(
            f"--resume: {path} was made in a different environment ({', '.join(changed)}); run without --resume"
        )


def _lock(folder: Path) -> int | None:
    """Lock a folder; None where that is not possible. The kernel unlocks it however the process ends."""
    try:
        import fcntl
    except ImportError:  # Windows, where a folder cannot be locked either
        return None
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise UsageError(
            f"--out {folder}: another run is writing to this folder; wait for it, or choose another folder"
        ) from None
    return handle


@contextmanager
def _replacing(final: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `final` once it is filled; on an error it is removed."""
    new = final.with_name(f"{_NEW}{final.name}")
    new.mkdir(parents=True)
    try:
        yield new
        shutil.rmtree(final, ignore_errors=True)
        new.rename(final)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _write_stills(folder: Path, frames: Mapping[int, Frames]) -> None:
    folder.mkdir(exist_ok=True)
    for number, frame in frames.items():
        Image.fromarray(frame).save(folder / f"{number:04d}.webp", quality=90)


def write_page(run: Run, folder: Path, max_bytes: int) -> Path:
    """Write report.html into the folder of a run. Raises MediaError if it cannot be written."""
    from reports.render import write_report

    page = folder / "report.html"
    try:
        write_report(run, folder, page, max_bytes=max_bytes)
    except OSError as error:
        raise MediaError(cannot_write(page, error)) from None
    return page
