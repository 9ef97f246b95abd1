"""A case's line is short, and a failing case says why below it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from pathlib import Path

import pytest

from parity.comparison.metrics import summarize
from parity.results.case import BaselineResult, CaseResult, Evidence, FindingResult, Status, TargetResult
from parity.terminal.case_line import case_line, reason
from parity.terminal.progress import Shown
from pipelines.ran import Ran
from tests.support.report_cases import drifted_case, error_case, passed_case, psnr, ssim, video


def line(result: CaseResult, *, kept: bool = False) -> str:
    return "  ".join(text for text, _ in case_line(result, kept=kept))


def found(factor: str, evidence: Evidence = "recipe") -> FindingResult:
    return FindingResult(factor=factor, preview="a", inference="b", note="", evidence=evidence)


@pytest.fixture
def expected(tmp_path: Path) -> CaseResult:
    """What nearly every case of a real job looks like."""
    return dataclasses.replace(
        drifted_case(tmp_path),
        id="t2v-guitar-reference",
        status="expected_drift",
        verdict="differs exactly as expected in scheduler, lora_application, precision (PSNR 33.83 dB, worst 31.28; …)",
        metrics={"psnr": psnr([33.83]), "ssim": ssim([0.9137])},
        findings=(found("scheduler"), found("lora_application"), found("precision")),
        timings={"total": 5.4},
        output=video(9),
    )


def test_an_expected_drift(expected: CaseResult) -> None:
    text = line(expected)
    assert text == (
        "ok  t2v-guitar-reference  expected drift: scheduler, lora_application, precision  PSNR 33.83 dB  SSIM 0.9137  "
        "5.4 s"
    )
    assert reason(expected) == []


def test_metrics_that_a_case_asked_for_are_told(expected: CaseResult) -> None:
    """VMAF is measured only then; LPIPS always, and is told if a tolerance limits it."""
    metrics = {**expected.metrics, "lpips": summarize("lpips", [0.0261]), "vmaf": summarize("vmaf", [91.5])}
    asked = dataclasses.replace(expected, metrics=metrics)
    assert "  PSNR 33.83 dB  SSIM 0.9137  VMAF 91.50  5.4 s" in line(asked)
    limited = dataclasses.replace(asked, tolerance={"lpips_max": 0.05})
    assert "  SSIM 0.9137  LPIPS 0.0261  VMAF 91.50  5.4 s" in line(limited)


def test_a_faithful_case(tmp_path: Path) -> None:
    assert line(passed_case(tmp_path)) == "ok  i2v  bit-identical  5.5 s"
    cached = dataclasses.replace(passed_case(tmp_path / "again"), drawn_before="2020-11-20T10:00:00+00:00")
    assert line(cached).startswith("ok  i2v  bit-identical  5.5 s, cached, generated 2020-11-20 ")
    assert line(cached, kept=True) == "ok  i2v  bit-identical  finished before --resume"


def test_a_drifted_case_says_its_numbers_once(expected: CaseResult) -> None:
    verdict = "psnr is 33.83, must be at least 40 (PSNR 33.83 dB, worst 31.28; SSIM 0.9137; differs in scheduler)"
    drifted = dataclasses.replace(expected, status="drifted", verdict=verdict)
    assert line(drifted).startswith(
        "DRIFTED  t2v-guitar-reference  differs in scheduler, lora_application, precision  PSNR"
    )
    assert reason(drifted) == ["psnr is 33.83, must be at least 40"]


@pytest.mark.parametrize(("status", "mark"), [("error", "ERROR"), ("unpairable", "UNPAIRABLE")])
def test_a_case_that_did_not_run_says_all_of_its_reason(status: Status, mark: str) -> None:
    failed = dataclasses.replace(error_case(), status=status, verdict="checkpoint x: not found (404)\n  set HF_TOKEN")
    assert line(failed).startswith(f"{mark}  broken")
    assert reason(failed) == ["checkpoint x: not found (404)", "  set HF_TOKEN"]


def test_what_did_not_run_as_asked_is_said_below_a_green_case(tmp_path: Path) -> None:
    result = passed_case(tmp_path)
    assert reason(result) == []
    missed = Ran(attention_backend="native", not_as_asked=("`compiled` was asked for, but no block ran so",))
    assert reason(dataclasses.replace(result, ran=missed)) == [
        "not as asked: `compiled` was asked for, but no block ran so"
    ]


def test_what_a_server_was_only_assumed_to_do_is_said(expected: CaseResult) -> None:
    findings = (found("scheduler", "expected"), found("precision", "expected"), found("lora_scale", "pixels"))
    served = dataclasses.replace(expected, findings=findings, target=TargetResult(url="http://gpu1:8000"))
    assert "  expected drift: scheduler, precision (assumed); lora_scale  PSNR" in line(served)
    assert line(served).endswith("  5.4 s, http://gpu1:8000")


def test_a_case_of_which_nothing_was_generated_says_what_was_found(expected: CaseResult) -> None:
    verdict = "predicted from settings; nothing generated (--quick); differs in scheduler"
    quick = dataclasses.replace(expected, output=None, metrics={}, verdict=verdict)
    assert line(quick) == "ok  t2v-guitar-reference  5.4 s"
    assert reason(quick) == [verdict]


def test_what_was_accepted_is_said(expected: CaseResult) -> None:
    accepted = BaselineResult(outcome="holds", status="drifted", verdict="…", accepted_at="2026-11-25T10:00:00+00:00")
    text = line(dataclasses.replace(expected, baseline=accepted))
    assert "  as accepted 2026-11-25: scheduler, lora_application, precision  PSNR 33.83 dB  SSIM" in text
    alike = dataclasses.replace(expected, baseline=accepted, findings=(), bit_identical=True)
    assert line(alike) == "ok  t2v-guitar-reference  as accepted 2026-11-25  bit-identical  5.4 s"


def shown(result: CaseResult, capsys: pytest.CaptureFixture[str]) -> str:
    with Shown() as progress:
        progress.case_finished(result)
    return capsys.readouterr().err


@pytest.mark.parametrize(("variable", "coloured"), [("FORCE_COLOR", True), ("NO_COLOR", False), ("CI", False)])
def test_colour_is_for_terminals_and_for_those_who_ask(
    expected: CaseResult,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    coloured: bool,
) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv(variable, "1")
    text = shown(dataclasses.replace(expected, status="drifted", verdict="too far [off] (PSNR 33.83 dB)"), capsys)
    assert ("\x1b[1;31mDRIFTED\x1b[0m" in text) is coloured
    assert "\x1b[?25l" not in text  # nothing of a live display
    assert "\x1b[2K" not in text
    assert text.splitlines()[-1].endswith("    too far [off]")  # brackets are no markup


def test_a_reader_that_went_away_is_an_error_like_any_other(
    expected: CaseResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    with contextlib.suppress(BrokenPipeError), os.fdopen(theirs, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        with pytest.raises(BrokenPipeError):
            Shown().case_finished(expected)


def test_a_long_line_is_not_broken_in_a_log(expected: CaseResult, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(dataclasses.replace(expected, id="a-very-long-name-" * 20), capsys)
    assert len(text.splitlines()) == 1
