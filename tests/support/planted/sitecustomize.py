"""Libraries that crash: a process with this folder in PYTHONPATH dies where it opens a LoRA of one of these names."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any


def die(event: str, arguments: tuple[Any, ...]) -> None:
    """End the process in the midst of a call, as a bug in native code does."""
    if event == "open" and isinstance(arguments[0], str | os.PathLike):
        name = os.path.basename(arguments[0])  # noqa: PTH119
        if name == "abort.safetensors":
            os.abort()
        if name == "segfault.safetensors":
            ctypes.string_at(0)


sys.addaudithook(die)
