"""How long a case took, whatever was asked of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from parity.results.case import CaseResult, TargetResult
from parity.results.diagnosis import Cost, Diagnosis
from tests.support.report_cases import error_case, passed_case

COMPARED = {"read_preview": 0.5, "load": 2.0, "generate": 4.0, "compare": 0.5, "total": 7.0}
COST = Cost(planned=8, spent=8, denoising_steps=160, decodes=9, encodings=4, reused=4, loads=7, seconds=24.5)
WHY = Diagnosis(mode="full", sentence="", explained=None, cost=COST)


@pytest.fixture
def case(tmp_path: Path) -> CaseResult:
    return replace(passed_case(tmp_path), timings=COMPARED)


def test_the_comparison_alone(case: CaseResult) -> None:
    assert case.seconds == 7.0
    assert replace(case, timings={"generate": 3.0, "compare": 1.0}).seconds == 4.0
    assert error_case().seconds is None


def test_a_diagnosis_here_began_before_the_case_was_generated(case: CaseResult) -> None:
    assert replace(case, diagnosis=WHY).seconds == 0.5 + 24.5
    assert replace(case, diagnosis=replace(WHY, cost=None)).seconds == 7.0
    assert replace(case, diagnosis=replace(WHY, mode="quick"), timings={"total": 25.0}).seconds == 25.0


def test_a_diagnosis_of_a_server_began_after_its_answer(case: CaseResult) -> None:
    assert replace(case, diagnosis=WHY, target=TargetResult(url="http://gpu1:8000")).seconds == 7.0 + 24.5
