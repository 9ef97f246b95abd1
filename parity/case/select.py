"""Cases chosen by `-k EXPR` and `--tag`, as in pytest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol, TypeVar

from pipelines.errors import CaseError, UsageError
from pipelines.files.words import listed, near

MAX_WORDS = 200
"""Longer -k expressions are refused."""
_MOST_LISTED = 20
"""Ids or tags that a message lists."""

_WORDS = re.compile(r"\(|\)|[^\s()]+")
_SYNTAX = ("(", ")", "and", "or", "not")


class Named(Protocol):
    """What a case is chosen by."""

    @property
    def id(self) -> str: ...

    @property
    def tags(self) -> tuple[str, ...]: ...


_Chosen = TypeVar("_Chosen", bound=Named)


def select(cases: Sequence[_Chosen], expression: str | None, tags: Sequence[str]) -> list[_Chosen]:
    """The cases whose id or tags match the expression, and that have one of the tags.

    `expression`: words with and, or, not and parentheses; a word matches part of an id or a tag.
    Raises UsageError for a malformed expression, CaseError if nothing matches.
    """
    chosen = [
        case
        for case in cases
        if (expression is None or _matches(expression, case)) and (not tags or set(tags) & set(case.tags))
    ]
    if not chosen:
        raise CaseError(f"no case matched {_asked(cases, expression, tags)}")
    return chosen


def _asked(cases: Sequence[Named], expression: str | None, tags: Sequence[str]) -> str:
    """What was asked for in vain, what was meant perhaps, and what there is."""
    ids, known = [case.id for case in cases], sorted({tag for case in cases for tag in case.tags})
    asked = " and ".join(filter(None, [f"-k {expression!r}" if expression else "", *(f"--tag {tag}" for tag in tags)]))
    meant = next((near(tag, known) for tag in tags if tag not in known), "")
    if not meant:
        names = [*ids, *known]
        parts = [part for name in names for part in re.split(r"[-_.]", name)]
        words = [word for word in _WORDS.findall(expression or "") if word not in _SYNTAX and not _is_in(word, names)]
        meant = next((near(word, [*names, *parts]) for word in words), "")
    return (
        f"{asked or 'anything'}{meant}\n  cases: {listed(ids, _MOST_LISTED)}\n"
        f"  tags: {listed(known, _MOST_LISTED) or 'none'}"
    )


def _is_in(word: str, names: Sequence[str]) -> bool:
    return any(word.lower() in name.lower() for name in names)


def _matches(expression: str, case: Named) -> bool:
    tokens = _WORDS.findall(expression)
    if len(tokens) > MAX_WORDS:
        raise UsageError(f"-k: an expression of {len(tokens)} words is too long (limit {MAX_WORDS})")
    names = (case.id, *case.tags)

    def either() -> bool:
        value = both()
        while tokens[:1] == ["or"]:
            tokens.pop(0)
            value = both() or value
        return value

    def both() -> bool:
        value = one()
        while tokens[:1] == ["and"]:
            tokens.pop(0)
            value = one() and value
        return value

    def one() -> bool:
        word = tokens.pop(0) if tokens else ""
        if word == "not":
            return not one()
        if word == "(":
            value = either()
            if tokens[:1] != [")"]:
                raise UsageError(f"-k {expression!r}: a parenthesis is not closed")
            tokens.pop(0)
            return value
        if word in ("", ")", "and", "or"):
            raise UsageError(f"-k {expression!r}: a word is missing")
        return _is_in(word, names)

    value = either()
    if tokens:
        raise UsageError(f"-k {expression!r}: cannot read from {tokens[0]!r}; join words with and, or, not")
    return value
