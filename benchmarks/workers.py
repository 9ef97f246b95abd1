"""Two workers against one: shards, and the workers of an embedded Ray, on cases of equal cost."""

from __future__ import annotations

import dataclasses
import heapq
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from benchmarks.core import Row, Size, child, duration
from parity.case.load import DEMO, Case, load_cases
from parity.cluster.dispatch import Held, Waiting
from parity.results.merge import read_results

CASES, STEPS = 12, 150
"""Enough to generate that starting two processes does not decide."""
_ONE_CORE = {"OMP_NUM_THREADS": "1"}
_PROMISE = "at most 0.59"


def rows(size: Size) -> Iterator[Row]:
    """Twelve cases of equal cost on two workers of one core each, against one; needs two idle cores."""
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
        yield _simulated(folder / "out-0-0", seconds["one"][0])


def _simulated(out: Path, wall: float) -> Row:
    """Eight workers with the costs that one had, as `--on ray` hands cases out."""
    run = read_results(out / "results.json")
    case = statistics.median(case.timings["generate"] + case.timings["compare"] for case in run.cases)
    load = run.cases[0].timings["load"]
    start = wall - sum(case.timings["total"] for case in run.cases)
    (some, *_) = load_cases([out.parent / "cases" / "case-0.yaml"])
    kinds = [Held(number // 32, number // 8) for number in range(64)]
    alone, eight = (_makespan(some, kinds, workers, (start, load, case)) for workers in (1, 8))
    return Row(
        what="wall time, eight workers, simulated with these costs: 64 cases of 2 checkpoints and 8 LoRAs",
        anchor="one worker, simulated",
        ratio=eight / alone,
        ours=duration(eight),
        theirs=duration(alone),
    )


def _makespan(case: Case, kinds: list[Held], workers: int, costs: tuple[float, float, float]) -> float:
    """When the last worker is done. `costs`: to start, to load a checkpoint, and a case; seconds."""
    start, load, seconds = costs
    waiting = Waiting([(dataclasses.replace(case, id=str(number)), kind) for number, kind in enumerate(kinds)])
    held: dict[int, Held] = {}
    free = [(start, worker) for worker in range(workers)]
    last = start
    while len(waiting):
        now, worker = heapq.heappop(free)
        given = waiting.take(held.get(worker), [kind for other, kind in held.items() if other != worker])
        assert given is not None
        kind = kinds[int(given.id)]
        is_loaded = worker in held and held[worker].checkpoint == kind.checkpoint
        last = max(last, now + seconds + (0 if is_loaded else load))
        heapq.heappush(free, (now + seconds + (0 if is_loaded else load), worker))
        held[worker] = kind
    return last


def _run(folder: Path, out: Path, *options: str) -> None:
    """Exit code 1: the cases drift from the preview, which is of another size."""
    arguments = ["-m", "parity", "run", "cases", "--no-cache", "--no-html", "--out", str(out), *options]
    child(arguments, folder, _ONE_CORE, ok=(1,))


def _shards(folder: Path, out: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda part: _run(folder, out / f"{part}", "--shard", f"{part}/2"), (1, 2)))


def _write_cases(folder: Path, count: int, steps: int) -> None:
    folder.mkdir()
    job = DEMO / "jobs" / "t2v_basic"
    prompt = {"prompt": "a lighthouse", "width": 256, "height": 128, "num_frames": 33, "fps": 15, "guidance_scale": 5}
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
        }
        (folder / f"case-{seed}.yaml").write_text(yaml.safe_dump(case), encoding="utf-8")
