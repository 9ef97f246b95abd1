"""What this machine has: GPU memory, RAM and disk, asked without torch."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

_SECONDS = 1.5
"""How long nvidia-smi may take; where the driver is not kept loaded it is slow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Memory and disk in bytes; None: unknown, or there is none."""

    gpu: str | None = None
    """The name of the GPU that is used."""
    gpu_total: int | None = None
    ram_free: int | None = None


def this_machine(*, gpu: bool = True) -> Machine:
    """Describe this machine, with the first GPU that nvidia-smi lists, if `gpu` and there is one."""
    name, total = _nvidia() if gpu else (None, None)
    return Machine(gpu=name, gpu_total=total, ram_free=ram_free())


def ram_free() -> int:
    """The bytes of RAM that programs can still have, at most as many as the container may use."""
    free, limit = int(psutil.virtual_memory().available), cgroup_limit()
    return free if limit is None else min(free, limit)


def disk_free(folder: Path) -> int:
    """The free bytes on the disk of a folder, which need not exist yet."""
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 (a link is kept: its target may not exist yet)
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free


@functools.cache
def _nvidia() -> tuple[str | None, int | None]:
    """Name and memory of the first GPU that programs may use."""
    program, visible = shutil.which("nvidia-smi"), os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    if program is None or visible in ("", "-1"):
        return None, None
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits", f"--id={visible}"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=_SECONDS, check=True).stdout
        name, mebibytes = answer.splitlines()[0].rsplit(",", 1)
        return name.strip(), int(mebibytes) << 20
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None, None


def cgroup_limit(root: Path = Path("/sys/fs/cgroup"), of: Path = Path("/proc/self/cgroup")) -> int | None:
    """The memory limit of this process' control group in bytes, versions 1 and 2; None: there is none."""
    try:
        lines = of.read_text().splitlines()
    except OSError:  # no Linux
        return None
    limits = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory") and "memory" not in controllers.split(","):
            continue
        base = root if controllers == "" else root / "memory"
        name = "memory.max" if controllers == "" else "memory.limit_in_bytes"
        group = base / path.lstrip("/")
        while True:  # the limit of every group above counts as well
            limits.append(_number(group / name))
            if group == base or base not in group.parents:
                break
            group = group.parent
    return min((limit for limit in limits if limit is not None), default=None)


def _number(file: Path) -> int | None:
    """A limit from its file; None for `max`, and where there is none."""
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
