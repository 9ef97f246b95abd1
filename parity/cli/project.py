"""`[tool.wan-parity]` in pyproject.toml: defaults of options, checked as the command line checks them."""

from __future__ import annotations

import argparse
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from parity.case.target import TIMEOUT_S
from parity.cli.options import (
    KEPT_STILLS,
    REPORT_BYTES,
    add_kept_stills,
    add_max_size,
    add_noise,
    add_running,
    add_stills,
    add_tag,
    add_target,
)
from parity.run.task import STILLS
from pipelines import cpu_kernels
from pipelines.errors import UsageError
from pipelines.files.confined import why_not_asked, why_outside
from pipelines.files.content import read_bytes
from pipelines.files.words import cannot_read, did_you_mean, shorten

FILE = "pyproject.toml"
TABLE = "tool.wan-parity"
_MAX_BYTES = 16 << 20
_MAX_BITS = 64
"""Of a whole number: Python refuses to write one of thousands of digits."""
PYTEST = "pytest"
"""The name in `Key.commands` of pytest's options, which are called `--parity-…`."""

_RUN = ("run", "diagnose")
_OF_A_RUN = ("baseline accept", "baseline check", "expect")
"""Commands that read the last run's results: where `out` says that runs go, they look there."""
_BASELINE = ("baseline accept", "baseline check", "baseline show", "baseline undo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key of the table: an option by its long name, or `cases`."""

    name: str
    commands: tuple[str, ...]
    """The commands whose default it is. An option of this name of any other command means something else."""
    default: str
    """What holds where nothing is set, in words."""
    many: bool = False
    """True if a list is allowed."""
    variable: str | None = None
    """The environment variable that comes before the file."""
    option: str | None = None
    """The option's name where the key has a longer one, because commands disagree about it."""

    @property
    def dest(self) -> str:
        """The name of the parsed value."""
        return (self.option or self.name).replace("-", "_")


KEYS = (
    Key(
        name="cases",
        commands=(*_RUN, "plan", "shards", "fetch", "expect", PYTEST),
        default="the embedded demo",
        many=True,
    ),
    Key(name="tag", commands=(*_RUN, "plan", "shards", "fetch", "expect", PYTEST), default="all cases", many=True),
    Key(name="out", commands=(*_RUN, PYTEST), default="reports/out/<start time>"),
    Key(name="device", commands=(*_RUN, "serve", "selftest", "doctor", PYTEST), default="auto"),
    Key(name="offload", commands=(*_RUN, "serve", PYTEST), default="none"),
    Key(
        name="cpu-kernels",
        commands=(*_RUN, "serve", "selftest", "doctor", PYTEST),
        default=cpu_kernels.MODES[0],
        variable=cpu_kernels.VARIABLE,
    ),
    Key(name="timeout", commands=(*_RUN, PYTEST), default="no limit"),
    Key(name="isolate", commands=(*_RUN, PYTEST), default="false"),
    Key(name="target", commands=(*_RUN, PYTEST), default="this machine"),
    Key(name="target-lora-root", commands=(*_RUN, PYTEST), default="none"),
    Key(name="target-timeout", commands=(*_RUN, PYTEST), default=f"{TIMEOUT_S:g}"),
    Key(name="max-size", commands=(*_RUN, "report", "compare", PYTEST), default=f"{REPORT_BYTES >> 20}"),
    Key(name="stills", commands=(*_RUN, PYTEST), default=f"{STILLS}"),
    Key(name="baselines", commands=("run", *_BASELINE, PYTEST), default="baselines; run, pytest: none"),
    Key(name="baseline-stills", option="stills", commands=("baseline accept",), default=f"{KEPT_STILLS}"),
    Key(name="noise-psnr", commands=("run", "baseline check", PYTEST), default="46, or 35.5 after a lossy codec"),
    Key(name="noise-ssim", commands=("run", "baseline check", PYTEST), default="0.997, or 0.94 after a lossy codec"),
)
"""Each key lists its commands, because others have options named `out` or `timeout` that mean something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A value of the table."""

    key: Key
    given: Any
    """As the file has it."""
    value: Any
    """As the option would be parsed; a tuple if several are allowed."""
    file: Path
    line: int


def settings(folder: Path) -> dict[str, Setting]:
    """The settings that hold in a folder, by key: those of the nearest pyproject.toml upward that has the table.

    The search ends at the root of a repository, or at the home folder. Raises UsageError, which names file and line,
    for an unknown key, and for a value that the option would not take.
    """
    for file in _upward(folder):
        text, table = _read(file)
        if table is not None:
            return {name: _setting(file, text, name, value) for name, value in table.items()}
    return {}


def defaults(command: str) -> dict[str, Any]:
    """Defaults for a command's parsed options in the current folder, by `dest`; those of variables come before them."""
    if not any(command in key.commands for key in KEYS):
        return {}
    found = settings(Path.cwd())
    values = {
        setting.key.dest: setting.value
        for setting in found.values()
        if command in setting.key.commands and not os.environ.get(setting.key.variable or "")
    }
    if command in _OF_A_RUN and "out" in found:
        values["results"] = (found["out"].value,)
    return values


def _upward(folder: Path) -> Iterator[Path]:
    home = Path.home()
    for place in (folder, *folder.parents):
        if os.path.isfile(place / FILE):  # noqa: PTH113, unlike Path.is_file it is False for what may not be looked at
            yield place / FILE
        if os.path.exists(place / ".git") or place == home:  # noqa: PTH110
            return


def _read(file: Path) -> tuple[str, Mapping[str, Any] | None]:
    """The file's text and its table; None if it has none. A broken file counts if it seems to have one."""
    try:
        data = read_bytes(file, _MAX_BYTES)
    except OSError as error:
        raise UsageError(cannot_read(file, error)) from None
    try:
        text = data.decode("utf-8-sig")
        table: Any = tomllib.loads(text).get("tool", {})
    except (ValueError, RecursionError) as error:
        if b"wan-parity]" not in data:
            return "", None
        raise UsageError(f"{file}: [{TABLE}] cannot be read: {shorten(str(error), 200)}") from None
    table = table.get("wan-parity") if isinstance(table, Mapping) else None
    if table is not None and not isinstance(table, Mapping):
        raise UsageError(f"{file}:{_line(text, 'wan-parity')}: {TABLE}: must be a table of settings")
    return text, table


def _setting(file: Path, text: str, name: str, given: Any) -> Setting:
    where = f"{file}:{_line(text, name)}: {TABLE}.{shorten(name, 60)}"
    key = next((key for key in KEYS if key.name == name), None)
    if key is None:
        raise UsageError(f"{where}: unknown key{did_you_mean(name, [key.name for key in KEYS])}")
    if isinstance(given, list) and not key.many:
        raise UsageError(f"{where}: must be one value, not a list")
    values = given if isinstance(given, list) else [given]
    try:
        parsed = tuple(_parsed(key, value, file.parent) for value in values)
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"{where}: {error}") from None
    return Setting(key=key, given=given, value=parsed if key.many else parsed[0], file=file, line=_line(text, name))


