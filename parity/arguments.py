"""Options of running that the command line and pytest have in common: one wording, one check. Imports nothing heavy."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any


def add_running(add_argument: Any, prefix: str = "--") -> None:
    """Add `--out` and its kind; for pytest with the prefix `--parity-`."""
    add_argument(f"{prefix}out", type=Path, metavar="DIR", help="default: reports/out/<start time>")
    add_argument(f"{prefix}device", default="auto", help="auto, cpu, cuda or cuda:n (default: auto)")
    add_argument(
        f"{prefix}offload",
        choices=("none", "model", "sequential"),
        default="none",
        help="keep weights in CPU memory: a model or a layer at a time on the GPU (default: none)",
    )
    add_argument(
        f"{prefix}resume",
        action="store_true",
        help=f"go on with the killed run in {prefix}out (default: the last run): keep what is finished",
    )
    add_argument(
        f"{prefix}no-cache", action="store_true", help="draw every case, also if equal frames are kept (`parity cache`)"
    )
    add_argument(
        f"{prefix}timeout",
        type=_seconds,
        metavar="SECONDS",
        help="end a case whose loading, one step or decoding takes longer (default: any time)",
    )


def add_tag(add_argument: Any, prefix: str = "--") -> None:
    """Add `--tag`."""
    add_argument(
        f"{prefix}tag",
        action="append",
        default=[],
        metavar="TAG",
        help="only cases with this tag (repeatable: any of them)",
    )


def add_max_size(add_argument: Any, prefix: str = "--") -> None:
    """Add `--max-size` of the HTML file."""
    add_argument(
        f"{prefix}max-size",
        type=megabytes,
        default=25 << 20,
        metavar="MB",
        help="size of the HTML file: frames of passing cases are left out first, and the page says so (default: 25)",
    )


def megabytes(text: str) -> int:
    """In bytes."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of megabytes above 0, e.g. 25, is {text!r}")
    return math.ceil(value * (1 << 20))


def _seconds(text: str) -> float:
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, e.g. 600, is {text!r}")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
