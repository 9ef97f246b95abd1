"""Prompts as ComfyUI reads them: weights against its own tokenizer's answers (facts of a125cd84), the rest refused."""

from __future__ import annotations

import pytest

from pipelines.comfyui_text import escaped, not_known, segments, unescaped, weighted
from pipelines.errors import UnreproducibleError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("red square", [("red square", 1.0)]),
        ("a (red) square", [("a ", 1.0), ("red", 1.1), (" square", 1.0)]),
        ("a (red:1.5) square", [("a ", 1.0), ("red", 1.5), (" square", 1.0)]),
        ("a ((red)) square", [("a ", 1.0), ("red", 1.21), (" square", 1.0)]),
        (r"a \(red\) square", [("a (red) square", 1.0)]),
        ("[red] square", [("[red] square", 1.0)]),
        ("embedding:foo square", [("embedding:foo square", 1.0)]),
        (r"C:\red, (a \(dark\) red)", [(r"C:\red, ", 1.0), ("a (dark) red", 1.1)]),
        ("(a (b) c)", [("a ", 1.1), ("b", 1.21), (" c", 1.1)]),
        ("()", []),
    ],
)
def test_weights(text: str, expected: list[tuple[str, float]]) -> None:
    assert [(segment.text, round(segment.weight, 6)) for segment in segments(text)] == expected
    assert not_known(text) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("smile :)", "none opens"),
        ("red (square", "none closes"),
        ("((red:1.4))", "nested parentheses with a number"),
        ("(a (red:1.4) square)", "nested parentheses with a number"),
        ("((red) square:1.4)", "nested parentheses with a number"),
        ("(red: (square))", "colon"),
        ("(red: 1.4)", "colon"),
        ("(red:-1)", "colon"),
        ("(red:nan)", "colon"),
        ("(ratio 4:3:1.4)", "colon"),
        (r"a \\(red\\)", "two backslashes"),
    ],
)
def test_what_was_never_measured_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UnreproducibleError, match=reason):
        segments(text)
    assert reason in (not_known(text) or "")
    assert weighted(text) or "backslash" in reason


@pytest.mark.parametrize("text", ["a red square", "a (red) square", "smile :) (twice:2)", "[trigger] C:\\red", "((("])
def test_an_escaped_text_is_read_as_it_stands(text: str) -> None:
    assert not weighted(escaped(text))
    assert unescaped(escaped(text)) == text
    assert segments(escaped(text))[0].text == text
    assert len(segments(escaped(text))) == 1


def test_what_is_weighted() -> None:
    assert weighted("a (red) square")
    assert not weighted(r"a \(red\) square")
    assert not weighted("a red square")


def test_a_backslash_before_a_parenthesis_cannot_be_escaped() -> None:
    with pytest.raises(UnreproducibleError, match="backslash"):
        escaped(r"a \(red\) square")
