"""The texts that programs write into video and image files beside the pixels: PNG, APNG, WebP, mp4, mov, webm, mkv.

Read from the files' own structure, so that a value comes out whole whatever characters it holds; no pixel is decoded.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from pipelines.errors import MediaError
from pipelines.files.content import check_file
from pipelines.files.words import cannot_read, shorten
from pipelines.media.bounded import MAX_TEXT, MAX_VALUE, DamagedError, Source, Tag, decoded
from pipelines.media.boxes import read_matroska, read_mp4

_PNG = b"\x89PNG\r\n\x1a\n"
_COMFY_CHUNK = b"comf"
"""The private chunk of ComfyUI's SaveAnimatedPNG (0.3.64), after the pixels: key, NUL, text."""

_ASCII, _EXIF_TAGS = 2, range(0x0100, 0x0111)
"""The TIFF type of text, and the tags of the image that programs fill with it."""


def read_tags(path: Path) -> tuple[Tag, ...]:
    """The texts of a file, in its order; empty for a format without any, such as GIF.

    Raises MediaError for a file that cannot be read, ends too early, or holds more than is read.
    """
    try:
        check_file(path)
        with path.open("rb") as file:
            source = Source(file, path.stat().st_size)
            if not source.size:
                raise DamagedError("is empty")
            read = _reader(file.read(16))
            if read is not None:
                read(source)
            return tuple(source.tags)
    except OSError as error:
        raise MediaError(cannot_read(path, error)) from None
    except DamagedError as error:
        raise MediaError(f"{path}: its metadata cannot be read: the file {error}; is it complete?") from None


def _reader(head: bytes) -> Callable[[Source], None] | None:
    """What reads a file that begins so: its name may say anything."""
    if head.startswith(_PNG):
        return _png
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return _webp
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"):
        return read_mp4
    return read_matroska if head.startswith(b"\x1aE\xdf\xa3") else None


def _png(source: Source) -> None:
    position, kind, animated = len(_PNG), b"", False
    while kind != b"IEND":
        source.part()
        length, kind = struct.unpack(">I4s", source.at(position, 8))
        if kind in (b"tEXt", b"zTXt", b"iTXt", _COMFY_CHUNK):
            body = source.value(position + 8, length)
            (check,) = struct.unpack(">I", source.at(position + 8 + length, 4))
            if zlib.crc32(kind + body) != check:
                raise DamagedError(f"has a damaged {kind.decode()} chunk")
            _png_text(source, kind, body, "APNG" if animated else "PNG")
        animated = animated or kind == b"acTL"
        position += length + 12


def _png_text(source: Source, kind: bytes, body: bytes, name: str) -> None:
    key, separator, rest = body.partition(b"\0")
    if not separator:
        raise DamagedError(f"has a {kind.decode()} chunk without a key")
    if kind == b"zTXt":
        rest = _inflated(source, rest[1:])
    elif kind == b"iTXt":
        compressed, rest = rest[:1] == b"\1", rest[2:]
        rest = rest.partition(b"\0")[2].partition(b"\0")[2]  # language and translated key
        rest = _inflated(source, rest) if compressed else rest
    shown = shorten(decoded(key), 80)
    source.found(shown, rest, f"{name} chunk {kind.decode()} {shown}")


def _inflated(source: Source, data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(data, MAX_VALUE + 1)
    except zlib.error:
        raise DamagedError("has a compressed text that is damaged") from None
    source.text += len(text)
    if len(text) > MAX_VALUE or source.text > MAX_TEXT:
        raise DamagedError(f"holds a compressed text of more than {MAX_VALUE:,} bytes")
    if not inflater.eof:
        raise DamagedError("has a compressed text that is cut off")
    return text


def _webp(source: Source) -> None:
    (length,) = struct.unpack("<I", source.at(4, 4))
    if 8 + length > source.size:
        raise DamagedError("ends too early")
    position = 12
    while position < 8 + length:
        source.part()
        kind, size = struct.unpack("<4sI", source.at(position, 8))
        if kind == b"EXIF":
            _exif(source, source.value(position + 8, size).removeprefix(b"Exif\0\0"))
        position += 8 + size + size % 2


def _exif(source: Source, data: bytes) -> None:
    """The texts of the first directory. ComfyUI writes `key:text` into the tags of camera names."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        raise DamagedError("has EXIF data without a header")
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        for number in range(count):
            entry = start + 2 + 12 * number
            tag, kind, size = struct.unpack_from(f"{order}HHI", data, entry)
            if kind != _ASCII or tag not in _EXIF_TAGS:
                continue
            (offset,) = (entry + 8,) if size <= 4 else struct.unpack_from(f"{order}I", data, entry + 8)
            if offset + size > len(data):
                raise DamagedError(f"has an EXIF tag 0x{tag:04x} that is cut off")
            key, _, text = data[offset : offset + size].partition(b":")
            shown = shorten(decoded(key), 80)
            source.text += size
            if source.text > MAX_TEXT:  # tags may overlap: a small file can name one text ten thousand times
                raise DamagedError("repeats one EXIF text too often")
            source.found(shown, text, f"WebP EXIF tag 0x{tag:04x}")
    except struct.error:
        raise DamagedError("has EXIF data that are cut off") from None
