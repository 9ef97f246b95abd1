"""The post between workers and driver: a worker cannot be asked anything while it generates.

Ray 2.60 runs an actor's method in the main thread, where alone Python's signals arrive (`--timeout`), only if it may
run one at a time. So a worker at work is deaf, and this actor, which does nothing else, takes its messages.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from parity.cluster.messages import Message

EVERY_S = 0.5
"""Seconds between a worker's calls at the mailbox: what it does, and whether the run is being stopped."""


class Mailbox:
    """Runs as an actor of Ray."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._stopping = False

    def put(self, messages: Sequence[Message]) -> bool:
        """Leave messages. Returns True if workers are to stop."""
        self._messages += messages
        return self._stopping

    def take(self) -> list[Message]:
        """Take all messages, in the order in which they came."""
        taken, self._messages = self._messages, []
        return taken

    def stop(self) -> None:
        """Let workers stop, once they ask."""
        self._stopping = True


class Courier:
    """A worker's way to the mailbox: the newest of what it does goes in the background, results at once."""

    def __init__(self, put: Callable[[Sequence[Message]], bool], on_stop: Callable[[], None]) -> None:
        """`on_stop` is called from the courier's thread, once, while a case is under work."""
        self._put, self._on_stop = put, on_stop
        self._newest: Message | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Courier:
        self._ended.clear()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def say(self, message: Message) -> None:
        """Send a message some time soon; a later one replaces it."""
        self._newest = message

    def send(self, message: Message) -> None:
        """Send a message, and return when it is there."""
        self._put([message])

    def _run(self) -> None:
        while not self._ended.wait(EVERY_S):
            newest, self._newest = self._newest, None
            stopping = self._put([newest] if newest is not None else [])
            if stopping and not self._ended.is_set():
                self._on_stop()
                return
