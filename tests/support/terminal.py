"""Runs a command in a real pseudo-terminal, and keeps what it wrote when. Not for Windows, which has none."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a command wrote to its terminal."""

    code: int
    chunks: tuple[tuple[float, str], ...]
    """Each with the seconds since the command began."""
    seconds: float

    @property
    def raw(self) -> str:
        return "".join(text for _, text in self.chunks)

    @property
    def text(self) -> str:
        """Everything that was ever shown, without control sequences."""
        return _CONTROL.sub("", self.raw)

    def longest_silence(self) -> float:
        """The most seconds without output, from the start to the end."""
        times = [0.0, *(at for at, _ in self.chunks), self.seconds]
        return max(later - earlier for earlier, later in itertools.pairwise(times))


def run_in_terminal(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    columns: int = 100,
    on_output: Callable[[str, subprocess.Popen[bytes]], None] = lambda _text, _process: None,
    timeout: float = 300.0,
) -> Written:
    """Run a command with all three streams on a terminal. `on_output` sees all that was written so far, each time."""
    import fcntl
    import pty
    import select
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    began = time.monotonic()
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd, env=dict(env))
    os.close(theirs)
    chunks: list[tuple[float, str]] = []
    try:
        while time.monotonic() < began + timeout:
            if not select.select([ours], [], [], 1.0)[0]:
                continue
            try:
                data = os.read(ours, 1 << 16)
            except OSError:  # Linux's end of file for a terminal
                break
            if not data:
                break
            chunks.append((time.monotonic() - began, data.decode(errors="replace")))
            on_output("".join(text for _, text in chunks), process)
        code = process.wait(timeout=30)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()
        os.close(ours)
    return Written(code=code, chunks=tuple(chunks), seconds=time.monotonic() - began)
