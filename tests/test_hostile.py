"""Hostile strings in some places of every input; all of them by `python -m tests.hostile`."""

from __future__ import annotations

import pytest

from tests.hostile.fakes import FAKES
from tests.hostile.strings import STRINGS
from tests.support.printing import printed

pytestmark = pytest.mark.process


def test_nothing_hostile_gets_through() -> None:
    outcomes = printed("tests.hostile", "--few", "--json", "--jobs", "1")
    assert [(outcome["name"], outcome["problems"]) for outcome in outcomes if outcome["problems"]] == []
    assert len(outcomes) >= 30


def test_there_are_at_least_500_strings_and_no_two_alike() -> None:
    assert len({string.text for string in STRINGS}) == len({string.name for string in STRINGS}) == len(STRINGS) >= 500


@pytest.fixture(scope="module")
def leaks() -> dict[str, list[str]]:
    """The problems found with each fake command."""
    found: dict[str, list[str]] = printed("tests.hostile.fakes")
    return found


FOUND = {
    "well_behaved": None,
    "prints_it": "stdout: a CI takes this line for a command: '::error::owned'",
    "prints_it_to_stderr": r"stderr: a raw '\x1b'",
    "prints_it_within_a_line": "stdout: a CI takes this line for a command: 'case ##[error]owned",
    "begins_a_line_with_it": "stdout: a CI takes this line for a command: '  ::stop-commands",
    "annotates_twice": "stdout: 2 annotations where a harmless run has 1",
    "prints_bytes": "stdout: no UTF-8",
    "prints_half_a_character": "Traceback (most recent call last)': \"UnicodeEncodeError",
    "prints_much": "stdout: a line of 20000 characters",
    "raises": "'RuntimeError: our own mistake'",
    "says_it_is_a_bug": "stderr: 'not foreseen:'",
    "silent": "exit code 3 without a word",
    "another_code": "exit code 70",
    "page_with_it": 'report.html: 1 elements more than in a harmless run, such as [["b"]]',
    "page_with_it_in_an_attribute": "report.html: <img onerror='alert(1)'>",
    "page_with_it_as_a_link": r"report.html: <a href='java\tscript:alert(1)'>",
    "page_with_it_in_a_script": 'report.html: 2 elements more than in a harmless run, such as [["i"], ["script"',
    "summary_with_it": 'summary.md: 1 elements more than in a harmless run, such as [["details", "open"]]',
    "xml_with_it": "junit.xml: no XML",
    "json_with_it": "results.json: no JSON",
    "file_with_its_name": r"a file is named 'a\x1b[31mb'",
    "runs_it": "'owned' was made by a string that was run",
}


@pytest.mark.parametrize("fake", [fake.__name__ for fake, _ in FAKES])
def test_a_leak_is_found(leaks: dict[str, list[str]], fake: str) -> None:
    said = FOUND[fake]
    if said is None:
        assert leaks[fake] == []
    else:
        assert said in "\n".join(leaks[fake])
