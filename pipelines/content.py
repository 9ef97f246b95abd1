"""Files by content."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path


def present(path: Path) -> bool:
    """Whether something lies there; no for names no file system allows (too long, a NUL byte)."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file. A file that has not changed since is not read again: LoRAs stand in many cases."""
    stat = path.stat()
    return _sha256(path, (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))


@functools.lru_cache(maxsize=256)
def _sha256(path: Path, _state: tuple[int, ...]) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
