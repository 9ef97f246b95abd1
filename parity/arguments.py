"""Options of running that the command line and pytest have in common: one wording, one check. Imports nothing heavy."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from parity.remote.target import TIMEOUT_S, TOKEN_VARIABLE, Given, base_url

LEAST_DRAWINGS, MOST_DRAWINGS = 2, 16
"""Of one request: fewer repeat nothing, all are held in memory and every two are compared."""


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


def add_repeat(add_argument: Any, prefix: str = "--") -> None:
    """Add `--repeat`."""
    add_argument(
        f"{prefix}repeat",
        type=_drawings,
        metavar="N",
        help=f"draw every request N times ({LEAST_DRAWINGS} to {MOST_DRAWINGS}), once in a fresh process and never "
        "from the cache: is it the same video each time, and if not, how far apart are they?",
    )


def add_target(add_argument: Any, prefix: str = "--") -> None:
    """Add `--target` and its kind."""
    add_argument(
        f"{prefix}target",
        type=_url,
        metavar="URL",
        help="draw every case on this server, which speaks the API (`parity serve`, the reference server, another); "
        f"its bearer token: ${TOKEN_VARIABLE}",
    )
    add_argument(
        f"{prefix}target-lora-root",
        type=_folder,
        metavar="DIR",
        help="the server's LoRA root as this machine sees it: LoRA paths are sent relative to it",
    )
    add_argument(
        f"{prefix}target-timeout",
        type=_seconds,
        default=TIMEOUT_S,
        metavar="SECONDS",
        help=f"for a whole request on a server (default: {TIMEOUT_S:g})",
    )


def given_target(get: Callable[[str], Any]) -> Given:
    """What was said of the target. `get`: an option's value by its name, `target_timeout`."""
    return Given(url=get("target"), lora_root=get("target_lora_root"), timeout=get("target_timeout"))


def _url(text: str) -> str:
    try:
        return base_url(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no folder")
    return Path(text)


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


def _drawings(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not LEAST_DRAWINGS <= int(text) <= MOST_DRAWINGS:
        allowed = f"{LEAST_DRAWINGS} to {MOST_DRAWINGS}"
        raise argparse.ArgumentTypeError(f"must be a number of drawings, {allowed}, e.g. 3, is {text!r}")
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
