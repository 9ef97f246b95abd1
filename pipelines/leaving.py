"""How a process ends: without looking for garbage, and whole although threads that cannot be stopped still run."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys
import threading
from collections.abc import Iterable
from typing import NoReturn

_abandoned: list[threading.Thread] = []


def leave_quickly() -> None:
    """Let this process end without a last search for garbage, which takes 0.9 s after torch and diffusers.

    Whatever is registered for the end still happens. Calling it again changes nothing.
    """
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)


def abandon(threads: Iterable[threading.Thread]) -> None:
    """Remember threads that nobody waits for any more, and that cannot be stopped."""
    _abandoned.extend(threads)


def leave(code: int) -> NoReturn:
    """End this process with an exit code.

    Abandoned threads that still run may be in native code, which crashes while Python is taken apart (2 of 30 times,
    with downloads). Then what is registered for the end still happens, and the kernel does the rest.
    """
    if any(thread.is_alive() for thread in _abandoned):
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
                stream.flush()
        os._exit(code)
    sys.exit(code)
