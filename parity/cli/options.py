"""Options of running that the command line and pytest have in common: one wording, one check. Imports nothing heavy."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from parity.case.target import TIMEOUT_S, TOKEN_VARIABLE, Given, base_url

LEAST_DRAWINGS, MOST_DRAWINGS = 2, 16
"""Of one request: fewer repeat nothing, all are held in memory and every two are compared."""
REPORT_BYTES = 25 << 20
"""How large report.html may become when nobody says."""


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
        type=seconds,
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
        type=seconds,
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
        default=REPORT_BYTES,
        metavar="MB",
        help="size of the HTML file: frames of passing cases are left out first, and the page says so (default: 25)",
    )


def above_zero(text: str, unit: str, example: str) -> float:
    """A finite number above 0, for argparse."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of {unit} above 0, e.g. {example}, is {text!r}")
    return value


def megabytes(text: str) -> int:
    """Megabytes as bytes."""
    return math.ceil(above_zero(text, "megabytes", "25") * (1 << 20))


def seconds(text: str) -> float:
    """Seconds, above 0."""
    return above_zero(text, "seconds", "600")


def generations(text: str) -> float:
    """At least both endpoints, or there is nothing to say."""
    value = _number(text)
    if not value >= 1:
        raise argparse.ArgumentTypeError(f"must be at least 1 generation, is {text}")
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


def add_noise(add_argument: Any, prefix: str) -> None:
    """Add PREFIX-psnr and PREFIX-ssim: here, and for pytest."""
    add_argument(
        f"{prefix}-psnr",
        type=_decibel,
        metavar="DB",
        help="how near two environments draw the same recipe, mean PSNR (default: 46 raw, 35.5 after a lossy codec)",
    )
    add_argument(
        f"{prefix}-ssim",
        type=_similarity,
        metavar="SSIM",
        help="the same as mean SSIM (default: 0.997 raw, 0.94 after a lossy codec)",
    )


def _decibel(text: str) -> float:
    return _between(text, 0, math.inf, "a number of dB above 0, e.g. 46")


def _similarity(text: str) -> float:
    return _between(text, 0, 1, "a number between 0 and 1, e.g. 0.94")


def _between(text: str, low: float, high: float, wanted: str) -> float:
    value = _number(text)
    if not low < value < high:
        raise argparse.ArgumentTypeError(f"must be {wanted}, is {text!r}")
    return value
