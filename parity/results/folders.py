"""Folders of results, that of a new run and that of the last run; and the cache folder."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from parity.results.merge import MAX_BYTES
from pipelines.errors import UsageError
from pipelines.files import strict_json
from pipelines.files.content import ignore, make_ignored, read_text

_OUT = Path("reports/out")


def default_out() -> Path:
    """The default folder of a new run: `reports/out/<start time>`."""
    return _OUT / datetime.now().strftime("%Y-%m-%d_%H%M%S")


def make_out(folder: Path) -> None:
    """Create the folder of a run. Git ignores reports/out, and any other folder that was not there. Raises OSError."""
    if folder.absolute().parent == _OUT.absolute():
        folder.mkdir(parents=True, exist_ok=True)
        ignore(_OUT)
    else:
        make_ignored(folder)


def last_results() -> Path:
    """The results.json below reports/out that was started last. Raises UsageError if there is none.

    An unreadable file is skipped, unless it is the newest, since it could be the last run's.
    """
    found: list[tuple[datetime, float, Path]] = []
    broken: list[tuple[float, Path]] = []
    for path in _OUT.glob("*/results.json"):
        changed = path.stat().st_mtime
        try:
            started = datetime.fromisoformat(strict_json.loads(read_text(path, MAX_BYTES))["started"])
            found.append((started.astimezone(), changed, path))
        except (OSError, ValueError, KeyError, TypeError):
            broken.append((changed, path))
    if not found and not broken:
        raise UsageError(f"no run found in {_OUT}; run `parity run` first, or pass the folder it wrote to")
    if not found or (broken and max(broken)[0] > max(found)[1]):
        raise UsageError(f"{max(broken)[1]}: cannot be read; pass another run")
    return max(found)[2]


def cache_folder() -> Path | None:
    """The folder of generated frames and of speeds: `$WAN_PARITY_CACHE`, None if that is empty.

    By default it is wan-parity/frames in the user's cache folder.
    """
    chosen = os.environ.get("WAN_PARITY_CACHE")
    if chosen is not None:
        return Path(chosen) if chosen else None
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "wan-parity" / "frames"
