"""The arguments of `parity baseline`. Imports nothing heavy: `parity --help` reads it."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from parity.baselines import commands

_EXIT_CODES = """\
exit codes:
  0  check: every baseline holds; accept: everything asked for was accepted
  1  check: a case failed; accept --all: some were left out
  2  bad usage, or a file that cannot be read; nothing was written
"""


def add_baseline(parsers: Any) -> None:
    """Add `parity baseline accept|check|show|undo`."""
    baseline = parsers.add_parser(
        "baseline",
        help="hold a run against what was accepted before, or accept it",
        description="A baseline is what a case drew when a person last said that it was right: one JSON file a case, "
        "kept in the repository.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = baseline.add_subparsers(title="actions", required=True, metavar="ACTION")
    _add_accept(actions)
    _add_check(actions)
    show = actions.add_parser("show", help="list the baselines")
    show.add_argument("cases", nargs="*", metavar="CASE", help="case ids (default: all)")
    _add_folder(show)
    show.set_defaults(run=commands.show)
    undo = actions.add_parser("undo", help="take the last accept back")
    _add_folder(undo)
    undo.add_argument("--dry-run", action="store_true", help="only say what would be restored")
    undo.set_defaults(run=commands.undo)


def _add_accept(actions: Any) -> None:
    accept = actions.add_parser(
        "accept",
        help="make results the baselines",
        description="Makes results the baselines of their cases. Prints what changes before anything is written; "
        "without CASE, --all or --from that is all it does.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    which = accept.add_mutually_exclusive_group()
    which.add_argument("cases", nargs="*", default=[], metavar="CASE", help="case ids, or patterns: 'tiny_*'")
    which.add_argument(
        "--all", action="store_true", help="every case that came out as expected; drifted ones must be named"
    )
    which.add_argument(
        "--from", dest="approvals", type=Path, metavar="FILE", help="the approvals exported from the HTML report"
    )
    accept.add_argument("--dry-run", action="store_true", help="only say what would change")
    _add_results(accept)
    _add_folder(accept)
    accept.set_defaults(run=commands.accept)


def _add_check(actions: Any) -> None:
    check = actions.add_parser(
        "check",
        help="fail cases that got worse, changed bits or lost their baseline",
        description="Holds every case of a run against its baseline. In an equal environment (device, CPU, versions, "
        "flags) the bits must be equal; in another one recipe and shape must be, and the metrics within its noise.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_argument("cases", nargs="*", metavar="CASE", help="case ids (default: all of the run)")
    _add_results(check)
    _add_folder(check)
    add_noise(check.add_argument, "--noise")
    check.add_argument("--json", action="store_true", help="print the outcome as JSON")
    check.set_defaults(run=commands.check)


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


def _add_results(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--results",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="results.json, or the folder it is in; repeatable (default: the last run below reports/out)",
    )


def _add_folder(command: argparse.ArgumentParser) -> None:
    command.add_argument("--baselines", type=Path, metavar="DIR", help="default: baselines")


def _decibel(text: str) -> float:
    return _number(text, 0, math.inf, "a number of dB above 0, e.g. 46")


def _similarity(text: str) -> float:
    return _number(text, 0, 1, "a number between 0 and 1, e.g. 0.94")


def _number(text: str, low: float, high: float, wanted: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low < value < high:
        raise argparse.ArgumentTypeError(f"must be {wanted}, is {text!r}")
    return value
