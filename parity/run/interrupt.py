"""Ctrl-C and SIGTERM, heard even where Python swallows the exception: in a finalizer, in a callback of C code."""

from __future__ import annotations

import signal
import threading
from types import FrameType

_asked_by = 0
"""The signal that asked to stop; 0: none did."""


def listen() -> None:
    """From now on both signals raise KeyboardInterrupt, here or at the next `check`. Only a main thread can listen."""
    global _asked_by
    _asked_by = 0
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _stop)
        signal.signal(signal.SIGTERM, _stop)  # what a runner sends that cancels a job


def check() -> None:
    """Raise KeyboardInterrupt if one was asked for and somebody swallowed it. Called between steps."""
    if _asked_by:
        raise KeyboardInterrupt


def exit_code() -> int:
    """As a shell says that a signal ended a command: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + (_asked_by or signal.SIGINT)


def _stop(number: int, _frame: FrameType | None) -> None:
    global _asked_by
    _asked_by = number
    raise KeyboardInterrupt
