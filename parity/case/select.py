"""Choosing cases: `-k EXPR` and `--tag`, as pytest users know them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from parity.case.load import Case
from pipelines.errors import CaseError, UsageError

MAX_WORDS = 200
"""Longer -k expressions are refused."""

_WORDS = re.compile(r"\(|\)|[^\s()]+")


def select(cases: Sequence[Case], expression: str | None, tags: Sequence[str]) -> list[Case]:
    """Cases whose id or a tag contains what the expression asks for, and that have one of the tags.

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
    words = _WORDS.findall(expression)
    if len(words) > MAX_WORDS:
        raise UsageError(f"-k: an expression of {len(words)} words is too long (limit {MAX_WORDS})")
    names = [name.lower() for name in (case.id, *case.tags)]

    def either() -> bool:
        value = both()
        while words[:1] == ["or"]:
            words.pop(0)
            value = both() or value
        return value

    def both() -> bool:
        value = one()
        while words[:1] == ["and"]:
            words.pop(0)
            value = one() and value
        return value

    def one() -> bool:
        word = words.pop(0) if words else ""
        if word == "not":
            return not one()
        if word == "(":
            value = either()
            if words[:1] != [")"]:
                raise UsageError(f"-k {expression!r}: a parenthesis is not closed")
            words.pop(0)
            return value
        if word in ("", ")", "and", "or"):
            raise UsageError(f"-k {expression!r}: a word is missing")
        return any(word.lower() in name for name in names)

    value = either()
    if words:
        raise UsageError(f"-k {expression!r}: cannot read from {words[0]!r}; join words with and, or, not")
    return value
