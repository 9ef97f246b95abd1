"""JUnit XML of a run: what CI counts, and text that XML cannot hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

from parity.results.case import BaselineResult
from reports.junit import junit
from tests.support.report_cases import drifted_case, error_case, passed_case, run_of


def test_ci_counts_what_the_run_counts(tmp_path: Path) -> None:
    passed = passed_case(tmp_path)
    unpairable = replace(passed, id="quantized", status="unpairable")
    expected = replace(passed, id="known", status="expected_drift", verdict="differs in scheduler")
    run = run_of(passed, drifted_case(tmp_path), error_case(), unpairable, expected)
    suite = ET.fromstring(junit(run, Path("out/report.html")))[0]
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "5",
        "failures": "2",
        "errors": "1",
        "skipped": "0",
    }
    outcomes = {test.get("name"): {child.tag for child in test} - {"properties"} for test in suite.iter("testcase")}
    assert outcomes == {
        "i2v": set(),
        "t2v-guitar": {"failure"},
        "broken": {"error"},
        "quantized": {"failure"},
        "known": {"system-out"},
    }
    assert suite.find("testcase[@name='broken']/error").text.startswith("WeightsError: ")  # type: ignore[union-attr]
    reports = [one.get("value") for one in suite.iter("property") if one.get("name") == "report"]
    assert reports == ["out/report.html"] * 5


def test_any_text_is_read_back(tmp_path: Path) -> None:
    verdict = '<b> & "quoted" ]]> \x00\x1b\ufffe\ud800 \U0001f600'
    case = replace(drifted_case(tmp_path), verdict=verdict)
    run = replace(run_of(case), started="\x1b", command=("\x1b",), missing=("\x1b",))
    failure = next(ET.fromstring(junit(run)).iter("failure"))
    assert failure.get("message") == '<b> & "quoted" ]]> \\x00\\x1b\ufffd\\ud800 \U0001f600'


def test_what_baselines_let_pass_is_skipped_and_what_they_fail_is_a_failure(tmp_path: Path) -> None:
    passed = passed_case(tmp_path)
    let_pass = BaselineResult(outcome="unpairable", status="unpairable", verdict="quantized by qint4")
    lost = replace(let_pass, outcome="changed")
    run = run_of(
        *(replace(passed, status="unpairable", baseline=baseline) for baseline in (let_pass, lost)),
    )
    suite = ET.fromstring(junit(run))[0]
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["2", "1", "0", "1"]