def _parsed(key: Key, given: Any, folder: Path) -> Any:
    """Parse a value as the command line parses its text. Raises ArgumentTypeError."""
    option = _options()[key.name]
    if option.nargs == 0:
        if not isinstance(given, bool):
            raise argparse.ArgumentTypeError(f"must be true or false, is {_short(given)}")
        return given
    wants_text = option.type in (None, Path)
    if isinstance(given, bool) or not isinstance(given, str if wants_text else str | int | float):
        example = {"cases": '"cases"', "tag": '"t2v"'}.get(key.name, "text in quotes")
        raise argparse.ArgumentTypeError(f"must be {example if wants_text else 'a number'}, is {_short(given)}")
    if isinstance(given, int) and given.bit_length() > _MAX_BITS:
        raise argparse.ArgumentTypeError("is too large a number")
    if given == "" or "\0" in str(given):
        raise argparse.ArgumentTypeError(f"cannot be {_short(given)}; leave the key out for the default")
    if option.choices is not None and given not in option.choices:
        known = did_you_mean(given, list(option.choices))
        raise argparse.ArgumentTypeError(f"unknown value {_short(given)}{known}")
    if key.name == "target" and (reason := why_not_asked()) is not None:
        raise argparse.ArgumentTypeError(f"{_short(given)} {reason}; pass --target")
    if option.metavar in ("DIR", "CASES"):
        path = Path(given).expanduser()
        if (reason := why_outside(folder / path)) is not None:
            raise argparse.ArgumentTypeError(f"{_short(given)} {reason}")
        given = str(path) if path.is_absolute() else os.path.relpath(folder / path)
    return given if option.type is None else option.type(str(given))  # type: ignore[operator]


def _short(value: Any) -> str:
    try:
        return shorten(repr(value), 60)
    except ValueError:  # a number of thousands of digits in it
        return f"a {type(value).__name__}"


@cache
def _options() -> Mapping[str, argparse.Action]:
    """The options behind the keys, whose types and choices a value must fit."""
    parser = argparse.ArgumentParser(add_help=False)
    add_running(parser.add_argument)
    add_target(parser.add_argument)
    add_tag(parser.add_argument)
    add_max_size(parser.add_argument)
    add_stills(parser.add_argument)
    add_noise(parser.add_argument, "--noise")
    add_kept_stills(parser.add_argument, "--baseline-stills")
    parser.add_argument("--baselines", type=Path, metavar="DIR")
    parser.add_argument("--cases", type=Path, metavar="CASES")
    return {action.option_strings[0].removeprefix("--"): action for action in parser._actions}


def _line(text: str, name: str) -> int:
    """The line of a key of the table, counted from 1; of the table, if the key is written in another way."""
    lines: Sequence[str] = text.splitlines()
    start = next((number for number, line in enumerate(lines) if "wan-parity" in line), 0)
    wanted = re.compile(rf"""\s*(?:\[?[\w.-]*wan-parity["']?\.)?["']?{re.escape(name)}["']?\s*[=\]]""")
    return next((number for number in range(start, len(lines)) if wanted.match(lines[number])), start) + 1
