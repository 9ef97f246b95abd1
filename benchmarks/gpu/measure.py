"""Seconds, memory and differences on a device."""

from __future__ import annotations

import gc
import hashlib
import math
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all it was given."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def release() -> None:
    """Give back the memory of what nobody holds any more; the parts of a pipeline hold each other."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


@dataclass(slots=True)
class Cost:
    """What a block of code took."""

    seconds: float = 0.0
    peak: int = 0
    """The most bytes of tensors on the GPU; on a CPU, of the whole process so far."""

    @property
    def text(self) -> str:
        return f"{self.seconds:.2f} s, at most {gib(self.peak)}"


@contextmanager
def cost(device: torch.device) -> Iterator[Cost]:
    """Measure a block of code; the figures are there at its end."""
    import torch

    found = Cost()
    synchronize(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    began = time.perf_counter()
    yield found
    synchronize(device)
    found.seconds = time.perf_counter() - began
    on_gpu = device.type == "cuda"
    found.peak = (
        torch.cuda.max_memory_allocated(device) if on_gpu else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    )


@dataclass(slots=True)
class Clock:
    """When each step and each phase of one generation ended."""

    device: torch.device
    steps: list[float] = field(default_factory=list)
    phases: list[tuple[str, float]] = field(default_factory=list)

    def on_step(self, *_: int) -> None:
        """Note the end of a step."""
        synchronize(self.device)
        self.steps.append(time.perf_counter())

    def on_phase(self, name: str, _: str) -> None:
        """Note the beginning of a phase."""
        synchronize(self.device)
        self.phases.append((name, time.perf_counter()))

    def restart(self) -> float:
        """Forget everything; returns the time."""
        self.steps.clear()
        self.phases.clear()
        synchronize(self.device)
        return time.perf_counter()

    @property
    def step(self) -> float:
        """Seconds a step, the first left out, because kernels are chosen in it."""
        return _median([after - before for before, after in zip(self.steps, self.steps[1:], strict=False)])

    def phase(self, name: str) -> float:
        """Seconds of all phases of a name, each until the next begins."""
        ends = [at for _, at in self.phases[1:]]
        return sum(end - at for (found, at), end in zip(self.phases, ends, strict=False) if found == name)

    def before(self, began: float) -> float:
        """Seconds from `began` to the first phase, in which earlier LoRAs are undone and weights placed."""
        return self.phases[0][1] - began if self.phases else math.nan


def _median(values: list[float]) -> float:
    return float(np.median(values)) if values else math.nan


def timed(device: torch.device, function: Callable[[], Any], times: int = 3) -> float:
    """The median seconds of a function, after one call that is not counted."""
    function()
    seconds = []
    for _ in range(times):
        with cost(device) as found:
            function()
        seconds.append(found.seconds)
    return _median(seconds)


def sha256(frames: np.ndarray[Any, Any]) -> str:
    """The hash of an array: its shape and bytes."""
    return hashlib.sha256(str(frames.shape).encode() + np.ascontiguousarray(frames).tobytes()).hexdigest()


def decibel(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    """PSNR of two videos of 8 bit, over all frames; infinite for equal ones, not a number for other shapes."""
    if a.shape != b.shape:
        return math.nan
    error = float(np.square(a.astype(np.float64) - b.astype(np.float64)).mean())
    return 10 * math.log10(255**2 / error) if error else math.inf


def in_words(psnr: float) -> str:
    """A PSNR for people."""
    if math.isnan(psnr):
        return "another shape"
    return "same bits" if math.isinf(psnr) else f"{psnr:.1f} dB"


def plain(psnr: float) -> float | str:
    """A PSNR for JSON, which has no infinity."""
    return round(psnr, 3) if math.isfinite(psnr) else in_words(psnr)


def gib(count: float) -> str:
    """Bytes in GiB."""
    return f"{count / 2**30:.2f} GiB"
