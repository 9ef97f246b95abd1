"""Run a command as a user would, in a forked process that shares all imports: quick, limited, measured."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

Command = Callable[[Sequence[str]], int]
"""Takes arguments, returns the exit code: `parity.cli.main`, or a fake one."""

_ROOM = 4 << 30
"""The limit of additional address space: a command that needs more fails, not the machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The outcome of a command."""

    code: int
    """Exit code; 128 + signal if it was killed."""
    hung: bool
    stdout: str
    stderr: str
    seconds: float
    peak: int
    """Resident bytes at most, of the process or of one it started, whichever is larger."""
    growth: int
    """The part that was not there when the command began. Rather too much than too little: what of a library is
    first used by the command, and shared with others, is counted as its own."""


@dataclass(slots=True, kw_only=True)
class _Started:
    number: int
    pid: int
    folder: Path
    began: float


def run_all(
    work: Sequence[tuple[Path, Sequence[str]]], command: Command, *, limit_s: float, at_once: int
) -> Iterator[tuple[int, Run]]:
    """Run a command with each list of arguments, in its folder; yields number and outcome as they end.

    The outputs are kept beside each folder. A command that takes longer than `limit_s` is killed with all it started.
    """
    waiting = list(enumerate(work))[::-1]
    running: dict[int, _Started] = {}
    while waiting or running:
        while waiting and len(running) < at_once:
            number, (folder, arguments) = waiting.pop()
            started = _start(number, folder, arguments, command)
            running[started.pid] = started
        for pid, started in list(running.items()):
            ended = _ended(started, limit_s)
            if ended is not None:
                del running[pid]
                yield started.number, ended
        time.sleep(0.005)


def _start(number: int, folder: Path, arguments: Sequence[str], command: Command) -> _Started:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _be_the_command(folder, arguments, command)
    return _Started(number=number, pid=pid, folder=folder, began=time.monotonic())


def _be_the_command(folder: Path, arguments: Sequence[str], command: Command) -> NoReturn:
    """Run the child process. It ends like an interpreter started with these arguments."""
    code = 1
    try:
        os.setsid()
        _output(folder, "resident").write_text(str(_resident()))
        for number, mode in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
            names = {0: os.devnull, 1: str(_output(folder, "stdout")), 2: str(_output(folder, "stderr"))}
            os.dup2(os.open(names[number], mode | (os.O_CREAT if number else 0), 0o600), number)
        resource.setrlimit(resource.RLIMIT_AS, (_mapped() + _ROOM, resource.RLIM_INFINITY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.chdir(folder)
        sys.argv = ["parity", *arguments]
        code = command(arguments)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BaseException:  # as the interpreter does
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _ended(started: _Started, limit_s: float) -> Run | None:
    """The outcome, or None while it runs."""
    seconds = time.monotonic() - started.began
    pid, status, usage = os.wait4(started.pid, os.WNOHANG)
    hung = not pid and seconds > limit_s
    if hung:
        os.killpg(started.pid, signal.SIGKILL)
        _, status, usage = os.wait4(started.pid, 0)
    elif not pid:
        return None
    peak = usage.ru_maxrss * 1024
    noted = _output(started.folder, "resident")
    resident = int(noted.read_text()) if noted.exists() else 0
    texts = [_output(started.folder, name) for name in ("stdout", "stderr")]
    stdout, stderr = (path.read_text(encoding="utf-8", errors="replace") if path.exists() else "" for path in texts)
    code = os.waitstatus_to_exitcode(status)
    return Run(
        code=code if code >= 0 else 128 - code,
        hung=hung,
        stdout=stdout,
        stderr=stderr,
        seconds=seconds,
        peak=peak,
        growth=max(0, peak - resident),
    )


def _output(folder: Path, name: str) -> Path:
    return folder.with_name(f"{folder.name}.{name}")


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _mapped() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
