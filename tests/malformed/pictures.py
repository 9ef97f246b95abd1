"""Malformed previews and control images: WebP, mp4, folders of PNG frames, PNG."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from tests.malformed.inputs import (
    Damage,
    Input,
    Target,
    bytes_of,
    cut_at,
    cuts,
    flip_bit,
    instead,
    no_file,
    put,
    scattered_bits,
)
from tests.malformed.workplace import STEP

_RUN = ("--out", "out", "--no-html")
WEBP = Target(kind="preview WebP", path=f"job/samples/{STEP}.webp", command=("run", "plain.yaml", *_RUN), torch=True)
MP4 = Target(kind="preview mp4", path="preview.mp4", command=("run", "mp4.yaml", *_RUN), torch=True)
FRAME = Target(kind="preview PNG", path="frames/0003.png", command=("run", "frames.yaml", *_RUN), torch=True)
FRAMES = Target(kind="preview PNG", path="frames", command=("run", "frames.yaml", *_RUN), torch=True)
CONTROL = Target(kind="control image", path="i2v_job/ctrl.png", command=("plan", "image.yaml"))


def webp_inputs(folder: Path) -> Iterator[Input]:
    data = (folder / WEBP.path).read_bytes()
    yield from no_file(WEBP)
    yield from cuts(WEBP, 0.05, 1, 10, 25, 50, 75, 95)
    yield WEBP.input("last byte missing", bytes_of(lambda data: data[:-1]), "clean")
    yield WEBP.input("bytes after the end", bytes_of(lambda data: data + bytes(100)), "clean")
    for bit in (0, 12, 70, 90, 97):
        yield WEBP.input(f"bit {bit} flipped, in the head", flip_bit(bit))
    yield from scattered_bits(WEBP, 14)
    yield WEBP.input("claims 16384x16384", put(24, struct.pack("<I", 16383)[:3] * 2))
    yield WEBP.input("claims 16777216x1", put(24, b"\xff\xff\xff\0\0\0"))
    first = data.index(b"ANMF")
    yield WEBP.input("the first frame is shown for 4 hours, the others 1 ms", bytes_of(_uneven))
    yield WEBP.input("a frame that claims 2 GB", put(first + 4, struct.pack("<I", 1 << 31)))
    yield WEBP.input("a frame outside of the picture", put(first + 8, b"\xff\xff\xff\xff\xff\xff"))
    yield WEBP.input("1000 frames of 4096x4096", instead(_animation(4096, 1000)))
    yield WEBP.input("200 frames of 16383x16383", instead(_animation(16383, 200)))
    yield WEBP.input("is a PNG of 60000x60000", instead(png(60_000, 60_000)))
    yield WEBP.input("is a PostScript program", instead(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"))
    yield WEBP.input("random bytes", instead(bytes(range(256)) * 64))
    yield WEBP.input("text", instead(b"404: Not Found"))


def mp4_inputs(folder: Path) -> Iterator[Input]:
    data = (folder / MP4.path).read_bytes()
    yield from no_file(MP4)
    yield from cuts(MP4, 0.2, 5, 50, 90, 99)
    yield from scattered_bits(MP4, 12)
    entry = data.index(b"avc1", data.index(b"stsd"))
    yield MP4.input("claims 65535x65535", put(entry + 28, b"\xff\xff\xff\xff"), "clean")
    yield MP4.input("no index of frames", put(data.index(b"moov"), b"free"))
    yield MP4.input("no codec by that name", put(entry, b"zzzz"))
    yield MP4.input("a table of 2^32 samples", put(data.index(b"stsz") + 12, b"\xff\xff\xff\xff"))
    yield MP4.input("bytes of a frame zeroed", put(data.index(b"mdat") + 900, bytes(200)))
    yield MP4.input("a box larger than the file", put(data.index(b"mdat") - 4, b"\x7f\xff\xff\xff"))
    yield MP4.input("a list of other files", instead(b"ffconcat version 1.0\nfile 'frames/0000.png'\n"))
    yield MP4.input("a playlist", instead(b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"))
    yield MP4.input("random bytes", instead(bytes(range(256)) * 64))
    yield MP4.input("text", instead(b"404: Not Found"))


def frame_inputs(folder: Path) -> Iterator[Input]:
    del folder
    yield from no_file(FRAME)
    yield from png_inputs(FRAME)
    yield from cuts(FRAME, 2, 50, 90)
    yield FRAME.input("of another size", instead(png(32, 32)))
    yield FRAMES.input("a folder without frames", _emptied)
    yield FRAMES.input("all frames of 5000x5000", _all(png(5000, 5000)))
    yield FRAMES.input("all frames cut", _all_cut)


def control_inputs(folder: Path) -> Iterator[Input]:
    del folder
    yield from no_file(CONTROL)
    yield from png_inputs(CONTROL)
    yield from cuts(CONTROL, 0.01, 2, 50, 90)
    yield CONTROL.input("text", instead(b"404: Not Found"))
    yield CONTROL.input("1000 million zeros", _sparse(1_000_000_000))
    yield CONTROL.input("a PNG, then 200 MB of zeros", _longer(200_000_000))


def png_inputs(target: Target) -> Iterator[Input]:
    yield target.input("claims 60000x60000", instead(png(60_000, 60_000, b"")))
    yield target.input("claims 13000x13000, and is", instead(png(13_000, 13_000)))
    yield target.input("9400x9400 with transparency, and is", instead(png(9_400, 9_400, kind=6)))
    yield target.input("claims 0x0", instead(png(0, 0)))
    yield target.input("claims 2147483647x1", instead(png(2**31 - 1, 1, b"")))
    yield target.input("pixels that do not unpack", instead(png(96, 64, b"\xff" * 500)))
    yield target.input("pixels for another height", instead(png(96, 64, zlib.compress(bytes(100)))))
    yield target.input("a kind of pixel that is none", instead(png(96, 64, kind=9)))
    yield target.input("the head's checksum is wrong", flip_bit(29 * 8))
    yield target.input("the signature is wrong", flip_bit(3))
    yield target.input("a text of 200 MB unpacked", bytes_of(_text_bomb))
    yield target.input("a colour profile of 200 MB unpacked", bytes_of(_profile_bomb), "clean")
    yield from scattered_bits(target, 8)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, pixels: bytes | None = None, kind: int = 0) -> bytes:
    """A PNG, all black: one bit a pixel, or `kind` 6, eight bits of red, green, blue and transparency."""
    head = struct.pack(">IIBBBBB", width, height, 1 if kind == 0 else 8, kind, 0, 0, 0)
    if pixels is None:
        packer = zlib.compressobj(1)
        row = bytes(1 + (width + 7) // 8 if kind == 0 else 1 + 4 * width)
        pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _text_bomb(data: bytes) -> bytes:
    return data[:33] + _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(200_000_000), 1)) + data[33:]


def _profile_bomb(data: bytes) -> bytes:
    return data[:33] + _chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(200_000_000), 1)) + data[33:]


def _uneven(data: bytes) -> bytes:
    """ANMF: x, y, width, height of three bytes each, then the duration in as many."""
    changed = bytearray(data)
    place, number = data.index(b"ANMF"), 0
    while place != -1:
        changed[place + 20 : place + 23] = b"\xff\xff\xff" if number == 0 else b"\x01\0\0"
        place, number = data.find(b"ANMF", place + 4), number + 1
    return bytes(changed)


def _animation(side: int, frames: int) -> bytes:
    """An animated WebP on a large canvas whose every frame is one pixel."""
    import io

    from PIL import Image

    still = io.BytesIO()
    Image.new("RGB", (1, 1)).save(still, "WEBP", lossless=True)
    pixel = still.getvalue()[12:]
    frame = bytes(12) + struct.pack("<I", 60)[:3] + b"\0" + pixel
    body = _riff(b"ANMF", frame) * frames
    canvas = struct.pack("<I", side - 1)[:3] * 2
    body = b"WEBP" + _riff(b"VP8X", b"\x02\0\0\0" + canvas) + _riff(b"ANIM", bytes(6)) + body
    return _riff(b"RIFF", body)


def _riff(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _emptied(path: Path) -> None:
    for file in path.iterdir():
        file.unlink()


def _all(data: bytes) -> Damage:
    def damage(path: Path) -> None:
        for file in path.iterdir():
            file.write_bytes(data)

    return damage


def _all_cut(path: Path) -> None:
    for file in path.iterdir():
        cut_at(50)(file)


def _sparse(size: int) -> Damage:
    def damage(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(size)

    return damage


def _longer(more: int) -> Damage:
    def damage(path: Path) -> None:
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size + more)

    return damage
