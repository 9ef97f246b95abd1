"""Cases chosen by `-k EXPR` and `--tag`, as in pytest."""

from __future__ import annotations

import re
from collections.abc import Sequence

from parity.case.load import Case
from pipelines.errors import CaseError, UsageError

MAX_WORDS = 200
"""Longer -k expressions are refused."""

_WORDS = re.compile(r"\(|\)|[^\s()]+")


def select(cases: Sequence[Case], expression: str | None, tags: Sequence[str]) -> list[Case]:
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
        asked = " and ".join(filter(None, [f"-k {expression!r}" if expression else "", *(f"--tag {t}" for t in tags)]))
        raise CaseError(f"no case matched {asked or 'anything'}; there are: {', '.join(case.id for case in cases)}")
    return chosen


def _matches(expression: str, case: Case) -> bool:
    tokens = _WORDS.findall(expression)
    if len(tokens) > MAX_WORDS:
        raise UsageError(f"-k: an expression of {len(tokens)} words is too long (limit {MAX_WORDS})")
    names = [name.lower() for name in (case.id, *case.tags)]

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
        return any(word.lower() in name for name in names)

    value = either()
    if tokens:
        raise UsageError(f"-k {expression!r}: cannot read from {tokens[0]!r}; join words with and, or, not")
    return value
