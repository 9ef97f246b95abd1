"""A process of ours apart from this one: whatever kills it, this one goes on and can say how it ended.

Tasks go to its stdin, as pickles of ours. Its messages come back on what was its stdout, one JSON object a line and no
pickle: that process reads what strangers made. What libraries print goes to its stderr. It ends with this process, also
if this one is killed: its stdin is closed then, and Linux kills it.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from pipelines import errors
from pipelines.errors import ParityError, ProcessEndedError
from pipelines.files.shown import guard_streams

PYTHON: tuple[str, ...] = (sys.executable, "-P")
"""The beginning of each command. -P: a folder called `torch` in the current folder must not be imported."""

_ENDING_SECONDS = 20.0
"""How long a process may still take to end, once nobody can hear from it any more."""
_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


class Child:
    """The other process, as seen from the one that started it.

    Start it in a thread that lives as long: Linux kills it together with the thread that started it.
    """

    def __init__(
        self, module: str, name: str, *, environment: Mapping[str, str] | None = None, stderr: int | None = None
    ) -> None:
        """Start `python -P -m MODULE`, whose main function begins with `Parent()`.

        `name` is what messages call it ("the fresh process"). `environment` replaces this process' own, but for
        PYTHONPATH, which is always the path of this process. `stderr` is as for `subprocess.Popen`.
        """
        self.name = name
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        self._process = subprocess.Popen(
            [*PYTHON, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**(os.environ if environment is None else environment), "PYTHONPATH": path},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._tasks, self._messages = self._process.stdin, self._process.stdout

    @property
    def stderr(self) -> IO[bytes] | None:
        """What it prints, if `stderr` was `subprocess.PIPE`."""
        return self._process.stderr

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, task: object) -> None:
        """Send a task, which is pickled. If the process has died, the next `receive` says so."""
        data = pickle.dumps(task)
        with contextlib.suppress(BrokenPipeError):
            self._tasks.write(data)
            self._tasks.flush()

    def receive(self) -> dict[str, Any]:
        """Return the next message. Raises what the process was told to `fail` with; ProcessEndedError if it ended."""
        for line in self._messages:
            try:
                message = json.loads(line)
            except ValueError:
                continue  # printed before main began
            if isinstance(message, dict):
                if "error" in message:
                    raise _error_again(*message["error"])
                return message
        raise ProcessEndedError(self.name, how_it_ended(self._wait()))

    def kill(self) -> None:
        """Kill it at once, from any thread. Who waits in `receive` hears of it."""
        self._process.kill()

    def end(self) -> None:
        """Kill it if it still runs, wait until its memory is free, and close its pipes."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._tasks, self._messages, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # a task that it never read
                    pipe.close()

    def _wait(self) -> int:
        try:
            return self._process.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:  # it hangs where it leaves, or has closed its messages
            self._process.kill()
            return self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


class Parent:
    """The process that started this one, as seen from here: tasks come from it, messages go to it.

    To be made first of all, by the main function of a module that `Child` starts. Ctrl-C and SIGTERM, which may reach
    both processes, are left to the other one.
    """

    def __init__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        self._messages = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1, encoding="utf-8")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print must not mix with our messages
        guard_streams()
        _die_with_parent()
        self._sending = threading.Lock()
        self._tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="parent", daemon=True).start()

    def receive(self) -> Any:
        """Wait for the next task and return it."""
        return self._tasks.get()

    def send(self, **message: Any) -> None:
        """Send a message: names with what JSON can hold."""
        try:
            with self._sending:
                self._messages.write(json.dumps(message) + "\n")
        except BrokenPipeError:  # the parent has ended
            os._exit(1)

    def fail(self, error: ParityError) -> None:
        """Raise an error over there, where it waits for a message."""
        fields = {name: value for name, value in vars(error).items() if isinstance(value, str | int | float)}
        self.send(error=(type(error).__name__, str(error), fields))

    def _read(self) -> None:
        # Not sys.stdin.buffer: Python aborts where it leaves while a thread reads from that.
        tasks = io.BufferedReader(io.FileIO(sys.stdin.fileno(), closefd=False))
        try:
            while True:
                self._tasks.put(pickle.load(tasks))
        except (EOFError, pickle.UnpicklingError):  # the parent has ended, perhaps amid a task
            pass
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)


def _die_with_parent() -> None:
    """Let Linux kill this process when its parent dies: a library that never lets go of Python cannot prevent that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _error_again(kind: str, text: str, fields: dict[str, Any]) -> ParityError:
    """The error of the other process: of the same class, if it is one of `pipelines.errors`."""
    found = getattr(errors, kind, ParityError)
    error: ParityError = found.__new__(found, text)  # some take more to make than their message
    vars(error).update(fields)
    return error


def how_it_ended(returncode: int) -> str:
    """Say how a process ended, by the return code of `subprocess`: `was killed by signal 11 (SIGSEGV)`."""
    if returncode >= 0:
        return f"ended with exit code {returncode}"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        return f"was killed by signal {-returncode}"
    return f"was killed by signal {-returncode} ({name}){_REASONS.get(name, '')}"


_REASONS = {
    "SIGKILL": ", as the system does when memory runs out",
    "SIGABRT": ", as a library does that cannot go on, for example for want of memory",
}
