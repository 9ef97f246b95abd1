"""What `parity compare --out` writes: comparison.json, and the frames that were compared, for the page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from parity.pair.compare import Compared
from parity.results.folders import check_writable
from parity.results.pair import pair_json
from pipelines.errors import MediaError, UsageError
from pipelines.files.content import write_atomically
from pipelines.files.words import reason_of
from pipelines.media.video import Frames

JSON = "comparison.json"
STILLS = ("artifacts/pair/a_frames", "artifacts/pair/b_frames")
"""Where the stills of A and of B are, relative to the folder."""


def check_folder(folder: Path) -> None:
    """Raise UsageError if the folder cannot be written to, or holds the results of a run, before anything is read."""
    if (folder / "results.json").exists():
        raise UsageError(
            f"--out {folder}: holds the results of a run, whose report.html this would replace; name another"
        )
    check_writable(folder)


def write_pair(compared: Compared, folder: Path) -> Path:
    """Write comparison.json and stills of every pair of frames. Returns the JSON's path."""
    path = folder / JSON
    try:
        for name, frames in zip(STILLS, (compared.a, compared.b), strict=True):
            _write_stills(folder / name, frames)
        write_atomically(path, pair_json(compared.result).encode())
    except OSError as error:
        raise MediaError(f"{folder}: the comparison cannot be written: {reason_of(error)}") from None
    return path


def _write_stills(folder: Path, frames: Frames) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("[0-9]*.webp"):
        old.unlink()
    for number, frame in enumerate(frames):
        Image.fromarray(np.ascontiguousarray(frame)).save(folder / f"{number:04d}.webp", quality=90)
