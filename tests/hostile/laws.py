"""What must hold for every text that a command prints or writes, whatever was in its inputs."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import yaml

from tests.hostile.pages import markdown_problems, page_problems

LINE = 10_000
"""The most characters of a printed line."""
OUTPUT = 1 << 20
"""The most bytes of an output that is not asked for as data (`--json`)."""

# C0 and C1 but for ends of lines and tabs, what turns the direction of text, separators of lines, halves of characters.
CONTROL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

# GitHub's runner takes a line for a command that begins with :: after white space, or has ##[ anywhere; Azure's agent
# one that has ##vso[ or ##[, TeamCity's one that has ##teamcity[. GitLab's need a \r and an ESC.
_COMMAND = re.compile(r"^\s*::|##\[|##vso\[|##teamcity\[")
_OURS = re.compile(r"::(error|warning|notice) (file=[^,:\r\n]*,)?title=[^,:\r\n]*::[^\r\n]*")
"""An annotation of `parity`, whose parameters are escaped."""

_BUG = ("Traceback (most recent call last)", "not foreseen:", "please report it to the project")


def decoded(name: str, data: bytes) -> tuple[str, list[str]]:
    """The text of an output, and a problem if it is no UTF-8."""
    try:
        return data.decode(), []
    except UnicodeDecodeError as error:
        return data.decode(errors="replace"), [f"{name}: no UTF-8: {data[error.start - 20 : error.end + 20]!r}"]


def printed_problems(name: str, data: bytes, *, is_json: bool = False, annotations: int = 0) -> list[str]:
    """List what must not stand in an output: `name` is stdout, stderr or a log. `annotations`: how many it may have."""
    text, found = decoded(name, data)
    found += plain_problems(name, text)
    lines = text.split("\n")
    ours = [line for line in lines if _OURS.fullmatch(line)] if annotations else []
    if len(ours) > annotations:
        found.append(f"{name}: {len(ours)} annotations where a harmless run has {annotations}: {ours[-1][:200]!r}")
    for line in lines:
        if _COMMAND.search(line) and not (annotations and _OURS.fullmatch(line)):
            found.append(f"{name}: a CI takes this line for a command: {line[:200]!r}")
            break
    if not is_json:
        longest = max(lines, key=len)
        if len(longest) > LINE:
            found.append(f"{name}: a line of {len(longest)} characters: {longest[:120]!r}")
        if len(data) > OUTPUT:
            found.append(f"{name}: {len(data) >> 10} KiB")
    elif text.strip():
        try:
            json.loads(text)
        except ValueError as error:
            found.append(f"{name}: no JSON: {error}")
    return found


def plain_problems(name: str, text: str) -> list[str]:
    """Control characters, and messages that only a bug has."""
    found = []
    control = CONTROL.search(text)
    if control is not None:
        found.append(f"{name}: a raw {control[0]!a} in {text[max(0, control.start() - 60) : control.end() + 40]!a}")
    for word in _BUG:
        if word in text:
            found.append(f"{name}: {word!r}: {_line_with(text, word)}")
            break
    return found


def file_problems(path: Path, name: str, twin: Path | None = None) -> list[str]:
    """List what is wrong with a written file. `twin`: the same file of a harmless run."""
    found = [] if CONTROL.search(path.name) is None else [f"a file is named {name[:300]!a}"]
    if path.name == "owned":
        found.append(f"{name!a} was made by a string that was run")
    if not path.is_file():
        return found
    data, other = path.read_bytes(), None if twin is None else twin.read_bytes()
    match path.suffix:
        case ".html":
            found += page_problems(name, data, other)
        case ".md":
            found += markdown_problems(name, data, other)
            found += plain_problems(name, decoded(name, data)[0].replace("\x0b", " "))
        case ".xml":
            found += _xml_problems(name, data)
        case ".json" | ".jsonl":
            found += _json_problems(name, data, lines=path.suffix == ".jsonl")
        case ".yaml":
            found += _yaml_problems(name, data)
    return found


def _xml_problems(name: str, data: bytes) -> list[str]:
    try:
        ET.fromstring(data)
    except ET.ParseError as error:
        return [f"{name}: no XML: {error}"]
    return []


def _json_problems(name: str, data: bytes, *, lines: bool) -> list[str]:
    try:
        for text in data.splitlines() if lines else (data,):
            json.loads(text)
    except ValueError as error:
        return [f"{name}: no JSON: {error}"]
    return []


def _yaml_problems(name: str, data: bytes) -> list[str]:
    try:
        yaml.safe_load(data)
    except (yaml.YAMLError, ValueError) as error:
        return [f"{name}: no YAML: {str(error)[:200]!r}"]
    return []


def _line_with(text: str, word: str) -> str:
    lines: Sequence[str] = text.splitlines()
    if word.startswith("Traceback"):
        return ascii(next((line for line in reversed(lines) if line.strip()), "")[:300])
    return ascii(next((line for line in lines if word in line), "")[:300])
