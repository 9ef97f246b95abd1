"""Edits one list at the top of a YAML file's text, and leaves every other character as it is."""

from __future__ import annotations

import re
from collections.abc import Sequence

import yaml


class CannotEditError(ValueError):
    """The text is written in a way that this editor does not change. The message says why."""


def set_list(text: str, key: str, values: Sequence[str] | None, *, before: str | None = None) -> str:
    """The text with `key: [values]`; None removes the key. A new key goes before the key `before`, or to the end.

    The text must be valid YAML. A list of one item a line stays one, and items that stay keep their comments. Raises
    CannotEditError where the edit would lose a comment, or touch an anchor, an alias or a tag.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode) or root.flow_style:
        raise CannotEditError("it is not a mapping with one key a line")
    found = [(name, value) for name, value in root.value if name.value == key]
    if not found:
        return text if values is None else _added(text, root, f"{key}: {_flow(values)}", before)
    name, value = found[0]
    if _line_start(text, name) + root.start_mark.column != name.start_mark.index:
        raise CannotEditError(f"`{key}` does not begin its line")
    between = text[name.end_mark.index : value.start_mark.index + 1]
    if re.search(r"[&*!#]", between) or value.start_mark.index < name.end_mark.index:
        raise CannotEditError(f"`{key}` has an anchor, an alias, a tag or a comment before its value")
    items = _items(text, value)
    written = text[value.start_mark.index : value.end_mark.index] if items is None else ""
    if "#" in written:
        raise CannotEditError(f"there is a comment inside `{key}`")
    if values is None:
        last = value.end_mark.index if items is None else items[-1].end_mark.index
        return text[: _line_start(text, name)] + text[_line_end(text, last) :]
    if items is not None:
        return _with_items(text, items, values)
    space = "" if text[value.start_mark.index - 1].isspace() else " "
    return text[: value.start_mark.index] + space + _flow(values) + text[value.end_mark.index :]


def _items(text: str, value: yaml.Node) -> list[yaml.Node] | None:
    """The items of a list with one a line; None for another value."""
    if not isinstance(value, yaml.SequenceNode) or value.flow_style:
        return None
    for item in value.value:
        before = text[_line_start(text, item) : item.start_mark.index]
        if not isinstance(item, yaml.ScalarNode) or not re.fullmatch(r"\s*- +", before):
            raise CannotEditError("its list has items that are not one word a line")
    return list(value.value)


def _with_items(text: str, items: Sequence[yaml.Node], values: Sequence[str]) -> str:
    first, last = items[0], items[-1]
    start, end = _line_start(text, first), _line_end(text, last.end_mark.index)
    indent = text[start : first.start_mark.index]
    newline = _newline(text)
    present = [item.value for item in items]
    kept = text[start:end] if text[:end].endswith("\n") else text[start:end] + newline
    for item in reversed(items):
        if item.value not in values:
            begin, stop = _line_start(text, item) - start, _line_end(text, item.end_mark.index) - start
            kept = kept[:begin] + kept[stop:]
    added = "".join(f"{indent}{value}{newline}" for value in values if value not in present)
    return text[:start] + kept + added + text[end:]


def _added(text: str, root: yaml.MappingNode, line: str, before: str | None) -> str:
    newline = _newline(text)
    line = " " * root.start_mark.column + line + newline
    for name, _ in root.value:
        place = _line_start(text, name)
        above = text[:place].splitlines()[-1:]
        if name.value == before and place > 0 and not above[0].lstrip().startswith("#"):
            return text[:place] + line + text[place:]
    return text + ("" if text.endswith("\n") else newline) + line


def _flow(values: Sequence[str]) -> str:
    return f"[{', '.join(values)}]"


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _line_start(text: str, node: yaml.Node) -> int:
    return text.rfind("\n", 0, node.start_mark.index) + 1


def _line_end(text: str, index: int) -> int:
    """The index after the line that `index` is in."""
    found = text.find("\n", index)
    return len(text) if found < 0 else found + 1
