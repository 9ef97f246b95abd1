"""Processes of tests that begin where `import torch, diffusers, parity` ends: those imports cost 4 seconds of CPU each.

`python()` stands for `sys.executable` in a command with `-m MODULE` or `-c CODE`. The process that is started is small:
it hands its arguments, environment, folder and its three streams to a server, which forks. It passes signals on, and
ends as the fork ends; if it is killed, so is the fork. A test of what is imported, of how quickly a process starts or
of the first moments of one needs Python itself.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from tests.support.paths import ROOT


def python() -> list[str]:
    """The beginning of a command: Python with everything imported; Python itself where fork is not to be trusted."""
    return [sys.executable, "-I", "-S", *_launcher()] if sys.platform == "linux" else [sys.executable]


@cache
def _launcher() -> tuple[str, str]:
    """The launcher and its server's socket. The server starts with the first call and ends with this process."""
    folder = tempfile.TemporaryDirectory(prefix="prepared-")
    address = str(Path(folder.name) / "socket")
    server = subprocess.Popen(
        [sys.executable, "-m", f"{__name__}.server", address],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},  # threads do not survive a fork
    )
    assert server.stdin is not None
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"

    def end() -> None:
        server.communicate()
        folder.cleanup()

    atexit.register(end)
    return str(Path(__file__).with_name("launch.py")), address
