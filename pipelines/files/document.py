"""Reads YAML and JSON files and records the line of each value, so that errors can name it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.errors import CaseError
from pipelines.files.words import cannot_read, sentence, shorten

MAX_BYTES = 16 << 20
"""The largest file that is read. It leaves space for control images as base64."""

MAX_NODES = 100_000
"""The most values in one document, with aliases expanded; it stops a bomb of nested aliases."""

MAX_CHARACTERS = 2 * MAX_BYTES
"""The most characters of all texts and keys together, with aliases expanded: 16 MiB and 90,000 aliases of it are
1.5 TB."""

_MAX_DIGITS = 100
"""The most characters of a number. The time to read YAML's base-60 and hexadecimal numbers grows with the square of
their length."""

_MAX_SHOWN = 600
"""The most characters of a message: a value in the file may have any length."""

KeyPath = tuple[str | int, ...]


class _TooManyError(Exception):
    """The document has more nodes than allowed. `line` is where the limit was exceeded."""

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads 1e-4 as a number, as ai-toolkit's loader does (toolkit/config.py at 27a03a91).

    It stops at MAX_NODES while it composes, because a node takes a hundred times the memory of its text.
    """

    nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise _TooManyError(self.line + 1)
        node: yaml.Node | None = super().compose_node(parent, index)
        return node


# A copy, so that registering the exponent form does not change yaml.SafeLoader.
_Loader.yaml_implicit_resolvers = {k: list(v) for k, v in yaml.SafeLoader.yaml_implicit_resolvers.items()}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d[\d_]*(?:\.[\d_]*)?[eE][-+]?\d+$"), list("-+0123456789")
)

_TAG = "tag:yaml.org,2002:"
_SCALARS = {_TAG + name for name in ("int", "float", "bool", "null")}
_PLAIN = _SCALARS | {_TAG + name for name in ("str", "map", "seq", "timestamp", "merge", "value")}


def show_path(path: KeyPath) -> str:
    """Format a path: `("prompts", 0, "width")` becomes `prompts[0].width`."""
    out = ""
    for part in path:
        out += f"[{part}]" if isinstance(part, int) else f".{part}" if out else part
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A parsed file: plain Python data, and the line of every key and item in it."""

    path: Path
    data: Any
    lines: Mapping[KeyPath, int]

    def error(self, where: KeyPath, message: str) -> CaseError:
        """Return a CaseError that names the file, the line of `where` (or of the nearest parent) and the key."""
        probe = where
        while probe and probe not in self.lines:
            probe = probe[:-1]
        line = self.lines.get(probe, 1)
        key = f"{_cut(show_path(where))}: " if where else ""
        return CaseError(f"{self.path}:{line}: {key}{_cut(message)}")


def _cut(text: str) -> str:
    return shorten(text, _MAX_SHOWN)


def read(path: Path, *, duplicate_keys: bool = False) -> Document:
    """Read a YAML or JSON file.

    With `duplicate_keys` the last one wins, as in ai-toolkit's loader of job configs.

    Raises CaseError if the file is missing, too large, not UTF-8 or not YAML, uses YAML tags, or contains more than
    MAX_NODES values.
    """
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise CaseError(f"{path}: is not a file")
        if size > MAX_BYTES:
            raise CaseError(f"{path}: {size / 1e6:.0f} MB is too large for a config (limit {MAX_BYTES >> 20} MiB)")
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CaseError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start})") from None
    except (OSError, ValueError) as error:
        raise CaseError(cannot_read(path, error)) from None
    return parse(path, text, duplicate_keys=duplicate_keys)


def parse(path: Path, text: str, *, duplicate_keys: bool = False) -> Document:
    """Read the text of a file at `path`, which need not exist. Raises CaseError as `read`."""
    if path.suffix == ".json" or text.lstrip().startswith("{"):
        text = text.replace("\t", " ")  # JSON allows indentation with tabs, YAML does not; JSON strings contain none
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise CaseError(f"{path}:{mark.line + 1 if mark else 1}: not valid YAML: {_cut(str(error.problem))}") from None
    except yaml.YAMLError as error:
        raise CaseError(f"{path}: not valid YAML: {sentence(error)}") from None
    except RecursionError:
        raise CaseError(f"{path}:{loader.line + 1}: is nested too deeply for a case or config") from None
    except _TooManyError as error:
        raise CaseError(f"{path}:{error.line}: more than {MAX_NODES} values; this is not a case or config") from None
    builder = _Builder(path, loader, duplicate_keys)
    data = None if node is None else builder.build(node, ())
    return Document(path=path, data=data, lines=builder.lines)


class _Builder:
    """Turns YAML nodes into plain data and records their lines."""

    def __init__(self, path: Path, loader: _Loader, duplicate_keys: bool) -> None:
        self.path = path
        self.loader = loader
        self.duplicate_keys = duplicate_keys
        self.lines: dict[KeyPath, int] = {}
        self.count = 0
        self.characters = 0
        self.merging: set[int] = set()

    def build(self, node: yaml.Node, where: KeyPath) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(where, line)
        self.count += 1
        if self.count > MAX_NODES or len(where) > 100:
            raise CaseError(
                f"{self.path}:{line}: more than {MAX_NODES} values or 100 levels; this is not a case or config"
            )
        if node.tag not in _PLAIN:
            raise CaseError(f"{self.path}:{line}: YAML tag {node.tag} is not allowed; write plain values")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, where)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, (*where, i)) for i, child in enumerate(node.value)]
        if node.tag in _SCALARS:
            try:
                if len(node.value) > _MAX_DIGITS:
                    raise ValueError
                return self.loader.construct_object(node)
            except (ValueError, KeyError, yaml.YAMLError):
                kind = node.tag.removeprefix(_TAG)
                shown = node.value if len(node.value) <= _MAX_DIGITS else f"{node.value[:20]}…"
                raise CaseError(
                    f"{self.path}:{line}: {_cut(show_path(where))}: {shown!r} is not a valid {kind}"
                ) from None
        self._take(len(node.value), line)
        return _whole_characters(node.value)  # strings, and dates as they are written

    def _take(self, characters: int, line: int) -> None:
        self.characters += characters
        if self.characters > MAX_CHARACTERS:
            raise CaseError(
                f"{self.path}:{line}: more than {MAX_CHARACTERS:,} characters once its aliases are "
                "expanded; this is not a case or config"
            )

    def _mapping(self, node: yaml.MappingNode, where: KeyPath) -> dict[str, Any]:
        out: dict[str, Any] = {}
        defaults: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == f"{_TAG}merge":
                sources = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                for source in sources:
                    if not isinstance(source, yaml.MappingNode):
                        raise CaseError(f"{self.path}:{line}: {show_path((*where, '<<'))}: must name a mapping")
                    if id(source) in self.merging:
                        raise CaseError(f"{self.path}:{line}: {show_path((*where, '<<'))}: is merged into itself")
                    self.merging.add(id(source))
                    for name, value in self.build(source, where).items():
                        defaults.setdefault(name, value)  # the first source wins
                    self.merging.discard(id(source))
                continue
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag not in _PLAIN:
                raise CaseError(f"{self.path}:{line}: keys must be plain words")
            self._take(len(key_node.value), line)
            key = _whole_characters(key_node.value)
            if key in out and not self.duplicate_keys:
                raise CaseError(f"{self.path}:{line}: {show_path((*where, key))} occurs twice in this mapping")
            self.lines[*where, key] = line
            out[key] = self.build(value_node, (*where, key))
        return defaults | out


def _whole_characters(text: str) -> str:
    """Join what JSON escapes as two surrogates, such as an emoji; half a character is replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
