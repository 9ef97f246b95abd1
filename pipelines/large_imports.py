"""Importing libraries of thousands of modules without the garbage collector. Imports no torch."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Import large libraries in this block.

    A module adds objects and makes next to no garbage, yet the collector looks at all of them again and again: torch
    and diffusers take 0.8 s longer with it.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
