"""The process that runs the cases of `--isolate`, as seen from the one that keeps their results."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from parity.case.load import Case
from parity.case.progress import Progress
from parity.cost.machine import Machine
from parity.results.case import CaseResult
from parity.results.json_text import case_from_json
from parity.run import interrupt
from parity.run.options import Options
from parity.run.runner import was_interrupted
from pipelines.apart import Child
from pipelines.errors import ParityError, ProcessEndedError
from pipelines.offload import Offload
from pipelines.phases import in_words

STOPPING_S = 20.0
"""Seconds that the process has after Ctrl-C to hand in what it has found out."""
_LINES = 200
"""Lines that are kept of what the process printed last."""
_FATAL = "Fatal Python error: "
"""The beginning of what Python's faulthandler writes when a process crashes; the stack of every thread follows."""
_JOIN_S = 5.0


class Errand:
    """A case that the process runs: passes on what is said of it, and knows how far it is."""

    def __init__(self, case: Case, keep: Callable[[CaseResult], CaseResult], progress: Progress) -> None:
        """`keep` is given each result of the case, the last one too, and returns it judged."""
        self.case = case
        self._keep, self._progress = keep, progress
        self.result: CaseResult | None = None
        """The newest result, as it was kept."""
        self.offload: Offload | None = None
        """The offload mode of the next case; None: this one is not done."""
        self.words = "starting"
        """What the process is doing."""
        self._label, self._steps = "", 0

    def hear(self, message: Mapping[str, Any]) -> bool:
        """Take in a message. Returns False if it was the last one. Raises KeyboardInterrupt if the case was stopped."""
        match message:
            case {"phase": [name, part]}:
                self._say(f"step 1 of {self._steps}" if name == "denoise" else in_words(name, part))
                self._progress.phase(name, part)
            case {"step": [done, steps]}:
                self._say(f"step {done + 1} of {steps}" if done < steps else "decoding")
                self._progress.step_done(done, steps)
            case {"trial": [label, steps]}:
                self._label, self._steps = ("" if label == self.case.id else f"{label}: "), steps
                self._say(f"step 1 of {steps}")
                self._progress.trial_started(label, steps)
            case {"planned": [plan, generations]}:
                self._progress.planned(plan, generations)
            case {"waiting": why}:
                self._say(f"waiting ({why})")
                self._progress.waiting(why)
            case {"kept": text}:
                self.result = self._keep(case_from_json(text.encode()))
            case {"done": offload}:
                self.offload = offload
                return False
            case {"stopped": _}:
                raise KeyboardInterrupt
        return True

    def _say(self, words: str) -> None:
        self.words = f"{self._label}{words}"


class IsolatedProcess:
    """A process that runs one case after the other, until it dies or is ended."""

    def __init__(self, options: Options) -> None:
        """Start it, and wait until it is ready. Raises what `Session` raises there; ProcessEndedError if it dies."""
        self.peak: int | None = None
        """The most memory that it had, in bytes; None: it lives, or that is unknown."""
        self._printed: deque[str] = deque(maxlen=_LINES)
        self._inbox: queue.SimpleQueue[Mapping[str, Any] | ParityError] = queue.SimpleQueue()
        self._most_before = _most_of_children()
        self._child = Child("parity.run.isolated_child", "the process that runs cases", stderr=subprocess.PIPE)
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._receive, self._pass_on)]
        try:
            for thread in self._threads:
                thread.start()
            self._child.send(options)
            ready = self._next()
        except BaseException:
            self.end()
            raise
        self.environment: Mapping[str, Any] = ready["environment"]
        self.machine = Machine(**ready["machine"])

    @property
    def printed(self) -> str:
        """What it printed last, once it has ended."""
        return "".join(self._printed)

    def run(self, errand: Errand) -> None:
        """Let it run a case. Raises ProcessEndedError if it dies.

        A KeyboardInterrupt lets it hand in what it has found out, and is raised again, unless the result says that.
        """
        self._printed.clear()
        self._child.send(errand.case)
        try:
            while errand.hear(self._next()):
                interrupt.check()
        except KeyboardInterrupt:
            self._stop(errand)
            if errand.offload is None or errand.result is None or not was_interrupted(errand.result):
                raise

    def end(self) -> None:
        """End it at once, if it lives, and wait until its memory is free."""
        self._child.kill()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(_JOIN_S)  # what it printed last
        self._child.end()
        most = _most_of_children()
        self.peak = most if most is not None and most != self._most_before else None

    def _stop(self, errand: Errand) -> None:
        """Let it stop as Ctrl-C would, and hear what it still has to say."""
        if sys.platform != "win32":
            os.kill(self._child.pid, signal.SIGUSR1)
        deadline = time.monotonic() + STOPPING_S
        try:
            while errand.hear(self._next(max(0.0, deadline - time.monotonic()))):
                pass
        except (KeyboardInterrupt, ProcessEndedError, queue.Empty):
            pass

    def _next(self, timeout: float | None = None) -> Mapping[str, Any]:
        """Wait for the next message. Raises what the process failed with, and ProcessEndedError."""
        message = self._inbox.get(timeout=timeout)
        if isinstance(message, ParityError):
            raise message
        return message

    def _receive(self) -> None:
        """In a thread: Ctrl-C amid a line would lose it."""
        while True:
            try:
                self._inbox.put(self._child.receive())
            except ParityError as error:
                self._inbox.put(error)
                if isinstance(error, ProcessEndedError):
                    return

    def _pass_on(self) -> None:
        """Print what it prints, but for the stacks of a crash, which are for a file."""
        crashed = False
        for line in self._child.stderr or ():
            text = line.decode(errors="backslashreplace")
            self._printed.append(text)
            crashed = crashed or text.startswith(_FATAL)
            if not crashed:
                sys.stderr.write(text)


def _most_of_children() -> int | None:
    """The most memory that any process had which this one started and which has ended, in bytes; None: unknown."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
