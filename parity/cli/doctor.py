"""`parity doctor`: what of this machine and this installation works, and what to do about the rest."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parity.cli.options import add_cpu_kernels
from parity.cli.project import FILE, TABLE, settings
from parity.run import interrupt
from pipelines.errors import UsageError
from pipelines.files.shown import raw, visible

if TYPE_CHECKING:
    from parity.doctor.check import Asked, Check


_STYLES = {"ok": "green", "warning": "bold yellow", "problem": "bold red", "skipped": "dim"}


def add(parsers: Any) -> None:
    """Add `parity doctor`."""
    command = parsers.add_parser(
        "doctor",
        help="check this machine and installation, and say what to do; for bug reports, too",
        description="Checks Python, libraries against the tested versions, torch and why CUDA is not used, GPUs, "
        "memory, disks and caches, ffmpeg, the Hub, and whether a tiny case generates the same bits twice, in fresh "
        "processes, on every device. Each line is ok, warning or problem, with what to do. Nothing is downloaded. "
        "Tokens, the user's name and the home folder are left out. Exit code 1 if there is a problem.",
        epilog="examples:\n  parity doctor\n  parity doctor --quick\n  parity doctor --json\n",
    )
    command.add_argument("--json", action="store_true", help="print the checks as JSON, for a bug report")
    command.add_argument("--quick", action="store_true", help="generate nothing: seconds instead of half a minute")
    command.add_argument("--offline", action="store_true", help="do not ask the Hub")
    command.add_argument(
        "--device",
        default="auto",
        metavar="DEVICE",
        help="the device to check: auto (the CPU and every GPU), cpu, cuda or cuda:n; one that cannot be used is a "
        "problem (default: auto)",
    )
    add_cpu_kernels(command.add_argument)
    command.set_defaults(run=doctor)


def doctor(options: argparse.Namespace) -> int:
    """Print each check as it is made. Returns 1 if one of them is a problem, otherwise 0."""
    from parity.doctor.check import Asked, skipped
    from parity.doctor.examine import PROBES, examine
    from parity.terminal.as_json import json_text

    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", options.device):
        raise UsageError(f"--device {options.device}: use auto, cpu, cuda or cuda:n")
    waiting, out = _Waiting(), settings(Path.cwd()).get("out")
    asked = Asked(
        device=options.device,
        out=None if out is None else out.value,
        quick=options.quick,
        offline=options.offline,
        environ=dict(os.environ),
        waiting=waiting.show,
    )
    checks, stopped = [], False
    try:
        for check in examine(asked, {"settings": _settings, **PROBES}):
            checks.append(check)
            waiting.clear()
            if not options.json:
                _print_line(check)
    except KeyboardInterrupt:
        stopped = True
        checks.append(skipped("all further checks", "stopped (Ctrl-C)"))
    waiting.clear()
    print(json_text(checks=[asdict(check) for check in checks]) if options.json else _summary(checks))
    if stopped:
        return interrupt.exit_code()
    return 1 if any(check.status == "problem" for check in checks) else 0


def _settings(_: Asked) -> Iterator[Check]:
    """The defaults that this folder's pyproject.toml sets; a mistake in it has ended the command before."""
    from parity.doctor.check import ok

    found = settings(Path.cwd())
    shown = ", ".join(f"{name} = {setting.given!r}" for name, setting in found.items())
    file = next((setting.file for setting in found.values()), None)
    yield ok("settings", f"{shown} ({file})" if shown else f"no [{TABLE}] in a {FILE} here or above")


def _summary(checks: Sequence[Check]) -> str:
    """How many checks ended how, and which were not made."""
    from pipelines.files.words import plural

    count = {status: sum(check.status == status for check in checks) for status in ("ok", "warning", "problem")}
    left_out = ", ".join(check.name for check in checks if check.status == "skipped")
    text = f"{count['ok']} ok, {plural(count['warning'], 'warning')}, {plural(count['problem'], 'problem')}"
    return f"{text}; not checked: {left_out}" if left_out else text


def _print_line(check: Check) -> None:
    """Print a check, on a terminal with colours, unless NO_COLOR is set."""
    status, rest = f"{check.status:8}", f" {check.name}: {check.text}"
    if not sys.stdout.isatty():  # rich would end the process itself where a pipe is closed
        print(status + rest, flush=True)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=raw(sys.stdout), highlight=False, soft_wrap=True)
    console.print(Text.assemble((status, _STYLES[check.status]), visible(rest)))


class _Waiting:
    """What a slow check waits for, on stderr: a line that goes away on a terminal, and stays in a log."""

    def __init__(self) -> None:
        from parity.terminal.live import LiveLine

        self._line = LiveLine()
        self._last = ""

    def show(self, what: str, detail: str = "") -> None:
        """`detail` changes often, and is shown on a terminal alone."""
        self._line.show(f"... {what}{detail}")
        if not self._line.live and what != self._last:
            print(f"... {what}", file=sys.stderr, flush=True)
        self._last = what

    def clear(self) -> None:
        self._line.clear()
