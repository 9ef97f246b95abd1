"""Documents that quote a terminal: runs their commands in order and compares what is quoted with what is printed.

A command is an indented line that begins with `$ `; the lines below it, up to the next command or the end of the block,
are its output. `…` on a line of its own stands for any lines, `…` in a line for any text. Times and dates may differ.
What goes to stderr may be left out: progress depends on the machine.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from parity.cli.main import main

Stream = Literal["out", "err"]
_MASKS = (
    (r"\d{4}-\d\d-\d\d(?:[T_ ]\d\d:?\d\d:?\d\d(?:\+00:00)?)?", "(date)"),
    (r"\b(?:\d+ (?:h|min) )*\d+(?:\.\d+)? (?:s|min|h)\b", "(time)"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quoted:
    """One command of a document with the lines quoted below it."""

    command: str
    lines: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        """The command without its comment."""
        return shlex.split(self.command, comments=True)

    @property
    def code(self) -> int:
        """The exit code that its comment announces, 0 if none does."""
        found = re.search(r"#.*exit code (\d+)", self.command)
        return int(found[1]) if found else 0


def quoted(page: str) -> list[Quoted]:
    """The commands of a document in their order."""
    found: list[tuple[str, list[str]]] = []
    inside = False
    for line in page.splitlines():
        if line.startswith("    $ "):
            inside = True
            found.append((line[6:], []))
        elif inside and line.startswith("    "):
            found[-1][1].append(line[4:].rstrip())
        elif line.strip():
            inside = False
        elif inside:
            found[-1][1].append("")
    return [Quoted(command=command, lines=_without_blank_ends(lines)) for command, lines in found]


def _without_blank_ends(lines: list[str]) -> tuple[str, ...]:
    while lines and not lines[-1]:
        lines.pop()
    return tuple(lines)


class Terminal:
    """A folder in which commands are run: `parity` in this process, `cd`, and anything else in bash."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, command: Quoted) -> tuple[int, list[tuple[Stream, str]]]:
        """Run a command; returns the exit code, and the lines with the stream that each went to."""
        words = command.words
        if words[0] == "cd":
            self.folder = self.folder / words[1]
            return 0, []
        if words[0] == "parity":
            printed: list[tuple[Stream, str]] = []
            with (
                contextlib.chdir(self.folder),
                contextlib.redirect_stdout(_Pen("out", printed)),
                contextlib.redirect_stderr(_Pen("err", printed)),
            ):
                code = main(words[1:])
            return code, list(_lines(printed))
        done = subprocess.run(
            ["bash", "-c", command.command], cwd=self.folder, capture_output=True, text=True, check=False
        )
        return done.returncode, [("out", line) for line in (done.stdout + done.stderr).splitlines()]


class _Pen(io.TextIOBase):
    """A stream that writes into a list shared with the other stream, so that their order is kept."""

    encoding = "utf-8"

    def __init__(self, name: Stream, printed: list[tuple[Stream, str]]) -> None:
        self._name, self._printed = name, printed

    def write(self, text: str) -> int:
        self._printed.append((self._name, text))
        return len(text)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError("no file")


def _lines(printed: list[tuple[Stream, str]]) -> Iterator[tuple[Stream, str]]:
    """Join what was written into lines, in the order in which they ended."""
    rests: dict[Stream, str] = {"out": "", "err": ""}
    for name, text in printed:
        *whole, rests[name] = (rests[name] + text).split("\n")
        yield from ((name, line.rstrip()) for line in whole)
    yield from ((name, rest.rstrip()) for name, rest in rests.items() if rest)


def difference(quote: tuple[str, ...], printed: list[tuple[Stream, str]]) -> str | None:
    """The first quoted line that was not printed in its place, or the first line left out without `…`; None: neither.

    A command that quotes nothing may print anything.
    """
    if not quote:
        return None
    lines = iter(printed)
    free = False
    for wanted in quote:
        if wanted.strip() == "…":
            free = True
            continue
        pattern = _pattern(wanted)
        for stream, line in lines:
            if pattern.fullmatch(_masked(line)):
                break
            if not free and stream == "out":
                return f"printed and not quoted: {line!r}, before {wanted!r}"
        else:
            return f"quoted and not printed: {wanted!r}"
        free = False
    left = [line for stream, line in lines if stream == "out" and line]
    return f"printed and not quoted at the end: {left[0]!r}" if left and not free else None


def _pattern(line: str) -> re.Pattern[str]:
    """What a quoted line stands for."""
    return re.compile(re.escape(_masked(line)).replace("…", ".*"))


def _masked(line: str) -> str:
    """A line without what differs from run to run, and with single blanks: a column is as wide as a time in it."""
    for mask, name in _MASKS:
        line = re.sub(mask, name, line)
    return " ".join(line.split())
