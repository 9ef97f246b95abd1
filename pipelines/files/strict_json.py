"""Strict JSON: numbers are finite and of plausible length, and a small file cannot fill the memory."""

from __future__ import annotations

import json
import math
import re
from typing import Any

MAX_VALUES = 4_000_000
"""The most values in one text, unless said otherwise. Each takes about 50 bytes in memory, however small there."""

MAX_DIGITS = 100
"""The most characters of a number. No measurement is longer, and Python refuses to print numbers above 4300."""


def values_in(text: str | bytes) -> int:
    """The number of values in a JSON text, or more: commas in strings count, too."""
    if isinstance(text, bytes):
        return text.count(b",") + text.count(b"[") + text.count(b"{")
    return text.count(",") + text.count("[") + text.count("{")


def loads(text: str, *, constants: bool = False, max_values: int = MAX_VALUES) -> Any:
    """Parse like json.loads. Raises ValueError, with its line, for bad JSON, unusable numbers and exceeded limits.

    `constants`: keep NaN and Infinity, which Python's json writes and which other programs therefore leave in files.
    """
    if values_in(text) > max_values:
        raise ValueError(f"has more than {max_values} values")

    def number(literal: str) -> float:
        value = float(literal) if len(literal) <= MAX_DIGITS else math.inf
        return value if math.isfinite(value) else refuse(literal)

    def integer(literal: str) -> int:
        return int(literal) if len(literal) <= MAX_DIGITS else int(refuse(literal))

    def refuse(literal: str) -> float:
        shown = literal if len(literal) <= 20 else f"{literal[:8]}… of {len(literal)} digits"
        found = re.search(rf"[:,\[]\s*{re.escape(literal[:MAX_DIGITS])}", text)
        line = text.count("\n", 0, found.end() if found else 0) + 1
        raise ValueError(f"line {line}: {shown} is not a usable number")

    try:
        data = json.loads(text, parse_float=number, parse_int=integer, parse_constant=float if constants else refuse)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    half = _HALF.search(text)
    if half is not None and not _is_writable(data):
        raise ValueError(f"line {text.count(chr(10), 0, half.start()) + 1}: {half[0]} is half a character")
    return data


_HALF = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])")
"""An escape that may be half a character: one of the second half of a whole one, too."""


def _is_writable(data: Any) -> bool:
    """Return whether no text holds half a character, which no file, terminal or tokenizer takes."""
    try:
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
