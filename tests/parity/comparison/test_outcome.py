"""What is left of a case that something ended: all that was known of it, and why it ended."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from parity.case.load import load_case
from parity.comparison.outcome import cut_short, ended_itself
from parity.results.diagnosis import Closeness, Search
from tests.conftest import CaseFiles
from tests.support.report_cases import diagnosed_case, drifted_case, error_case


def test_nothing_that_is_known_of_a_case_is_lost(cases: CaseFiles, tmp_path: Path) -> None:
    case = load_case(cases.write("case"))
    assert cut_short(case, None, "it died", None).status == "error"
    assert cut_short(case, error_case(), "it died", "full").error == "it died"

    compared = replace(drifted_case(tmp_path), diagnosis=None)
    ended = cut_short(case, compared, "it died", "gains")
    assert replace(ended, diagnosis=None) == compared
    assert ended.diagnosis is not None
    assert (ended.diagnosis.mode, ended.diagnosis.error) == ("gains", "it died")

    whole = diagnosed_case(tmp_path / "whole")
    assert whole.diagnosis is not None
    assert cut_short(case, whole, "it died", "full") == replace(whole, notes=(*whole.notes, "it died"))
    amid = replace(whole, diagnosis=replace(whole.diagnosis, stopped="interrupted"))
    ended = cut_short(case, amid, "it died", "full")
    assert ended.diagnosis == replace(whole.diagnosis, stopped="error", error="it died", sentence="stopped: it died")


def test_a_search_that_was_cut_short_keeps_its_best(cases: CaseFiles) -> None:
    case = load_case(cases.write("case"))
    search = Search(
        verdict="not found",
        sentence="interrupted; so far: 30 dB",
        best=Closeness(identical=False, psnr=30.0),
        settings=(),
        recipe={},
        stopped="interrupted",
    )
    amid = replace(error_case(), status="drifted", error=None, search=search)
    ended = cut_short(case, amid, "it died", None)
    assert ended.search == replace(search, stopped="error", notes=("it died",))
    assert (ended.status, ended.diagnosis) == ("drifted", None)


def test_what_ended_a_case_is_said_once(cases: CaseFiles, tmp_path: Path) -> None:
    case = load_case(cases.write("case"))
    assert ended_itself(error_case())
    assert ended_itself(cut_short(case, replace(drifted_case(tmp_path), diagnosis=None), "it hung", "full"))
    assert not ended_itself(diagnosed_case(tmp_path / "whole"))
