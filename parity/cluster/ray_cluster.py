"""Ray: a cluster is joined or started here, and asked which workers fit on it. Written for Ray 2.60."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity.case.load import Case
from parity.cluster.needs import SAME, check, files_of, reporter
from pipelines.errors import DeviceError, UsageError
from pipelines.files.words import plural, sentence

ADDRESS = "RAY_ADDRESS"
"""Ray's own variable for the cluster that a program belongs to; `ray job submit` sets it."""
REPORT_S = 120.0
"""Seconds in which every machine must have said what it has."""
_STORE_BYTES = 256 << 20
"""Shared memory of an embedded Ray, which would take 30 % of the machine's; results larger than it go to disk."""


@dataclass(frozen=True, slots=True)
class Share:
    """What each worker has of the cluster, and how many there are."""

    workers: int
    gpus: int
    cpus: int

    def __str__(self) -> str:
        cores = plural(self.cpus, "CPU core")
        each = f"{plural(self.gpus, 'GPU')} and {cores}" if self.gpus else cores
        return f"{plural(self.workers, 'worker')} with {each}{' each' if self.workers > 1 else ''}"


def share(machines: Sequence[dict[str, float]], device: str, workers: int | None) -> Share:
    """Divide machines, each `{"CPU": 16.0, "GPU": 2.0}`, among workers.

    A worker has one GPU, with its part of the machine's cores; without GPUs `workers` share the cores, and None means
    one worker a machine. Raises UsageError for more workers than there is room for, and for a device that is not there.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {device}: with --on ray each worker gets a GPU of its own; use auto, cuda or cpu")
    gpus = sum(int(machine.get("GPU", 0)) for machine in machines)
    if device == "cuda" and not gpus:
        raise UsageError("--device cuda: the Ray cluster has no GPU; --device auto or cpu runs on its CPUs")
    if device != "cpu" and gpus:
        if workers is not None and workers > gpus:
            raise UsageError(
                f"--workers {workers}: the Ray cluster has {plural(gpus, 'GPU')}, and each worker needs one"
            )
        cores = min(int(machine.get("CPU", 0) // machine["GPU"]) for machine in machines if machine.get("GPU", 0) >= 1)
        return Share(workers or gpus, 1, cores)
    cores_of = [int(machine.get("CPU", 0)) for machine in machines if machine.get("CPU", 0) >= 1]
    if workers is None:
        return Share(len(cores_of), 0, min(cores_of, default=0))
    each = max((n for n in range(1, max(cores_of, default=0) + 1) if _room(cores_of, n) >= workers), default=0)
    if not each:
        raise UsageError(
            f"--workers {workers}: the Ray cluster has {plural(sum(cores_of), 'CPU core')}; use at most that"
        )
    return Share(workers, 0, each)


def _room(cores: Sequence[int], each: int) -> int:
    return sum(count // each for count in cores)


@dataclass(frozen=True, slots=True)
class Joined:
    """A cluster that this process belongs to."""

    ray: Any
    """Ray's module."""
    folder: Path | None
    """The folder of an embedded Ray, which goes when it ends; None: the cluster is somebody else's."""


@contextlib.contextmanager
def joined(on: str, cores: int | None = None) -> Iterator[Joined]:
    """Join the cluster at `ray://host:port`, or the one this program belongs to, or start one with so many `cores`.

    Ray prints to stdout what it thinks of workers that died, which is said by us and would spoil `--json`: nothing is
    printed there meanwhile. Raises UsageError if Ray is not installed, DeviceError if the cluster cannot be joined.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it reports to its makers otherwise
    try:
        import ray
    except ModuleNotFoundError:
        raise UsageError("--on ray: Ray is not installed; pip install 'wan-parity[cluster]'") from None
    if ray.is_initialized():
        yield Joined(ray, None)
        return
    address = on if on != "ray" else os.environ.get(ADDRESS) or "local"
    folder: Path | None = None
    on_sigterm = signal.getsignal(signal.SIGTERM)
    with contextlib.ExitStack() as stack:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if address == "local":
            folder = _short_folder()
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            quiet |= {
                "num_cpus": cores,
                "include_dashboard": False,
                "object_store_memory": _STORE_BYTES,
                "_temp_dir": str(folder),
            }
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        try:
            with warnings.catch_warnings(action="ignore"):  # what matters in them the exception says, too
                ray.init(address=address, **quiet)
        except Exception as error:  # of many kinds; all mean that there is no cluster to work with
            what = "Ray could not be started here" if address == "local" else f"no Ray cluster at {address}"
            raise DeviceError(f"--on {on}: {what}: {sentence(error, 300)}") from None
        stack.callback(ray.shutdown)
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own would end the process without results
        yield Joined(ray, folder)


def _short_folder() -> Path:
    """A folder for the sockets of an embedded Ray, whose paths may have 107 characters; Ray's own part has 60."""
    temporary = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix="parity-", dir=temporary if len(temporary) < 30 else "/tmp"))


def machines(ray: Any) -> list[dict[str, Any]]:
    """The machines of the cluster that are up, as Ray describes them."""
    return [node for node in ray.nodes() if node["Alive"]]


def check_machines(ray: Any, machines: Sequence[dict[str, Any]], cases: Sequence[Case]) -> None:
    """Raises UsageError if a machine lacks a file or has other versions, DeviceError if one does not answer."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    report, files = ray.remote(reporter()), files_of(cases)
    asked = {
        report.options(
            num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(SAME, files): node["NodeManagerHostname"]
        for node in machines
    }
    try:
        ready, silent = ray.wait(list(asked), num_returns=len(asked), timeout=REPORT_S)
        if silent:
            raise DeviceError(f"{asked[silent[0]]} of the Ray cluster does not answer within {REPORT_S:g} s")
        check(ray.get(ready))
    except ray.exceptions.RayError as error:
        raise DeviceError(f"the Ray cluster does not answer: {sentence(error, 300)}") from None
