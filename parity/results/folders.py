"""Folders of results, and the cache folder."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from pipelines.files.content import ignore, make_ignored

OUT = Path("reports/out")


def default_out() -> Path:
    """The default folder of a new run: `reports/out/<start time>`."""
    return OUT / datetime.now().strftime("%Y-%m-%d_%H%M%S")


def make_out(folder: Path) -> None:
    """Create the folder of a run. Git ignores reports/out, and any other folder that was not there. Raises OSError."""
    if folder.absolute().parent == OUT.absolute():
        folder.mkdir(parents=True, exist_ok=True)
        ignore(OUT)
    else:
        make_ignored(folder)


def cache_folder() -> Path | None:
    """The folder of generated frames and of speeds: `$WAN_PARITY_CACHE`, None if that is empty.

    By default it is wan-parity/frames in the user's cache folder.
    """
    chosen = os.environ.get("WAN_PARITY_CACHE")
    if chosen is not None:
        return Path(chosen) if chosen else None
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "wan-parity" / "frames"
