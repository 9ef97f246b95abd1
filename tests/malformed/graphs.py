"""Malformed files made by ComfyUI: the metadata of every format, and graphs as JSON."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path

from tests.malformed.inputs import Input, Target, bytes_of, cuts, instead, no_file, no_text, put, scattered_bits

MADE = tuple(
    Target(kind="ComfyUI video", path=f"made.{suffix}", command=("plan", "--output", f"made.{suffix}", "case.yaml"))
    for suffix in ("mp4", "webm", "webp", "png")
)
GRAPH = Target(kind="ComfyUI graph", path="made.json", command=("plan", "--output", "made.json", "case.yaml"))


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


def graph_inputs(folder: Path) -> Iterator[Input]:
    data = (folder / GRAPH.path).read_bytes()
    yield from no_file(GRAPH)
    yield from no_text(GRAPH)
    yield from cuts(GRAPH, 1, 50, 99)
    graph = json.loads(data)
    yield GRAPH.input("a hundred thousand brackets", instead(b"[" * 100_000))
    yield GRAPH.input("no nodes", instead(b"{}"))
    yield GRAPH.input("nodes without inputs", instead(json.dumps({"1": {"class_type": "KSampler"}}).encode()))
    yield GRAPH.input("every link leads to itself", instead(json.dumps(_looped(graph)).encode()))
    yield GRAPH.input(
        "a node nobody knows", bytes_of(lambda text: text.replace(b'"VAEDecode"', b'"Strange"')), says="Strange"
    )
    yield GRAPH.input("steps of 10^99", bytes_of(lambda text: text.replace(b'"steps": 20', b'"steps": 1' + b"0" * 99)))
    yield GRAPH.input(
        "a LoRA from elsewhere", bytes_of(lambda text: text.replace(b"p0stcard", b"../../../p0")), "clean"
    )


def _looped(graph: dict[str, dict[str, dict[str, object]]]) -> object:
    for name, node in graph.items():
        inputs = node["inputs"]
        node["inputs"] = {key: [name, 0] if isinstance(value, list) else value for key, value in inputs.items()}
    return graph
