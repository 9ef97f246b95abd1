"""Baselines: what was accepted beside the video, and what that makes of a run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from parity.baselines.check import check_case
from parity.baselines.file import Baseline, accept, from_result, from_text, to_text
from parity.baselines.in_run import RunGate
from parity.baselines.noise import Noise
from parity.cli.main import main
from parity.pytest_plugin.wording import failure, why_xfail
from parity.results.case import BaselineResult, CaseResult, FindingResult, Status
from parity.results.json_text import from_json, to_json
from parity.results.next_steps import Place
from reports import view
from reports.github import summary, workflow_commands
from reports.render import render
from tests.support.baseline_samples import (
    ENVIRONMENT,
    OTHER,
    baseline_of,
    no_output,
    result,
    run_of,
    state,
    write_run,
)

TOLERANCE = {"psnr": 40.0, "ssim": 0.98}


def found(*factors: str) -> tuple[FindingResult, ...]:
    return tuple(FindingResult(factor=factor, preview="a", inference="b", note="") for factor in factors)


def case(status: Status = "drifted", *factors: str, **changes: Any) -> CaseResult:
    """A case that differs in the scheduler and lies out of tolerance."""
    values: dict[str, Any] = {"verdict": "psnr is 33.83, must be at least 40", "tolerance": TOLERANCE}
    return result(status=status, findings=found(*factors or ("scheduler",)), **values | changes)


def accepted(old: CaseResult) -> Baseline:
    acceptance = accept(old, at="2026-11-25T10:00:00+00:00", run_started="2026-11-25T09:00:00+00:00")
    return from_text(to_text(from_result(old, ENVIRONMENT, acceptance)))


def checked(new: CaseResult, old: CaseResult, environment: dict[str, Any] = ENVIRONMENT) -> BaselineResult:
    return check_case(new, environment, accepted(old))


def test_drift_that_was_accepted_is_green_while_nothing_changes() -> None:
    check = checked(case(), case())
    assert (check.outcome, check.problems, check.acceptable) == ("holds", (), False)
    assert (check.status, check.accepted_at) == ("drifted", "2026-11-25T10:00:00+00:00")


@pytest.mark.parametrize(
    ("new", "old", "said"),
    [
        (case(), case("passed"), "met its own expect and tolerance when it was accepted, and fails them now: psnr is"),
        (case(), case("expected_drift", expect=("scheduler",)), "expect [scheduler] -> not set"),
        (case(expect=("steps",)), case(), "rules changed since it was accepted (expect not set -> [steps]), so they"),
        (
            case(tolerance={"psnr": 45.0}),
            case(),
            "(tolerance {psnr: 40, ssim: 0.98} -> {psnr: 45}), so they count: psnr is 33.83",
        ),
        (case("drifted", "scheduler", "lora_scale"), case(), "also differs in lora_scale now"),
        (case("drifted", "lora_scale"), case("drifted", "scheduler", "lora_scale"), "no longer differs in scheduler"),
        (case("error", verdict="tolerance cannot be checked: lpips"), case("error"), "tolerance cannot be checked"),
    ],
)
@pytest.mark.parametrize("environment", [ENVIRONMENT, OTHER])
def test_equal_bits_do_not_excuse_a_changed_rule_or_factor(
    new: CaseResult, old: CaseResult, said: str, environment: dict[str, Any]
) -> None:
    check = checked(new, old, environment)
    assert check.outcome == "changed"
    assert any(said in problem for problem in check.problems), check.problems


@pytest.mark.parametrize(
    ("new", "old"),
    [
        (case("passed"), case()),  # improved its standing without a change: the rules were relaxed
        (case("expected_drift", expect=("scheduler",)), case()),
        (case("passed", tolerance={"psnr": 30.0}), case("passed")),
        (case("drifted", "scheduler", "environment"), case()),
        (case(expect=("a", "b")), case(expect=("b", "a"))),
    ],
)
def test_rules_that_are_met_or_the_same_change_nothing(new: CaseResult, old: CaseResult) -> None:
    assert checked(new, old).outcome == "holds"


def test_an_older_baseline_knows_no_factors_and_no_rules() -> None:
    old = baseline_of(case())
    assert '"factors": null' in to_text(old)
    drifted = dataclasses.replace(old, accepted=dataclasses.replace(old.accepted, status="drifted"))
    text = json.loads(to_text(drifted))
    for name in ("factors", "expect", "tolerance"):
        del text["accepted"][name]
    older = from_text(json.dumps(text))
    new = case("drifted", "steps", tolerance={"psnr": 99.0}, expect=("seed",))
    assert check_case(new, ENVIRONMENT, older).outcome == "holds"
    assert check_case(new, ENVIRONMENT, old).failed  # it had passed


def gate(*olds: CaseResult) -> RunGate:
    return RunGate(folder=Path("baselines"), baselines={old.id: accepted(old) for old in olds}, noise=Noise())


@pytest.mark.parametrize(
    ("new", "olds", "status", "said"),
    [
        (
            case(),
            [case()],
            "expected_drift",
            "as accepted 2026-11-25: differs in scheduler (PSNR 40.00 dB; SSIM 0.9800)",
        ),
        (
            case("passed", bit_identical=True),
            [case("passed")],
            "passed",
            "as accepted 2026-11-25: differs in scheduler",
        ),
        (
            case(frames="abcdXfghi"),
            [case()],
            "drifted",
            "changed since it was accepted 2026-11-25: frame 4 changed; the",
        ),
        (case("passed"), [], "drifted", "no baseline; by its own rules passed: psnr is"),
        (no_output(), [], "error", "could not be run: no weights"),
        (no_output(status="unpairable"), [case()], "unpairable", "no weights; accepted 2026-11-25"),
        (case("error"), [case("error")], "error", "changed since it was accepted 2026-11-25: psnr is"),
    ],
)
def test_status_and_verdict_follow_the_gate(new: CaseResult, olds: list[CaseResult], status: str, said: str) -> None:
    gated = gate(*olds)(new, ENVIRONMENT)
    assert gated.status == status
    assert said in gated.verdict
    assert gated.failed is (status not in ("passed", "expected_drift"))
    assert gated.baseline is not None
    assert gated.by_own_rules() == new
    assert gate(*olds)(gated, ENVIRONMENT) == gated  # as after --resume
    check = check_case(new, ENVIRONMENT, gate(*olds).baselines.get(new.id))
    assert check_case(gated, ENVIRONMENT, gate(*olds).baselines.get(new.id)) == check == gated.baseline
    assert from_json(to_json(run_of(gated))).cases == (gated,)


def test_an_unpairable_case_that_nobody_accepted_fails_no_run_with_baselines() -> None:
    unpairable = no_output(status="unpairable")
    assert run_of(unpairable).exit_code == 3
    gated = gate()(unpairable, ENVIRONMENT)
    assert (gated.status, gated.failed) == ("unpairable", False)
    assert run_of(gated).exit_code == 0
    assert run_of(gate(case())(unpairable, ENVIRONMENT)).exit_code == 3


def test_pytest_report_and_summary_follow_the_gate(tmp_path: Path) -> None:
    place = Place(results=Path("out/results.json"), command=("pytest",), baselines="baselines")
    held = gate(case())(case(), ENVIRONMENT)
    assert failure(held, place) == []
    assert str(why_xfail(held)).startswith("as accepted 2026-11-25")
    changed = gate(case())(case(frames="abcdXfghi"), ENVIRONMENT)
    lines = failure(changed, place)
    assert "      frame 4 changed" in lines
    assert lines[-1] == "if this is intended: parity baseline accept guitar --results out/results.json"
    left_alone = gate()(no_output(status="unpairable"), ENVIRONMENT)
    assert (failure(left_alone, place), why_xfail(left_alone)) == ([], "could not be run: no weights")
    run = run_of(held, changed, dataclasses.replace(left_alone, id="gone"))
    assert view.verdict(run) == "1 of 3 cases drifted unexpectedly."
    assert [view.tier(case) for case in run.cases] == ["expected_drift", "failed", "expected_drift"]
    assert "as accepted 2026-11-25" in render(run, tmp_path)
    assert len(workflow_commands(run)) == 1
    assert "changed since it was accepted 2026-11-25: frame 4 changed" in summary(run, tmp_path)


@pytest.mark.usefixtures("_in_an_empty_folder")
def test_accept_says_the_same_of_a_gated_run(capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for new in (case(), gate(case("passed"))(case(), ENVIRONMENT)):
        write_run(new)
        assert main(["baseline", "accept", "--all", "--dry-run"]) == 1
        assert main(["baseline", "accept", "guitar"]) == 0
        texts.append(
            (capsys.readouterr().out, {name: text.split('"run_started"')[1] for name, text in state().items()})
        )
        assert main(["baseline", "accept", "--all"]) == 0  # accepted by name before: nothing is left out
        Path("baselines/guitar.json").unlink()
        capsys.readouterr()
    assert texts[0] == texts[1]


@pytest.mark.usefixtures("_in_an_empty_folder")
def test_accepting_new_rules_with_equal_bits_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(case())
    assert main(["baseline", "accept", "guitar"]) == 0
    write_run(case(tolerance={"psnr": 45.0}))
    assert main(["baseline", "check"]) == 1
    capsys.readouterr()
    assert main(["baseline", "accept", "guitar"]) == 0
    assert "tolerance {psnr: 40, ssim: 0.98} -> {psnr: 45}" in capsys.readouterr().out
    assert main(["baseline", "check"]) == 0


@pytest.mark.usefixtures("_in_an_empty_folder")
def test_an_error_cannot_be_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(case("error"))
    assert main(["baseline", "accept", "guitar"]) == 2
    assert "guitar: an error cannot be accepted" in capsys.readouterr().err
    assert main(["baseline", "accept", "--all"]) == 1
    assert state() == {}


@pytest.fixture
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
