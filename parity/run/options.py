"""What a run is asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from parity.results.gate import Gate
from parity.results.shard import Shard
from parity.run.task import Task
from pipelines.offload import Offload


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a run."""

    out: Path
    task: Task = field(default_factory=Task)
    """The task: what to find out about each case."""
    device: str = "auto"
    offload: Offload = "none"
    command: tuple[str, ...] = ()
    cache: Path | None = None
    """The cache folder of generated frames; None: no cache."""
    resume: bool = False
    """True to keep the finished cases of the run in `out`."""
    timeout: float | None = None
    """Seconds that loading, a denoising step or decoding may take; None: no limit."""
    isolate: bool = False
    """True to run the cases in a process apart, whose death is an error of the case that it ran."""
    share: Path | None = None
    """The file for the results of one of several workers that share `out`, to be merged (`run.workers`)."""
    workers: int = 1
    """The number of processes that share this machine and run cases at the same time."""
    gate: Gate | None = None
    """The baselines that decide; None: the cases' own rules do."""
    narrowed: str | None = None
    """What left cases out, e.g. `-k guitar`; None: nothing did."""
    part: Shard | None = None
    """The part of the cases that this machine has (`--shard`); None: it has all."""

    @property
    def baselines(self) -> str | None:
        """The folder of the baselines that decide, as results.json names it."""
        return None if self.gate is None else str(self.gate.folder)
