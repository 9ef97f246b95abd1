"""Folders of results, and the cache folder."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from parity.results.shard import Shard
from pipelines.errors import UsageError
from pipelines.files import digests
from pipelines.files.content import ignore, make_ignored
from pipelines.files.words import cannot_write

OUT = Path("reports/out")


def default_out(shard: Shard | None = None) -> Path:
    """The default folder of a new run: `reports/out/<start time>`, and for a shard `…-shard-2-of-4`."""
    name = datetime.now().strftime("%Y-%m-%d_%H%M%S")
    return OUT / (name if shard is None else f"{name}-{str(shard).replace(' ', '-')}")


def make_out(folder: Path) -> None:
    """Create the folder of a run. Git ignores reports/out, and any other folder that was not there. Raises OSError."""
    if folder.absolute().parent == OUT.absolute():
        folder.mkdir(parents=True, exist_ok=True)
        ignore(OUT)
    else:
        make_ignored(folder)


def check_writable(folder: Path) -> None:
    """Create the folder that `--out` names. Raises UsageError if nothing can be written there."""
    try:
        make_out(folder)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(cannot_write(f"--out {folder}", error)) from None


def cache_folder() -> Path | None:
    """The folder of generated frames, of speeds and of hashes: `$WAN_PARITY_CACHE`, None if that is empty.

    By default it is wan-parity/frames in the user's cache folder.
    """
    chosen = os.environ.get("WAN_PARITY_CACHE")
    if chosen is not None:
        return Path(chosen) if chosen else None
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "wan-parity" / "frames"


def remember_hashes() -> None:
    """Keep the hashes of large files in the cache folder, so that no later process reads those files to hash them."""
    folder = cache_folder()
    digests.remember_in(None if folder is None else folder / "hashes.json")
