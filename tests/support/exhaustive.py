"""Mappings keyed by a Literal, wherever a module of the packages declares one: found by their annotation."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from tests.structure import sources


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyed:
    """A mapping `name: dict[Some Literal, …] = …` at the top of a module."""

    name: str
    """With its module's."""
    keys: frozenset[Any]
    possible: frozenset[Any]

    @property
    def missing(self) -> frozenset[Any]:
        """Values of the Literal that it has no entry for."""
        return self.possible - self.keys


def keyed_by_literal() -> Iterator[Keyed]:
    """Every such mapping of the packages. Imports the modules that hold one, and no other."""
    for path, text in sources().items():
        for name, key in declared(text):
            module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
            possible = _values(eval(key, vars(module)))
            if possible is not None:
                mapping: Mapping[Any, Any] = getattr(module, name)
                yield Keyed(name=f"{module.__name__}.{name}", keys=frozenset(mapping), possible=possible)


def _values(kind: Any) -> frozenset[Any] | None:
    """The values of a Literal, or of a union of one with None; None for any other type."""
    if get_origin(kind) is Literal:
        return frozenset(get_args(kind))
    optional = [part for part in get_args(kind) if part is not type(None)]
    if get_origin(kind) in (Union, UnionType) and len(optional) == 1 and get_origin(optional[0]) is Literal:
        return frozenset((*get_args(optional[0]), None))
    return None


def declared(text: str) -> Iterator[tuple[str, str]]:
    """Mappings annotated at the top of a module's text: their names, and the types of their keys as written."""
    for node in ast.parse(text).body:
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(node.annotation, ast.Subscript)
            and ast.unparse(node.annotation.value) in ("dict", "Mapping")
            and isinstance(node.annotation.slice, ast.Tuple)
            and (key := ast.unparse(node.annotation.slice.elts[0])) not in ("str", "int", "object", "Any")
        ):
            yield node.target.id, key
