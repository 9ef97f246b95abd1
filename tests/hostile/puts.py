"""Ways to put strings into files: into places of JSON and YAML, into names, into keys."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.hostile.session import Put
from tests.malformed.values import Place, load, places, replaced


def leaves(data: Any, at: Place = ()) -> Iterator[Place]:
    """The place of every value that holds no others, of all items of a list."""
    if isinstance(data, dict | list) and data:
        items: list[tuple[str | int, Any]] = list(data.items() if isinstance(data, dict) else enumerate(data))
        for key, value in items:
            yield from leaves(value, (*at, key))
    elif at:
        yield at


def holders(data: Any) -> Iterator[Place]:
    """The place of everything that has keys."""
    if isinstance(data, dict):
        yield ()
    yield from (at for at, value in places(data) if isinstance(value, dict))


def changed(path: Path, change: Callable[[Any], Any]) -> None:
    """Change the data of a .json or .yaml file. Both are written as JSON, whose escapes YAML has, too."""
    path.write_text(json.dumps(change(load(path)), indent=1), encoding="utf-8")


def at(file: str, *spots: Place) -> Put:
    """Put one string into each of these places of a file."""

    def put(folder: Path, texts: Sequence[str]) -> None:
        def change(data: Any) -> Any:
            for spot, text in zip(spots, texts, strict=True):
                data = replaced(data, spot, text)
            return data

        changed(folder / file, change)

    return put


def as_keys(file: str, *spots: Place, value: Any = "x") -> Put:
    """Put each string as a key more into one of these places."""

    def put(folder: Path, texts: Sequence[str]) -> None:
        def change(data: Any) -> Any:
            for spot, text in zip(spots, texts, strict=True):
                data = replaced({"": data}, ("", *spot), inside({"": data}, ("", *spot)) | {text: value})[""]
            return data

        changed(folder / file, change)

    return put


def inside(data: Any, spot: Place) -> Any:
    """The value in a place."""
    for part in spot:
        data = data[part]
    return data


def whole(file: str, before: str = "") -> Put:
    """Put the string into a text file as its only content, with nothing escaped."""

    def put(folder: Path, texts: Sequence[str]) -> None:
        (folder / file).write_bytes((before + texts[0]).encode("utf-8", "surrogatepass"))

    return put


def nothing(folder: Path, texts: Sequence[str]) -> None:
    """The string is in the command only."""


def argument(text: str) -> str:
    """The string as the operating system can pass it: without NUL, in bytes, not longer than 100,000."""
    kept = "".join(letter for letter in text if letter != "\0" and not 0xD800 <= ord(letter) < 0xDC80)
    return "".join(letter for letter in kept[:100_000] if not 0xDD00 <= ord(letter) <= 0xDFFF)


def file_name(text: str, ending: str = "") -> str:
    """The string as a file's name: without slashes, of at most 200 bytes."""
    name = argument(text)[:200].replace("/", "\\")
    while len(os.fsencode(name)) > 200 - len(ending):
        name = name[:-1]
    return (name if name.strip(".") else f"a{name}") + ending


def renamed(file: str, ending: str = "") -> Put:
    """Give a file or folder the string as its name."""

    def put(folder: Path, texts: Sequence[str]) -> None:
        path = folder / file
        path.rename(path.with_name(file_name(texts[0], ending)))

    return put


def then(*puts: Put) -> Put:
    """Several, each given the same strings."""

    def put(folder: Path, texts: Sequence[str]) -> None:
        for one in puts:
            one(folder, texts)

    return put
