"""Real limits on memory: a cgroup in which the kernel kills what takes more."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_LIMITS = ("memory.max", "memory.limit_in_bytes")
"""Of cgroups version 2 and 1."""


@contextlib.contextmanager
def memory_of(most: int) -> Iterator[Path | None]:
    """A new cgroup below that of this process, with room for `most` bytes; None without the rights.

    A process joins by writing its number into `cgroup.procs` there. All have to have ended at the end.
    """
    group = _made()
    if group is None:
        yield None
        return
    next(group / name for name in _LIMITS if (group / name).exists()).write_text(str(most))
    try:
        yield group
    finally:
        group.rmdir()


def _made() -> Path | None:
    """A new cgroup with a controller of memory."""
    groups = Path("/proc/self/cgroup")
    for line in groups.read_text().splitlines() if groups.exists() else ():
        _, kinds, path = line.split(":", 2)
        for root in ("/sys/fs/cgroup/memory",) if kinds == "memory" else ("/sys/fs/cgroup",) if not kinds else ():
            group = Path(root + path) / f"wan-parity-{os.getpid()}"
            with contextlib.suppress(OSError):
                group.mkdir(exist_ok=True)
                if any((group / name).exists() for name in _LIMITS):
                    return group
                group.rmdir()
    return None
