"""Malformed files made by ComfyUI: the metadata of every format."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from tests.malformed.inputs import Input, Target, cuts, instead, no_file, put, scattered_bits

MADE = tuple(
    Target(kind="ComfyUI video", path=f"made.{suffix}", command=("plan", "--output", f"made.{suffix}", "case.yaml"))
    for suffix in ("mp4", "webm", "webp", "png")
)


def made_inputs(folder: Path) -> Iterator[Input]:
    for target in MADE:
        data = (folder / target.path).read_bytes()
        yield from no_file(target)
        yield from cuts(target, 1, 50, 99)
        yield from scattered_bits(target, 4)
        yield target.input("random bytes", instead(bytes(range(256)) * 64), "clean")
        yield target.input("text", instead(b"404: Not Found"), "clean")
        place = data.index(b'{"37"') if b'{"37"' in data else data.index(b"{")
        yield target.input("a graph that is no JSON", put(place, b"[[[["), "clean")
        yield target.input("NULs in the graph", put(place + 40, bytes(40)), "clean")
    mp4, _, webp, png = MADE
    data = (folder / mp4.path).read_bytes()
    yield mp4.input("a list of 2^32 keys", put(data.index(b"keys") + 8, b"\xff\xff\xff\xff"))
    yield mp4.input("a key larger than the file", put(data.index(b"mdta") - 4, b"\x7f\xff\xff\xff"), "clean")
    yield webp.input(
        "EXIF that points far away", put((folder / webp.path).read_bytes().index(b"MM\0*") + 4, b"\xff" * 4)
    )
    claimed = struct.pack(">I", 1 << 31)
    yield png.input("a graph of 2 GB", put((folder / png.path).read_bytes().index(b"comf") - 4, claimed))
