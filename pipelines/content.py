"""Files by content."""

from __future__ import annotations

import hashlib
from pathlib import Path


def present(path: Path) -> bool:
    """Whether something lies there; no for names no file system allows (too long, a NUL byte)."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
