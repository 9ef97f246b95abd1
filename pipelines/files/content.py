"""Reads files within limits, and writes them atomically."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path


def present(path: Path) -> bool:
    """Check whether a path exists; False also for names that no file system allows (too long, a NUL byte)."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def real_path(path: Path) -> Path:
    """Resolve a path like Path.resolve. A link to itself is kept, while Python before 3.13 raises an error for it."""
    return Path(os.path.realpath(path))


def check_file(path: Path, max_bytes: int | None = None) -> None:
    """Raise OSError for anything but a regular file, and for a file larger than `max_bytes`.

    Reading a pipe or a device can take for ever.
    """
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder, not a file", str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "is a pipe or a device, not a file", str(path))
    if max_bytes is not None and found.st_size > max_bytes:
        size, limit = found.st_size / (1 << 20), max_bytes >> 20
        raise OSError(errno.EFBIG, f"is {size:.0f} MiB, more than the limit of {limit} MiB for such a file", str(path))


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """Read a file. Raises OSError like `check_file`."""
    check_file(path, max_bytes)
    return path.read_bytes()


def read_text(path: Path, max_bytes: int) -> str:
    """Read UTF-8 text, with or without a byte order mark. Raises OSError like `check_file`, and UnicodeDecodeError."""
    return as_text(read_bytes(path, max_bytes))


def as_text(data: bytes) -> str:
    """Decode UTF-8 as `read_text` does. Raises UnicodeDecodeError."""
    return data.decode("utf-8-sig").replace("\r\n", "\n")


def make_ignored(folder: Path, mode: int = 0o777) -> None:
    """Create a folder for files that are generated. If it was not there, git is told to ignore what is in it."""
    if not folder.exists():
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
        ignore(folder)


def ignore(folder: Path) -> None:
    """Tell git to ignore everything in a folder, unless it has been told something about it."""
    file = folder / ".gitignore"
    if not file.exists():
        file.write_text("*\n", encoding="utf-8")


def write_atomically(path: Path, data: bytes | Iterable[bytes]) -> None:
    """Write a file, of one piece or several, so that no reader sees, and no killed writer leaves, an incomplete one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.writelines([data] if isinstance(data, bytes) else data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
