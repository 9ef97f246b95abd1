"""JSON whose numbers are numbers."""

from __future__ import annotations

import json

import pytest

from pipelines.files import strict_json


def test_reads_what_json_allows() -> None:
    text = '{"a": [1, -2.5, 1e-7, true, null, "NaN"], "b": 123456789012345678901234567890}'
    assert strict_json.loads(text) == json.loads(text)


@pytest.mark.parametrize(
    ("literal", "shown"),
    [
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("1e400", "1e400"),
        ("9" * 5000, "99999999… of 5000 digits"),
        ("0." + "1" * 200, "0.111111… of 202 digits"),
    ],
)
def test_a_number_of_no_use_is_refused_with_its_line(literal: str, shown: str) -> None:
    with pytest.raises(ValueError, match="not a usable number") as caught:
        strict_json.loads('{"a": "NaN 1e400",\n "b": 1,\n "c": [2, ' + literal + "]}")
    assert str(caught.value) == f"line 3: {shown} is not a usable number"


@pytest.mark.parametrize(
    ("text", "said"),
    [("[" * 100_000, "nested too deeply"), ("[" + "[]," * 2_000_001 + "[]]", "more than 4000000 values")],
)
def test_a_bomb_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        strict_json.loads(text)


def test_what_is_no_json_keeps_its_place() -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        strict_json.loads('{\n"a" 1}')
    assert caught.value.lineno == 2


def test_half_a_character_is_refused_with_its_line() -> None:
    assert strict_json.loads(r'["\ud83d\ude00", "\\ud800"]') == ["\U0001f600", r"\ud800"]
    for half in (r"\ud800", r"\udcff", r"\ud800x\ude00", r"\ude00\ud83d"):
        with pytest.raises(ValueError, match=r"line 2: .* is half a character"):
            strict_json.loads(f'["a",\n"{half}"]')
