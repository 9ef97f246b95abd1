"""`parity settings`: which defaults hold in this folder, and where each comes from."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from parity.cli.project import FILE, KEYS, TABLE, Key, Setting, settings


def add(parsers: Any) -> None:
    """Add `parity settings`."""
    command = parsers.add_parser(
        "settings",
        help="show the defaults that hold in this folder, and where each comes from",
        description=f"Shows the default of each option that [{TABLE}] in {FILE} can set, and where it comes from. The "
        "nearest such table upward from this folder holds, up to the repository's root; an argument or an environment "
        "variable comes before it.",
        epilog="examples:\n  parity settings\n  parity settings --json\n",
    )
    command.add_argument("--json", action="store_true", help="print them as JSON")
    command.set_defaults(run=show)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effective:
    """What holds for one key."""

    name: str
    value: Any
    """As the file or the variable has it; a built-in default in words."""
    source: str
    """`default`, the variable as `$NAME`, or the file with its line."""
    commands: tuple[str, ...]


def show(options: argparse.Namespace) -> int:
    """Print what holds for every key."""
    from parity.terminal.as_json import json_text
    from parity.terminal.text import table

    found = settings(Path.cwd())
    rows = [_effective(key, found) for key in KEYS]
    if options.json:
        file = next((str(setting.file) for setting in found.values()), None)
        print(json_text(file=file, settings=[asdict(row) for row in rows]))
        return 0
    shown = [(row.name, _words(row.value), row.source, _short(row.commands)) for row in rows]
    print(table([("setting", "value", "from", "for"), *shown]))
    if not found:
        print(f"\nno [{TABLE}] in a {FILE} here or above; docs/settings.md says what it can hold")
    return 0


def _effective(key: Key, found: Mapping[str, Setting]) -> Effective:
    variable = os.environ.get(key.variable or "")
    if variable:
        return Effective(name=key.name, value=variable, source=f"${key.variable}", commands=key.commands)
    if key.name in found:
        setting = found[key.name]
        source = f"{os.path.relpath(setting.file)}:{setting.line}"
        return Effective(name=key.name, value=setting.given, source=source, commands=key.commands)
    return Effective(name=key.name, value=key.default, source="default", commands=key.commands)


def _short(commands: Sequence[str]) -> str:
    """The commands without their actions."""
    return ", ".join(dict.fromkeys(command.partition(" ")[0] for command in commands))


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
