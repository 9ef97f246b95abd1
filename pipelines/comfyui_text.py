r"""How ComfyUI reads a prompt: parentheses are weights, `\(` and `\)` are characters, and nothing is cleaned.

Measured on ComfyUI a125cd84 (0.3.64, 2025-10-12). Only what was measured is read; any other use of parentheses has a
reason in `not_known`. Square brackets and `embedding:name` are plain text for Wan's tokenizer. `{a|b}` too: ComfyUI's
browser page, which was not run, chooses one of the two before it sends the graph.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipelines.errors import UnreproducibleError

PARENTHESES = 1.1
"""The weight of `(words)`; that of `((words))` is its square."""

MAX_WEIGHT = 1000.0
"""The largest weight that is read. Numbers of 400 digits, and 7500 parentheses, would be beyond any float."""

_PARTS = re.compile(r"\\[()]|[()]|[^()\\]+|\\")
_NUMBERED = re.compile(r"(?P<words>[^:]+):(?P<weight>[0-9]+(\.[0-9]+)?)")
_EXAMPLE = r"write a weight as (words:1.4), and a parenthesis that is none as \( or \)"


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a prompt with one weight; each is tokenized on its own."""

    text: str
    """Without the parentheses and the number of its weight; its blanks are kept."""
    weight: float = 1.0
    """At another than 1, a token's embedding is the empty prompt's plus `weight` times its distance to that."""


def weighted(text: str) -> bool:
    r"""True if ComfyUI takes parentheses in the text as weights, not as characters: if any is not written `\(` or `\)`.

    It is also True where `not_known` has a reason.
    """
    return any(part in "()" for part in _PARTS.findall(text))


def escaped(text: str) -> str:
    r"""Return the text with a backslash before each parenthesis, so that ComfyUI takes it as it stands.

    Raises UnreproducibleError for a backslash right before a parenthesis: it is not known how ComfyUI reads two.
    """
    if re.search(r"\\[()]", text):
        raise UnreproducibleError(
            f"{_short(text)}: a backslash right before a parenthesis: whether ComfyUI can be given that text is not "
            "known; remove the backslash"
        )
    return re.sub(r"([()])", r"\\\1", text)


def unescaped(text: str) -> str:
    r"""Return the characters that ComfyUI reads in a text without weights: `\(` and `\)` without their backslash."""
    return re.sub(r"\\([()])", r"\1", text)


def not_known(text: str) -> str | None:
    """Say why it is not known how ComfyUI reads a text; None if it is known."""
    try:
        segments(text)
    except UnreproducibleError as error:
        return str(error)
    return None


def segments(text: str) -> tuple[Segment, ...]:
    """Return the segments of a prompt, in order. Raises UnreproducibleError for what was never measured."""
    if re.search(r"\\\\[()]", text):
        raise _never_measured(text, "two backslashes before a parenthesis", "leave them out")
    found: list[Segment] = []
    words, depth, simple = "", 0, False
    for part in [*_PARTS.findall(text), ""]:
        if part not in ("(", ")", ""):
            words += part
            continue
        weight = PARENTHESES ** min(depth, 100)  # then far above MAX_WEIGHT
        if depth and ":" in words:
            number = _NUMBERED.fullmatch(words)
            if number is None:
                raise _never_measured(text, "a colon in parentheses that is not the one before a number", _EXAMPLE)
            if part != ")" or not simple:
                raise _never_measured(text, "nested parentheses with a number", "use one pair, with the whole weight")
            words, weight = number["words"], float(number["weight"])
        if words and weight > MAX_WEIGHT:
            raise _never_measured(text, f"a weight above {MAX_WEIGHT:g}", "use a smaller one")
        if words:
            found.append(Segment(unescaped(words), weight))
        words = ""
        simple = part == "(" and depth == 0  # true until another parenthesis opens or closes
        depth += {"(": 1, ")": -1, "": 0}[part]
        if depth < 0:
            raise _never_measured(text, "a closing parenthesis that none opens", r"write it as \)")
    if depth:
        raise _never_measured(text, "an opening parenthesis that none closes", r"write it as \(")
    return tuple(found)


def _never_measured(text: str, what: str, instead: str) -> UnreproducibleError:
    return UnreproducibleError(f"prompt {_short(text)}: {what}: how ComfyUI reads that is not known; {instead}")


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}…")
