"""JSON by the book: numbers are finite and of a length that is meant, and a small file cannot fill the memory."""

from __future__ import annotations

import json
import math
import re
from typing import Any

MAX_VALUES = 4_000_000
"""Values in one text. Each takes about 50 bytes, whatever it takes in the file."""

MAX_DIGITS = 100
"""Characters of a number. Longer ones are no measurement, and Python refuses to print those above 4300."""


def loads(text: str) -> Any:
    """As json.loads. Raises ValueError, with the line, for what is no JSON, no number of use, or beyond all bounds."""
    if text.count(",") + text.count("[") + text.count("{") > MAX_VALUES:
        raise ValueError(f"holds more than {MAX_VALUES} values")

    def number(literal: str) -> float:
        value = float(literal) if len(literal) <= MAX_DIGITS else math.inf
        return value if math.isfinite(value) else refuse(literal)

    def integer(literal: str) -> int:
        return int(literal) if len(literal) <= MAX_DIGITS else int(refuse(literal))

    def refuse(literal: str) -> float:
        shown = literal if len(literal) <= 20 else f"{literal[:8]}… of {len(literal)} digits"
        found = re.search(rf"[:,\[]\s*{re.escape(literal)}", text)
        line = text.count("\n", 0, found.end() if found else 0) + 1
        raise ValueError(f"line {line}: {shown} is no number of use")

    try:
        return json.loads(text, parse_float=number, parse_int=integer, parse_constant=refuse)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
