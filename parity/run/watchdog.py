"""A limit on how long a step may take, so that a hung download, driver or kernel does not hang a CI runner."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from pipelines.errors import DeviceError, UsageError

GRACE = 30.0
"""Seconds to wait for code that does not return to Python, before the process is ended."""


class StepTimeoutError(DeviceError):
    """A step took longer than it may."""


class Watchdog:
    """Watches the main thread while it works on a case.

    First it interrupts the thread: Python code and system calls end in StepTimeoutError. Code that does not return
    within `GRACE` seconds, such as a hung GPU kernel, cannot be ended from inside the process: `on_hang` is called.
    """

    def __init__(self, seconds: float | None, on_hang: Callable[[str], None]) -> None:
        self._seconds = seconds
        self._on_hang = on_hang
        self._doing = ""
        self._since = 0.0
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def beat(self, doing: str) -> None:
        """Note that something has begun; the clock starts anew."""
        with self._lock:
            self._doing, self._since = doing, time.monotonic()

    @contextmanager
    def watching(self, doing: str) -> Iterator[None]:
        """Watch the main thread, which must be the caller."""
        if self._seconds is None:
            yield
            return
        if sys.platform == "win32":
            raise UsageError("--timeout: Windows has no alarm to interrupt a step with; leave it out")
        self._stopped.clear()
        self.beat(doing)
        previous = signal.signal(signal.SIGALRM, self._interrupt)
        thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join()
            signal.signal(signal.SIGALRM, previous)

    def _reason(self) -> str:
        return f"{self._doing} took more than {self._seconds:g} s (--timeout)"

    def _interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        if self._stopped.is_set():
            return  # the step finished at the last moment
        raise StepTimeoutError(self._reason())

    def _watch(self) -> None:
        assert self._seconds is not None
        main = threading.main_thread().ident
        assert main is not None
        while not self._stopped.wait(max(0.01, self._left(self._seconds))):
            if self._left(self._seconds) > 0:
                continue
            signal.pthread_kill(main, signal.SIGALRM)
            if not self._stopped.wait(GRACE):
                self._on_hang(self._reason())
            return

    def _left(self, seconds: float) -> float:
        with self._lock:
            return self._since + seconds - time.monotonic()
