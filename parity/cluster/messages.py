"""What driver and workers tell each other. Ray carries these between machines, so all of them are plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from parity.results.case import CaseResult
from parity.run.task import Task
from pipelines.offload import Offload

Files = Mapping[str, bytes]
"""Files of a case, by their path below the run's folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """How workers run cases: what the driver's command line says, less what only the driver does."""

    task: Task
    device: str
    """`cpu`, or `cuda` for the one GPU that Ray shows a worker."""
    offload: Offload
    cached: bool
    """True to use the worker's own cache of generated frames."""
    timeout: float | None
    cpu_kernels: str | None
    folder: str
    """The driver's current folder, which relative paths begin at."""
    out: str
    """The driver's folder of the run, as messages name it."""
    scratch: str | None
    """Where workers put files before they are sent; None: the temporary folder of their machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A worker that is ready, as it describes itself."""

    number: int
    host: str
    pid: int
    gpus: tuple[str, ...]
    """The GPUs that Ray has given it, by their numbers there."""
    environment: Mapping[str, Any]
    code: str
    """The hash of its code, `pipelines.engine.fingerprint.code`."""

    def __str__(self) -> str:
        gpus = f", GPU {', '.join(self.gpus)}" if self.gpus else ""
        return f"worker {self.number} ({self.host}{gpus})"


@dataclass(frozen=True, slots=True)
class Doing:
    """What a worker does in its case now."""

    worker: int
    case: str
    words: str


@dataclass(frozen=True, slots=True)
class Planned:
    """What a worker is going to find out about its case."""

    worker: int
    case: str
    plan: str
    generations: float | None


@dataclass(frozen=True, slots=True)
class Kept:
    """A case's result so far, or its last, with the files that are new since the one before."""

    worker: int
    result: CaseResult
    files: Files

    @property
    def case(self) -> str:
        return self.result.id


Message = Doing | Planned | Kept
