"""Folders of results, and the cache folder."""

from __future__ import annotations

import os
import stat
from datetime import datetime
from pathlib import Path

from parity.results.shard import Shard
from pipelines.errors import UsageError
from pipelines.files import digests
from pipelines.files.content import ignore, make_ignored
from pipelines.files.keyed import Key, key_in
from pipelines.files.words import cannot_read, cannot_write

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


CACHE_KEY, CACHE_KEY_FILE = "WAN_PARITY_CACHE_KEY", "WAN_PARITY_CACHE_KEY_FILE"


def cache_key() -> Key | None:
    """The key that signs what is kept in the cache folder: `$WAN_PARITY_CACHE_KEY`, or what is in `…_KEY_FILE`.

    None: no key, all in the folder is believed. Raises UsageError for one that cannot be used.
    """
    secret, file = (os.environ.get(name, "").strip() for name in (CACHE_KEY, CACHE_KEY_FILE))
    try:
        if secret:
            return Key(secret)
        return key_in(Path(file)) if file else None
    except ValueError as error:
        raise UsageError(f"${CACHE_KEY if secret else CACHE_KEY_FILE}: {'' if secret else f'{file} '}{error}") from None
    except OSError as error:
        raise UsageError(f"${CACHE_KEY_FILE}: {cannot_read(file, error)}") from None


def who_else_writes(folder: Path) -> str | None:
    """Who besides this user can write an existing folder, as a clause; None: the administrator alone, or not known.

    Whoever can write the cache folder can choose what cached cases show, unless it is keyed.
    """
    if os.name != "posix":
        return None
    found = folder.stat()
    if found.st_uid not in (os.getuid(), 0):
        return f"it belongs to user {found.st_uid}, not to you"
    if found.st_mode & stat.S_IWOTH:
        return "any user of this machine can write it"
    return f"group {found.st_gid} can write it" if found.st_mode & stat.S_IWGRP else None


def is_planted(folder: Path) -> bool:
    """Whether a folder was made by another user where anyone can make one, as in /tmp: perhaps to be taken for ours."""
    if os.name != "posix":
        return False
    folder = folder.resolve()
    return folder.stat().st_uid not in (os.getuid(), 0) and bool(folder.parent.stat().st_mode & stat.S_IWOTH)


def remember_hashes() -> None:
    """Keep the hashes of large files in the cache folder, so that no later process reads those files to hash them.

    Raises UsageError for a key that cannot be used.
    """
    folder = cache_folder()
    digests.remember_in(None if folder is None else folder / "hashes.json", cache_key())
