"""A file read by position, within limits: for formats whose headers may claim any size."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import BinaryIO

MAX_VALUE = 16 << 20
"""The largest text of one tag, in bytes: a graph of a thousand nodes has less than one."""

MAX_TEXT = 32 << 20
"""All tags of one file together."""

MAX_PARTS = 200_000
"""The most chunks, boxes or elements that are looked at in one file."""


class DamagedError(Exception):
    """A part of a file is not what its header says; the text completes `its metadata …`."""


@dataclass(frozen=True, slots=True)
class Tag:
    """One text in a file."""

    key: str
    text: str
    place: str
    """Where it stands, e.g. `mp4 key prompt`."""


@dataclass(slots=True)
class Source:
    """An open file, and how much of it may still be read."""

    file: BinaryIO
    size: int
    parts: int = 0
    text: int = 0
    tags: list[Tag] = field(default_factory=list)

    def at(self, position: int, count: int) -> bytes:
        """`count` bytes from a position. Raises DamagedError if the file is shorter."""
        if position + count > self.size:
            raise DamagedError("ends too early")
        self.file.seek(position)
        data = self.file.read(count)
        if len(data) != count:
            raise DamagedError("ends too early")
        return data

    def value(self, position: int, count: int) -> bytes:
        """Like `at`, for a text, whose size is limited."""
        self.text += count
        if count > MAX_VALUE or self.text > MAX_TEXT:
            raise DamagedError(f"holds a text of {count:,} bytes, more than is read")
        return self.at(position, count)

    def part(self) -> None:
        """Count a part. Raises DamagedError for too many."""
        self.parts += 1
        if self.parts > MAX_PARTS:
            raise DamagedError(f"has more than {MAX_PARTS:,} parts")

    def found(self, key: str, value: bytes, place: str) -> None:
        """Keep a tag. Text is UTF-8, or Latin-1 where it is not; NULs at its end are padding."""
        self.tags.append(Tag(key, decoded(value), place))


def decoded(value: bytes) -> str:
    """A tag's bytes as text."""
    value = value.rstrip(b"\0")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
