"""What the benchmarks share: a row of the table, two things measured in turn, a child process with its peak memory."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured."""

    small: bool = False
    """The smallest form, which takes seconds and whose figures say nothing: for tests."""
    pairs: int = 3
    """How often each pair is measured, in turn."""
    most: int = 1000
    """The most cases of `bookkeeping`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure: what we take, as a share of what its anchor takes in the same run."""

    what: str
    anchor: str
    ratio: float | None
    """None: there is no anchor; the seconds are information."""
    promise: str = ""
    """The limit of the ratio: `at most 1.10`."""
    ours: str
    theirs: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What a child process used."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds of all its threads, with its own children."""
    peak: float
    """The most resident memory, in MiB."""


def in_turn(pairs: int, *ways: Callable[[], object]) -> list[float]:
    """The median seconds of each way, measured in turn (A B A B), after one call of each that is not counted."""
    for way in ways:
        way()
    seconds: list[list[float]] = [[] for _ in ways]
    for _ in range(pairs):
        for way, found in zip(ways, seconds, strict=True):
            began = time.perf_counter()
            way()
            found.append(time.perf_counter() - began)
    return [statistics.median(found) for found in seconds]


def child(
    arguments: Sequence[str], folder: Path, env: Mapping[str, str] | None = None, ok: Sequence[int] = (0,)
) -> Used:
    """Run Python with arguments in a process of its own. Raises RuntimeError with its output if it fails."""
    command = [sys.executable, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
    with tempfile.TemporaryFile("w+") as output:
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:  # Ctrl-C: what it measures must not go on without anyone who waits for it
            process.kill()
            raise
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in ok:
            output.seek(0)
            raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}\n{output.read()[-3000:]}")
    return Used(wall=wall, cpu=usage.ru_utime + usage.ru_stime, peak=usage.ru_maxrss / 1024)


def median(found: Sequence[Used]) -> Used:
    """The medians of several runs."""
    return Used(
        wall=statistics.median(used.wall for used in found),
        cpu=statistics.median(used.cpu for used in found),
        peak=statistics.median(used.peak for used in found),
    )


def duration(seconds: float) -> str:
    """Seconds as text: `3.21 s`, `14 ms`."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"
