r"""The way out for text from elsewhere: nothing that a file, a request, a server or a library says acts on a reader.

`visible` makes text safe for a terminal and a CI's log, `shown` makes one line of it for a message, and the guard that
every program of ours puts around stdout and stderr applies `visible` to all that is written there, by libraries too.
What is meant to act (colours, a line written over, GitHub's annotations) goes through `raw`.

What a CI takes for a command, where it reads a line:

- GitHub (`ActionCommand.cs` of actions/runner at 079cdb1): `::name …::…` at the beginning of a line, white space before
  it or not, and `##[name …]…` anywhere in a line. Its lines end at `\r`, too; those of stdout and of stderr are read.
- Azure Pipelines: `##vso[…]`, and TeamCity: `##teamcity[…]`, which are broken wherever in a line they stand.
- GitLab (`logs_section_prefix_regex`): `section_start:…` needs `\r` and ESC, which never come through.

What native code writes to the file descriptors itself (a C++ warning, an abort) passes no stream of Python's and so no
guard.
"""

from __future__ import annotations

import codecs
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

# C0 but for tab and newline, DEL, C1; what turns the direction of text, is invisible or ends a line; the tag
# characters; halves of characters. Not the joiners U+200C and U+200D, which Persian and emoji need.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_JOINERS = "\u200c\u200d"
_BLANK = "".join(filter(str.isspace, map(chr, range(0x3001)))) + _JOINERS
_NAME = 20
"""The most letters between `##` and `[`; `teamcity` is the longest that is known."""
_COMMAND = re.compile(rf"(?m)(^(?:[^\S\n]|[{_JOINERS}])*:[{_JOINERS}]*):|(##\w{{0,{_NAME}}})\[")
_LONGEST = 2000
"""The most characters of a value inside a message, unless a message says less."""
_MESSAGE = 4000
"""The most characters of one message."""
_FOREIGN_BREAK = re.compile(r"\n(?!  )")
_ERRORS = "wan-parity.visible"


def visible(text: str) -> str:
    """Text of any number of lines, without effects: control characters are visible, no line is a command of a CI.

    Everything is replaced by what JSON writes for it (ESC and its like aside, which JSON text cannot hold): JSON stays
    JSON, with the same values.
    """
    text = _HIDDEN.sub(_escaped, text.replace("\r\n", "\n"))
    if any(sign in text for sign in ("::", "##", *_JOINERS)):  # else: megabytes of JSON take a seventh of the time
        text = _COMMAND.sub(_defused, text)
    return text


def shown(value: object, most: int = _LONGEST) -> str:
    """A value from elsewhere inside a message: one line of at most `most` characters, all of them printable.

    Blanks of any kind are shown as one, other characters without a picture, the joiners and unassigned ones too, as
    JSON writes them.
    """
    text = visible(str(value)[: most + 1].replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r"))
    if not text.isprintable():
        text = "".join(char if char.isprintable() else " " if char.isspace() else _escape(char) for char in text)
    return _cut(text, most)


def message(text: str) -> str:
    """A message of ours: visible, and a line break that no indented line follows is one of a value, and shown."""
    text = _cut(_FOREIGN_BREAK.sub(r"\\n", str(text)[: _MESSAGE + 1].replace("\r\n", "\n")), _MESSAGE)
    return visible(text)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _escaped(match: re.Match[str]) -> str:
    return _escape(match[0])


def _escape(char: str) -> str:
    code = ord(char)
    if code < 0x20:
        return f"\\x{code:02x}"
    if code < 0x10000:
        return f"\\u{code:04x}"
    return f"\\u{0xD7C0 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def _defused(match: re.Match[str]) -> str:
    return f"{match[1]}\\u003a" if match[1] is not None else f"{match[2]}\\u005b"


def _unencodable(error: UnicodeError) -> tuple[str, int]:
    """For streams that are not UTF-8: what they cannot write is written as JSON writes it."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_escape, error.object[error.start : error.end])), error.end


codecs.register_error(_ERRORS, _unencodable)


class _Guarded:
    """A text stream on which `visible` is applied to everything that is written, however it comes in pieces."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.before = ""
        """What of the present line decides whether a command begins: its end, or nothing if it is blank so far."""
        self.lock = threading.RLock()
        if callable(reconfigure := getattr(stream, "reconfigure", None)):
            reconfigure(errors=_ERRORS)

    def write(self, text: str) -> int:
        with self.lock:
            whole = visible(self.before + text)
            self.stream.write(whole[len(self.before) :])
            line = whole.rpartition("\n")[2]
            begun = line.lstrip(_BLANK).rstrip(_JOINERS)
            self.before = begun if begun in ("", ":") else f".{line[-_NAME - 2 :]}"
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class _Raw:
    """The stream below a guard, which begins a new line after whatever was written here."""

    def __init__(self, guarded: _Guarded) -> None:
        self._guarded = guarded

    def write(self, text: str) -> int:
        with self._guarded.lock:
            self._guarded.before = ""
            return self._guarded.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guarded.stream, name)


def guard(stream: TextIO) -> TextIO:
    """The stream with a guard around it, which does everything else as before."""
    return stream if isinstance(stream, _Guarded) or stream is None else cast(TextIO, _Guarded(stream))


def raw(stream: TextIO) -> TextIO:
    """The door for what is meant to act: what is written to it passes no guard. `tests/ways_out.py` says who may."""
    return cast(TextIO, _Raw(stream)) if isinstance(stream, _Guarded) else stream


def guard_streams() -> None:
    """Guard stdout and stderr of this process from now on. Calling it again changes nothing."""
    sys.stdout, sys.stderr = guard(sys.stdout), guard(sys.stderr)


@contextmanager
def guarded() -> Iterator[None]:
    """Guard stdout and stderr meanwhile."""
    before = sys.stdout, sys.stderr
    guard_streams()
    ours = sys.stdout, sys.stderr
    try:
        yield
    finally:
        if sys.stdout is ours[0]:
            sys.stdout = before[0]
        if sys.stderr is ours[1]:
            sys.stderr = before[1]
