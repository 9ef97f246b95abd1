"""The files of a case, from a worker's folder to the driver's: no disk is shared."""

from __future__ import annotations

import shutil
from pathlib import Path

from parity.cluster.messages import Files
from pipelines.errors import MediaError
from pipelines.files.words import cannot_write


class Sender:
    """A worker's folder. Each file is sent once, and again if it has changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sent: dict[str, tuple[int, int]] = {}

    def new(self, case: str) -> Files:
        """The files of a case that were written since the last call."""
        files: dict[str, bytes] = {}
        for path in self._paths(case):
            name, status = path.relative_to(self.folder).as_posix(), path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if self._sent.get(name) != stamp:
                files[name] = path.read_bytes()
                self._sent[name] = stamp
        return files

    def clear(self, case: str) -> None:
        """Delete a case's files, which the driver has."""
        shutil.rmtree(self.folder / "artifacts" / case, ignore_errors=True)
        for path in self._paths(case):
            path.unlink(missing_ok=True)
        self._sent.clear()

    def _paths(self, case: str) -> list[Path]:
        found = (self.folder / "artifacts" / case).rglob("*")
        return [path for path in (*found, self.folder / "errors" / f"{case}.txt") if path.is_file()]


def place(files: Files, folder: Path, *, instead_of: Path | None = None) -> None:
    """Write files below the run's folder; `instead_of` is deleted first. Raises MediaError if that is not possible."""
    try:
        if instead_of is not None:
            shutil.rmtree(instead_of, ignore_errors=True)
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except OSError as error:
        raise MediaError(cannot_write(folder, error)) from None
