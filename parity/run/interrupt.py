"""Ctrl-C and SIGTERM, noticed even where Python swallows the exception: in a finalizer, in a callback of C code."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class StoppedError(KeyboardInterrupt):
    """The command was stopped, and has said so itself."""


_asked_by = 0
"""The signal that asked to stop; 0: none."""


def listen(*signals: int) -> None:
    """Let these signals, by default Ctrl-C's and SIGTERM, raise KeyboardInterrupt, at once or at the next `check`.

    Works in the main thread only. A CI runner that cancels a job sends SIGTERM.
    """
    global _asked_by
    _asked_by = 0
    if threading.current_thread() is threading.main_thread():
        for number in signals or (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _stop)


def check() -> None:
    """Raise KeyboardInterrupt if one was requested and swallowed. Called between steps."""
    if _asked_by:
        raise KeyboardInterrupt


def exit_code() -> int:
    """The exit code that shells give a command ended by a signal: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + (_asked_by or signal.SIGINT)


def _stop(number: int, _frame: FrameType | None) -> None:
    global _asked_by
    _asked_by = number
    raise KeyboardInterrupt
