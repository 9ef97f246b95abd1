"""A line now and then, so that a log of a long run does not look hung."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

EVERY_S = 30.0
"""Seconds without output, after which there is a line."""


class Heartbeat:
    """Writes a line from a thread of its own whenever nothing was written for a while. Use it as a context manager.

    The thread also runs while the main thread decodes: torch lets go of Python's lock while it computes.
    """

    def __init__(self, line: Callable[[], str | None], write: Callable[[str], None], every: float | None) -> None:
        """`line` is asked for what to write; None: nothing this time. `every` None: never write."""
        self._line, self._write, self._every = line, write, every
        self._last = time.monotonic()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Heartbeat:
        if self._every is not None and self._thread is None:
            self._stopped.clear()
            self.spoken()
            self._thread = threading.Thread(target=self._beat, args=(self._every,), name="heartbeat", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def spoken(self) -> None:
        """Something else was written."""
        self._last = time.monotonic()

    def stop(self) -> None:
        """End the thread. Nothing is written after this returns."""
        self._stopped.set()
        with self._lock:  # a line that is being written is finished first
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(timeout=1.0)

    def _beat(self, every: float) -> None:
        while not self._stopped.wait(max(0.01, self._last + every - time.monotonic())):
            if time.monotonic() < self._last + every:
                continue
            line = self._line()
            with self._lock:
                if self._stopped.is_set():
                    return
                try:
                    if line is not None:
                        self._write(line)
                except (OSError, ValueError):  # nobody reads any more, or the file is closed
                    return
            self.spoken()
