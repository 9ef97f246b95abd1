"""Phrases that all messages share."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from pipelines.files.shown import shown


def near(word: str, known: list[str]) -> str:
    """Return `; did you mean X?` with the nearest known word, or nothing if none is near."""
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else ""


def did_you_mean(word: str, known: list[str], meant: Mapping[str, str] | None = None) -> str:
    """Return `; did you mean X?` with the nearest known word, or else the list of known words.

    `meant`: what other words mean; a meaning among the known words comes before one that is spelt alike.
    """
    by_meaning = (meant or {}).get(word.lower())
    if by_meaning in known:
        return f"; did you mean {by_meaning}?"
    return near(word, known) or f"; known: {', '.join(known)}"


def shorten(text: str, length: int) -> str:
    """Cut a text to `length` characters; an ellipsis replaces the rest."""
    return text if len(text) <= length else text[: length - 1] + "…"


def sentence(text: object, most: int = 300) -> str:
    """What a library or a server says in words, as a part of a message: `shown`, any white space as one blank."""
    return shown(" ".join(str(text)[: 4 * most].split()), most)


def listed(names: Sequence[object], most: int) -> str:
    """Join the first names with commas; an ellipsis replaces the rest."""
    return ", ".join([*map(str, names[:most]), *(["…"] if len(names) > most else [])])


def together(names: Sequence[str]) -> str:
    """Join names as a sentence does: `a`, `a and b`, `a, b and c`; without any, `nothing`."""
    *first, last = names or ("nothing",)
    return f"{', '.join(first)} and {last}" if first else last


def capital(text: str) -> str:
    """Begin a text with a capital letter; the rest stays as it is."""
    return f"{text[:1].upper()}{text[1:]}"


def plural(count: int, noun: str) -> str:
    """Format a count with its noun: `1 frame`, `2 frames`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def cannot_read(where: object, error: Exception) -> str:
    """The message for a file that cannot be read, with the system's reason."""
    return f"{where}: cannot be read: {reason_of(error)}"


def cannot_write(where: object, error: Exception) -> str:
    """The message for a file that cannot be written, with the system's reason."""
    return f"{where}: cannot be written: {reason_of(error)}"


def reason_of(error: Exception) -> str:
    """The system's reason for an OSError, without the path and number that Python adds; any other error's text."""
    return sentence(getattr(error, "strerror", None) or error) or type(error).__name__


def words_of(error: Exception) -> str:
    """An exception that nobody foresaw, on one line: its type and the beginning of its message."""
    message = sentence(error)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
