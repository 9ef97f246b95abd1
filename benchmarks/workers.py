"""Two workers against one: shards, and the workers of an embedded Ray, on cases of equal cost."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from benchmarks.core import Row, Size, child, duration
from parity.case.load import DEMO

CASES, STEPS = 8, 150
"""Enough to generate that starting two processes does not decide."""
_ONE_CORE = {"OMP_NUM_THREADS": "1"}
_PROMISE = "at most 0.59"


def rows(size: Size) -> Iterator[Row]:
    """Eight cases of equal cost on two workers of one core each, against one; needs two idle cores."""
    with tempfile.TemporaryDirectory(prefix="parity-benchmark-") as name:
        folder = Path(name)
        _write_cases(folder / "cases", *((2, 1) if size.small else (CASES, STEPS)))
        ways: dict[str, Callable[[Path], object]] = {
            "one": lambda out: _run(folder, out),
            "two shards (`--shard I/2`)": lambda out: _shards(folder, out),
            "two Ray workers (`--on ray`)": lambda out: _run(folder, out, "--on", "ray", "--workers", "2"),
        }
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(1 if size.small else size.pairs):
            for index, (way, run) in enumerate(ways.items()):
                began = time.perf_counter()
                run(folder / f"out-{number}-{index}")
                seconds[way].append(time.perf_counter() - began)
        one, *others = {way: statistics.median(found) for way, found in seconds.items()}.items()
        for way, took in others:
            yield Row(
                what=f"wall time, {way}, {CASES} cases, with their start",
                anchor="one process on one core",
                ratio=took / one[1],
                promise=_PROMISE,
                ours=duration(took),
                theirs=duration(one[1]),
            )


def _run(folder: Path, out: Path, *options: str) -> None:
    child(["-m", "parity", "run", "cases", "--no-cache", "--no-html", "--out", str(out), *options], folder, _ONE_CORE)


def _shards(folder: Path, out: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda part: _run(folder, out / f"{part}", "--shard", f"{part}/2"), (1, 2)))


def _write_cases(folder: Path, count: int, steps: int) -> None:
    folder.mkdir()
    job = DEMO / "jobs" / "t2v_basic"
    prompt = {"prompt": "a lighthouse", "width": 96, "height": 64, "num_frames": 9, "fps": 15, "guidance_scale": 5}
    for seed in range(count):
        case = {
            "model": "wan21_14b",
            "checkpoint": str(DEMO / "models" / "tiny-wan-t2v"),
            "preview": {
                "config": str(job / "config.yaml"),
                "sample": 0,
                "video": str(min((job / "samples").glob("*_0.webp"))),
                "toolkit": "0.12.26",
            },
            "pipeline": "faithful",
            "request": {
                "model": "wan21_14b",
                "prompts": [prompt | {"seed": seed, "neg": "", "sample_steps": steps}],
                "loras": [{"path": str(job / "tiny_t2v.safetensors"), "network_multiplier": 1.0}],
            },
            "expect": ["prompt", "seed", "steps"],
        }
        (folder / f"case-{seed}.yaml").write_text(yaml.safe_dump(case), encoding="utf-8")
