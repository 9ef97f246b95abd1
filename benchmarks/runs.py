"""`parity run` over three prompts of one job, against a loop of diffusers that generates the same three."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.core import Row, Size, Used, child, duration, median
from benchmarks.shapes import LONG, PROMPTS, REAL, TINY, Shape, made
from pipelines.cpu_kernels import PORTABLE

_ANCHOR = "a diffusers loop (adapter)"


def tiny(size: Size) -> Iterator[Row]:
    """`parity run` of three prompts at the demo's shapes, seconds of CPU: what a run spends beside the model."""
    yield from _rows(TINY, size.pairs, wall="", memory="", small=size.small)


def real(size: Size) -> Iterator[Row]:
    """`parity run` of three prompts of a 1.3B job, 2 steps, wall time and memory; 12 GB."""
    yield from _rows(REAL, size.pairs, wall="at most 1.10", memory="at most 1.15", small=size.small)


def long(size: Size) -> Iterator[Row]:
    """`parity run` of three prompts, 20 steps, at 1.3B's widths with few layers."""
    yield from _rows(LONG, size.pairs, wall="at most 1.02", memory="at most 1.15", small=size.small)


def _rows(shape: Shape, pairs: int, *, wall: str, memory: str, small: bool) -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix="parity-benchmark-") as name:
        folder = Path(name)
        shape = TINY if small else shape
        made(shape, folder)
        loops: list[Used] = []
        runs: dict[str, list[Used]] = {"faithful": [], "reference": []}
        for number in range(pairs):
            loops.append(_loop(shape, folder))
            for base, found in runs.items():
                found.append(_run(folder, base, number))
        theirs = median(loops)
        for base, how in (("faithful", "merged"), ("reference", "adapter")):
            ours = median(runs[base])
            what = f"{base} ({how}), {len(PROMPTS)} prompts, {shape.what}"
            yield Row(
                what=f"wall time, {what}",
                anchor=_ANCHOR,
                ratio=ours.wall / theirs.wall,
                promise=wall,
                ours=duration(ours.wall),
                theirs=duration(theirs.wall),
            )
            yield Row(
                what=f"CPU time, {what}",
                anchor=_ANCHOR,
                ratio=ours.cpu / theirs.cpu,
                ours=duration(ours.cpu),
                theirs=duration(theirs.cpu),
            )
            yield Row(
                what=f"peak memory, {what}",
                anchor=_ANCHOR,
                ratio=ours.peak / theirs.peak,
                promise=memory,
                ours=f"{ours.peak / 1024:.2f} GiB",
                theirs=f"{theirs.peak / 1024:.2f} GiB",
            )


def _loop(shape: Shape, folder: Path) -> Used:
    """The anchor, with the CPU kernels that a run uses: on some machines they are slower than the machine's own."""
    numbers = map(str, (shape.width, shape.height, shape.frames, shape.steps))
    return child(["-m", "benchmarks.bare", str(folder), *numbers, shape.dtype], folder, PORTABLE)


def _run(folder: Path, base: str, number: int) -> Used:
    """A first run: its caches are empty. Exit code 1: the cases drift from their previews, which are noise."""
    cache = str(folder / f"cache-{base}-{number}")
    out = str(folder / f"out-{base}-{number}")
    return child(["-m", "parity", "run", base, "--out", out], folder, {"WAN_PARITY_CACHE": cache}, ok=(1,))
