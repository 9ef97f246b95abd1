"""The text tags of mp4 and mov (boxes of ISO 14496-12) and of webm and mkv (elements of Matroska, RFC 9559)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pipelines.files.words import shorten
from pipelines.media.bounded import DamagedError, Source, decoded

_TEXT = 1
"""The type of UTF-8 text in a `data` box (QuickTime's well-known types)."""


def read_mp4(source: Source) -> None:
    """Keep the keys that ffmpeg writes with `-movflags use_metadata_tags`, and the ordinary ones (`©cmt`)."""
    seen = False
    for kind, start, end in _boxes(source, 0, source.size):
        if kind == b"moov":
            seen = True
            for inner, first, last in _boxes(source, start, end):
                if inner == b"meta":
                    _meta(source, first, last)
                elif inner == b"udta":
                    for user, begin, stop in _boxes(source, first, last):
                        if user == b"meta":
                            _meta(source, begin, stop)
    if not seen:
        raise DamagedError("ends before its index (moov)")


def _boxes(source: Source, position: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The boxes between two positions: kind, and where the content begins and ends."""
    while end - position >= 8:  # four zero bytes may end a udta box
        source.part()
        size, kind = struct.unpack(">I4s", source.at(position, 8))
        head = 8
        if size == 1:
            head, (size,) = 16, struct.unpack(">Q", source.at(position + 8, 8))
        elif size == 0:
            size = end - position
        if size < head or position + size > end:
            raise DamagedError("ends too early, or has a box of a wrong size")
        yield kind, position + head, position + size
        position += size


def _meta(source: Source, start: int, end: int) -> None:
    if end - start < 8:
        return
    if source.at(start + 4, 4) != b"hdlr":  # as a full box it begins with version and flags; as QuickTime's it does not
        start += 4
    names: list[str] = []
    for kind, first, last in _boxes(source, start, end):
        if kind == b"keys":
            names = _keys(source, first, last)
        elif kind == b"ilst":
            for item, begin, stop in _boxes(source, first, last):
                number = struct.unpack(">I", item)[0]
                name = names[number - 1] if 0 < number <= len(names) else item.decode("latin-1")
                _item(source, name, begin, stop)


def _keys(source: Source, start: int, end: int) -> list[str]:
    count = struct.unpack(">I", source.at(start + 4, 4))[0] if end - start >= 8 else 0
    names, position = list[str](), start + 8
    for _ in range(count):
        source.part()
        size, _space = struct.unpack(">I4s", source.at(position, 8))
        if size < 8 or position + size > end:
            raise DamagedError("has a list of keys that is cut off")
        names.append(shorten(decoded(source.value(position + 8, size - 8)), 80))
        position += size
    return names


def _item(source: Source, name: str, start: int, end: int) -> None:
    for kind, first, last in _boxes(source, start, end):
        if kind == b"data" and last - first >= 8 and struct.unpack(">I", source.at(first, 4))[0] == _TEXT:
            source.found(name, source.value(first + 8, last - first - 8), f"mp4 key {name}")


_SEGMENT, _CLUSTER, _TAGS, _TAG, _SIMPLE = 0x18538067, 0x1F43B675, 0x1254C367, 0x7373, 0x67C8
_NAME, _STRING = 0x45A3, 0x4487


def read_matroska(source: Source) -> None:
    """Keep the tags of the file and of its tracks, under their names: ffmpeg writes them in upper case."""
    for kind, start, end in _elements(source, 0, source.size):
        if kind == _SEGMENT:
            for inner, first, last in _elements(source, start, end):
                if inner == _TAGS:
                    for tag, begin, stop in _elements(source, first, last):
                        if tag == _TAG:
                            _tag(source, begin, stop)


def _tag(source: Source, start: int, end: int) -> None:
    for kind, first, last in _elements(source, start, end):
        if kind != _SIMPLE:
            continue
        name = text = b""
        for part, begin, stop in _elements(source, first, last):
            if part in (_NAME, _STRING):
                value = source.value(begin, stop - begin)
                name, text = (value, text) if part == _NAME else (name, value)
        shown = shorten(decoded(name), 80)
        source.found(shown, text, f"webm tag {shown}")


def _elements(source: Source, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The elements between two positions: id, and where the content begins and ends.

    A live recording may leave the size of segment and clusters open: a segment then lasts to the end of the file, and
    the content of a cluster is taken for elements of the segment, which says nothing that is looked for.
    """
    while position < end:
        source.part()
        kind, position = _number(source, position, keep_length=True)
        size, position = _number(source, position, keep_length=False)
        if size is None:
            if kind not in (_SEGMENT, _CLUSTER):
                raise DamagedError("has an element of unknown size")
            size = end - position if kind == _SEGMENT else 0
        if kind is None or position + size > end:
            raise DamagedError("ends too early, or has an element of a wrong size")
        yield kind, position, position + size
        position += size


def _number(source: Source, position: int, *, keep_length: bool) -> tuple[int | None, int]:
    """A number of one to eight bytes, the first of which says how many, and where it ends. None: all ones, unknown."""
    first = source.at(position, 1)[0]
    length = 9 - first.bit_length()
    if length > 8:
        raise DamagedError("has an element without an id or size")
    value = int.from_bytes(source.at(position, length))
    if not keep_length:
        value -= 1 << 7 * length
        if value == (1 << 7 * length) - 1:
            return None, position + length
    return value, position + length
