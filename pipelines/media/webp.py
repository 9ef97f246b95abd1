"""What the chunks of a WebP say of its pictures."""

from __future__ import annotations

import struct
from typing import BinaryIO

_MOST_CHUNKS = 100_000
"""Chunks that are looked at: a hostile file has any number of empty ones."""


def webp_pictures(file: BinaryIO) -> tuple[bool | None, int]:
    """Whether the pictures of a WebP are without loss, and their bytes, without container and metadata.

    `VP8L` is lossless, `VP8 ` is not. None: the file holds neither.
    """
    lossy = lossless = total = 0
    file.seek(12)
    for _ in range(_MOST_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            break
        name, size = head[:4], struct.unpack("<I", head[4:])[0]
        if name == b"ANMF":
            file.seek(16, 1)  # place, size and duration of a frame; its own chunks follow
            continue
        if name in (b"VP8 ", b"VP8L", b"ALPH"):
            total += size
            lossy += name == b"VP8 "
            lossless += name == b"VP8L"
        file.seek(size + size % 2, 1)
    return (not lossy if lossy or lossless else None), total
