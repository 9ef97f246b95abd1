"""Choosing cases: `-k EXPR` and `--tag`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from parity.case.load import DEMO, Case, load_case, load_cases
from parity.case.select import select
from pipelines.errors import CaseError, UsageError
from tests.conftest import CaseFiles
from tests.support.hub import Hub

NAMES = {
    "t2v-guitar": ("t2v", "smoke"),
    "t2v-notebook": ("t2v", "slow"),
    "i2v-cat": ("i2v", "smoke"),
    "I2V-Waving": ("i2v", "Nightly"),
}


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    case = load_case(DEMO / "t2v-guitar-faithful.yaml")
    return [dataclasses.replace(case, id=name, tags=tags) for name, tags in NAMES.items()]


@pytest.fixture
def case_files(tmp_path: Path) -> CaseFiles:
    """`cases` of the other tests, a name that means the loaded ones here."""
    return CaseFiles(tmp_path)


def ids(cases: list[Case]) -> list[str]:
    return [case.id for case in cases]


GUITAR, NOTEBOOK, CAT, WAVING = NAMES


@pytest.mark.parametrize(
    ("expression", "chosen"),
    [
        ("guitar", [GUITAR]),
        ("GUITAR", [GUITAR]),
        ("waving", [WAVING]),
        ("nightly", [WAVING]),
        ("t2v-", [GUITAR, NOTEBOOK]),
        ("2v", [GUITAR, NOTEBOOK, CAT, WAVING]),
        ("smoke", [GUITAR, CAT]),
        ("not smoke", [NOTEBOOK, WAVING]),
        ("not not smoke", [GUITAR, CAT]),
        ("guitar or cat", [GUITAR, CAT]),
        ("cat or guitar", [GUITAR, CAT]),
        ("t2v and smoke", [GUITAR]),
        ("t2v and not smoke", [NOTEBOOK]),
        ("not t2v and smoke", [CAT]),
        ("not (t2v and smoke)", [NOTEBOOK, CAT, WAVING]),
        ("not(t2v or smoke)", [WAVING]),
        ("cat or t2v and slow", [NOTEBOOK, CAT]),
        ("(cat or t2v) and slow", [NOTEBOOK]),
        ("slow and t2v or cat", [NOTEBOOK, CAT]),
        ("slow and (t2v or cat)", [NOTEBOOK]),
        ("guitar or notebook or cat", [GUITAR, NOTEBOOK, CAT]),
        ("t2v and smoke and guitar", [GUITAR]),
        ("((guitar))", [GUITAR]),
        ("  guitar  ", [GUITAR]),
        ("notebook", [NOTEBOOK]),  # a word that starts with a keyword is a word
        ("guitar or not i2v and slow", [GUITAR, NOTEBOOK]),
    ],
)
def test_expression(cases: list[Case], expression: str, chosen: list[str]) -> None:
    assert ids(select(cases, expression, [])) == chosen


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "   ",
        "and",
        "or",
        "not",
        "guitar and",
        "guitar or",
        "and guitar",
        "or guitar",
        "guitar and or cat",
        "guitar cat",
        "guitar not cat",
        "(guitar",
        "guitar)",
        "()",
        ")",
        "(guitar or cat",
        "guitar (cat)",
        "not (",
        "(guitar) cat",
        "((guitar)",
        "(guitar))",
    ],
)
def test_malformed_expression(cases: list[Case], expression: str) -> None:
    with pytest.raises(UsageError, match=r"^-k ") as caught:
        select(cases, expression, [])
    assert repr(expression) in str(caught.value)
    assert caught.value.exit_code == 2


def test_malformed_expression_is_no_crash_however_deep(cases: list[Case]) -> None:
    with pytest.raises(UsageError):
        select(cases, "(" * 100_000, [])


@pytest.mark.parametrize(
    ("tags", "chosen"),
    [
        ([], [GUITAR, NOTEBOOK, CAT, WAVING]),
        (["smoke"], [GUITAR, CAT]),
        (["slow", "i2v"], [NOTEBOOK, CAT, WAVING]),
    ],
)
def test_tags(cases: list[Case], tags: list[str], chosen: list[str]) -> None:
    assert ids(select(cases, None, tags)) == chosen


@pytest.mark.parametrize("tag", ["smo", "guitar", "nightly"])
def test_tag_is_matched_whole(cases: list[Case], tag: str) -> None:
    with pytest.raises(CaseError):
        select(cases, None, [tag])


def test_expression_and_tag_must_both_match(cases: list[Case]) -> None:
    assert ids(select(cases, "t2v", ["smoke"])) == [GUITAR]


@pytest.mark.parametrize(
    ("expression", "tags", "asked"),
    [
        ("piano", [], "-k 'piano'"),
        ("guitar and cat", [], "-k 'guitar and cat'"),
        (None, ["gone"], "--tag gone"),
        ("cat", ["slow"], "-k 'cat' and --tag slow"),
    ],
)
def test_nothing_matched_says_what_there_is(
    cases: list[Case], expression: str | None, tags: list[str], asked: str
) -> None:
    with pytest.raises(CaseError) as caught:
        select(cases, expression, tags)
    assert asked in str(caught.value)
    assert all(name in str(caught.value) for name in NAMES)
    assert caught.value.exit_code == 2


def test_cases_that_are_not_selected_need_nothing(case_files: CaseFiles, hub: Hub) -> None:
    """Neither their checkpoint on the Hub nor their files: only the case file itself is read."""
    hub.down = True
    elsewhere = {"checkpoint": "somebody/wan", "pipeline": "reference"}
    paths = [
        case_files.write("here", tags=["local"]),
        case_files.write("away", **elsewhere),
        case_files.write("without-video", preview={"config": "gone/config.yaml", "sample": 0, "video": "gone.webp"}),
    ]
    assert ids(load_cases(paths, expression="here")) == ["here"]
    assert ids(load_cases(paths, tags=["local"])) == ["here"]
    assert hub.requests == []
    with pytest.raises(CaseError, match=r"gone(.|\n)*does not exist"):
        load_cases(paths, expression="without")


def test_a_hub_that_is_away_is_said_once(case_files: CaseFiles, hub: Hub) -> None:
    hub.down = True
    paths = [case_files.write(name, checkpoint="somebody/wan", pipeline="reference") for name in ("a", "b", "c")]
    with pytest.raises(CaseError) as caught:
        load_cases(paths)
    assert str(caught.value).count("could not be fetched from the Hub") == 1
    assert f"somebody/wan is needed by 3 cases: {paths[0]}, {paths[1]}, {paths[2]}" in str(caught.value)


def test_mistakes_in_files_that_cannot_be_read_are_reported_with_the_others(case_files: CaseFiles) -> None:
    broken = case_files.write("broken", colour="red")
    video = case_files.write("video", preview={"config": "gone.yaml", "sample": 0, "video": "gone.webp"})
    with pytest.raises(CaseError) as caught:
        load_cases([broken, video])
    assert "colour" in str(caught.value)
    assert "gone.yaml does not exist" in str(caught.value)
    with pytest.raises(CaseError, match="colour"):
        load_cases([broken], expression="anything")
