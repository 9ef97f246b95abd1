"""Wrong values for the keys of a structured file: of another type, not finite, huge."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.malformed.inputs import Damage, Input, Outcome, Target

Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Raw:
    """A number as it is written in the file."""

    text: str


def places(data: Any, at: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every key and the first item of every list, with its value."""
    if isinstance(data, dict):
        items: list[tuple[str | int, Any]] = list(data.items())
    elif isinstance(data, list):
        items = list(enumerate(data[:1]))
    else:
        return
    for key, value in items:
        yield (*at, key), value
        yield from places(value, (*at, key))


def replaced(data: Any, at: Place, value: Any) -> Any:
    """A copy with another value in a place."""
    changed = copy.deepcopy(data)
    inner = changed
    for part in at[:-1]:
        inner = inner[part]
    inner[at[-1]] = value
    return changed


def without(data: Any, at: Place) -> Any:
    """A copy that lacks a place."""
    changed = copy.deepcopy(data)
    inner = changed
    for part in at[:-1]:
        inner = inner[part]
    del inner[at[-1]]
    return changed


def show(at: Place) -> str:
    return ".".join(map(str, at))


def load(path: Path) -> Any:
    """Read the file without our own readers."""
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)


def written(path: Path, data: Any) -> str:
    """Write data as the file's text, Raw numbers literally."""
    raws: list[str] = []

    def mark(value: Any) -> Any:
        if isinstance(value, Raw):
            raws.append(value.text)
            return f"@raw{len(raws) - 1}@"
        if isinstance(value, dict):
            return {key: mark(item) for key, item in value.items()}
        return [mark(item) for item in value] if isinstance(value, list) else value

    marked = mark(data)
    text = json.dumps(marked, indent=1) if path.suffix == ".json" else yaml.safe_dump(marked, width=1_000_000)
    for number, raw in enumerate(raws):
        for quoted in (f'"@raw{number}@"', f"'@raw{number}@'", f"@raw{number}@"):
            if quoted in text:
                text = text.replace(quoted, raw)
                break
    return text


def edit(change: Callable[[Any], Any]) -> Damage:
    """Damage as a change of the data in a file."""

    def damage(path: Path) -> None:
        path.write_text(written(path, change(load(path))), encoding="utf-8")

    return damage


def set_to(at: Place, value: Any) -> Damage:
    return edit(lambda data: replaced(data, at, value))


def remove(at: Place) -> Damage:
    return edit(lambda data: without(data, at))


def of_another_type(value: Any) -> list[tuple[str, Any]]:
    """Values no reader can take for `value`'s kind."""
    if isinstance(value, bool):
        return [("text", "perhaps")]
    if isinstance(value, int | float):
        return [("text", "a lot"), ("a list", [1])]
    if isinstance(value, str):
        return [("a list", [1]), ("keys", {"a": 1})]
    if isinstance(value, list):
        return [("text", "text"), ("keys", {"a": 1})]
    if isinstance(value, dict):
        return [("a number", 5), ("a list", [1])]
    return [("keys", {"surprise": 1})]


NUMBERS = {
    "yaml": {"NaN": ".nan", "infinite": ".inf", "1e400": "1e400", "of 401 digits": "1" + "0" * 400},
    "json": {"NaN": "NaN", "infinite": "Infinity", "1e400": "1e400", "of 401 digits": "1" + "0" * 400},
}
"""Numbers that are not finite, or far too large, as each format writes them."""


def wrong_values(target: Target, data: Any, *, keys: Callable[[Place], Outcome | None]) -> Iterator[Input]:
    """Each key with values of another type; each number with what is not a usable number.

    `keys`: what a wrong value there must end in; None: leave that key.
    """
    numbers = NUMBERS["json" if target.path.endswith(".json") else "yaml"]
    for at, value in places(data):
        must = keys(at)
        if must is None:
            continue
        for what, other in of_another_type(value):
            yield target.input(f"{show(at)} is {what}", set_to(at, other), must)
        if isinstance(value, int | float) and not isinstance(value, bool):
            for what, text in numbers.items():
                yield target.input(f"{show(at)} is {what}", set_to(at, Raw(text)), must)
