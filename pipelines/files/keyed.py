"""A secret key over files that others could have written: what it signed was written by somebody who has it."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from pathlib import Path

SHORTEST = 32
"""The fewest characters of a key, as `openssl rand -hex 16` prints."""


class Key:
    """Signs bytes with HMAC-SHA256. It shows itself in no text."""

    def __init__(self, secret: str) -> None:
        """Raises ValueError for a secret that is too short to be one."""
        if len(secret) < SHORTEST:
            raise ValueError(f"has {len(secret)} characters, a key needs at least {SHORTEST}: openssl rand -hex 32")
        self._secret = secret.encode("utf-8", "surrogateescape")

    def mac(self, kind: str, data: bytes) -> str:
        """The hex signature of bytes of one kind; of another kind, equal bytes have another."""
        return hmac.new(self._secret, kind.encode() + b"\0" + data, hashlib.sha256).hexdigest()

    def signed(self, kind: str, data: bytes, mac: object) -> bool:
        """Whether a signature is that of these bytes."""
        return isinstance(mac, str) and mac.isascii() and hmac.compare_digest(self.mac(kind, data), mac)


def key_in(file: Path) -> Key:
    """The key in a file, which nobody but its owner may read. Raises OSError, and ValueError for an unusable one."""
    found = file.stat()
    if os.name == "posix" and stat.S_IMODE(found.st_mode) & 0o077:
        raise ValueError(f"can be read by others: chmod 600 {file}")
    if not stat.S_ISREG(found.st_mode) or found.st_size > 1 << 12:
        raise ValueError("is no file with a key")
    return Key(file.read_text(encoding="utf-8", errors="surrogateescape").strip())
