"""What to type next: each step only where it applies, as few lines as possible."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from parity.cli.main import whole_parser
from parity.comparison.metrics import unavailable
from parity.results.case import BaselineResult, CaseResult, FindingResult, Status, TargetResult
from parity.results.comfyui import ComfyAdvice, ComfySetting
from parity.results.diagnosis import Closeness, Search
from parity.results.next_steps import Place, next_steps, of_baselines, run_command
from tests.support.baseline_samples import no_output, result, run_of

PLACE = Place(results=Path("out/results.json"), command=("parity", "run", "cases"), page=Path("out/report.html"))
WITH_BASELINES = replace(PLACE, baselines="baselines")


def found(*factors: str) -> tuple[FindingResult, ...]:
    return tuple(FindingResult(factor=factor, preview="a", inference="b", note="") for factor in factors)


def drifted(case_id: str = "guitar", *factors: str, **changes: Any) -> CaseResult:
    values: dict[str, Any] = {"status": "drifted", "case_file": f"cases/{case_id}.yaml"}
    return result(case_id, findings=found(*factors or ("scheduler",)), **values | changes)


def changed(case: CaseResult, *, acceptable: bool = True) -> CaseResult:
    status: Status = "passed"
    return replace(case, baseline=BaselineResult(outcome="changed", status=status, verdict="", acceptable=acceptable))


def said(*cases: CaseResult, place: Place = PLACE) -> list[str]:
    return list(map(str, next_steps(cases, place)))


def test_nothing_is_said_of_a_green_run() -> None:
    assert said(result(), result("known", status="expected_drift")) == []


def test_drift_is_explained_shown_and_expected() -> None:
    assert said(drifted()) == [
        "to see why: parity diagnose cases/guitar.yaml",
        "to look: open out/report.html",
        "if this is intended: parity expect cases/guitar.yaml --results out/results.json",
    ]


def test_with_baselines_it_is_accepted() -> None:
    accept = "if this is intended: parity baseline accept guitar --results out/results.json"
    assert said(changed(drifted()), place=WITH_BASELINES)[-1] == accept
    elsewhere = replace(PLACE, baselines="ci/baselines")
    assert said(changed(drifted()), place=elsewhere)[-1] == f"{accept} --baselines ci/baselines"
    assert not any("accept" in line for line in said(changed(drifted(), acceptable=False), place=WITH_BASELINES))


def test_several_cases_take_one_line_each_step() -> None:
    far = drifted("t2v_1", psnr=[20.0] * 9)
    cases = [drifted(f"t2v_{n}") for n in (2, 3, 4, 5)] + [far]
    assert said(*cases) == [
        "to see why (the worst of 5): parity diagnose cases/t2v_1.yaml",
        "to look: open out/report.html",
        "if this is intended: parity expect cases --results out/results.json",
    ]
    accept = "if this is intended: parity baseline accept {} --results out/results.json"
    gated = [changed(case) for case in cases]
    assert said(*gated, place=WITH_BASELINES)[-1] == accept.format("'t2v_*'")
    improved = BaselineResult(outcome="improved", status="passed", verdict="")
    other = result("t2v_9", baseline=improved)  # the pattern would accept this one too
    steps = said(*gated, other, place=WITH_BASELINES)
    assert steps[-2] == accept.format("t2v_2 t2v_3 t2v_4 t2v_5 t2v_1")
    assert steps[-1].startswith("to check against what improved: parity baseline accept t2v_9 ")


def test_what_cannot_be_compared_is_planned() -> None:
    metrics = {"psnr": unavailable("psnr", "5 frames, the preview has 9")}
    assert said(drifted(metrics=metrics))[0] == "to see what differs: parity plan cases/guitar.yaml"


def test_an_explained_case_is_not_explained_again_and_a_servers_names_it() -> None:
    search = Search(verdict="not found", sentence="", best=Closeness(identical=False), settings=(), recipe={})
    assert not any("to see" in line for line in said(drifted(search=search)))
    target = TargetResult(url="http://gpu1:8000", arguments=("--target", "http://gpu1:8000"))
    there = drifted(target=target)
    assert said(there)[0] == "to see why: parity diagnose cases/guitar.yaml --target http://gpu1:8000"


def test_what_to_change_in_comfyui_is_one_command() -> None:
    shift = ComfySetting(node="ModelSamplingSD3 48", kind="ModelSamplingSD3", name="shift", value="3", now="8")
    codec = ComfySetting(node="SaveVideo 58", kind="SaveVideo", name="file", value="webp", now="mp4")
    wrong = ComfyAdvice(answer="", changes=(shift, codec))
    found = said(drifted(comfyui=wrong), drifted("far", psnr=[20.0] * 9, comfyui=wrong))
    assert found[1] == "what to change in ComfyUI: parity explain --comfyui cases/far.yaml"
    alone = said(drifted(comfyui=ComfyAdvice(answer="", changes=(codec,))))
    assert not any("ComfyUI" in line for line in alone)


def test_what_no_factor_explains_needs_another_tolerance() -> None:
    alone = drifted("guitar", "environment")
    assert said(alone)[-1] == "if this is intended, change `tolerance` or `expect` in the case file of guitar"
    expects = drifted(expect=("scheduler",))
    assert said(expects)[-1].startswith("if this is intended, change `tolerance`")


def test_errors_and_unpairable_cases_have_their_own() -> None:
    error, unpairable = no_output("broken"), no_output("gone", status="unpairable")
    assert said(error, unpairable)[1:] == [
        "broken could not be run; once that is fixed: parity run cases --resume --out out",
        "gone: cannot be reproduced; delete the case file, or check with --baselines, which passes it",
    ]
    tested = replace(PLACE, command=("pytest", "--parity-cases", "cases", "--parity-out", "out"))
    assert said(error, place=tested)[-1].endswith("pytest --parity-cases cases --parity-out out --parity-resume")
    assert not any("resume" in line for line in said(error, place=replace(PLACE, resumable=False)))
    worst = [drifted(), drifted("b", "environment"), error, unpairable]
    assert len(said(*worst)) == 6


@pytest.mark.parametrize("place", [PLACE, WITH_BASELINES])
def test_every_command_is_one_that_parity_has(place: Place) -> None:
    cases = [drifted(), drifted("b", "environment"), no_output("broken"), no_output("gone", status="unpairable")]
    if place.baselines:
        cases = [changed(case) for case in cases]
    commands = [shlex.split(step.command) for step in next_steps(cases, place) if step.command]
    for program, *arguments in commands:
        if program != "open":
            whole_parser().parse(arguments)
    assert len(commands) >= 3


def test_baselines_are_offered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    green = replace(run_of(result()), command=("parity", "run", "cases"))
    accept = "to accept it as the baseline: parity baseline accept --all --results out/results.json"
    assert str(of_baselines(green, PLACE)) == accept
    assert of_baselines(replace(green, baselines="baselines"), PLACE) is None
    assert of_baselines(replace(green, cases=(drifted(),)), PLACE) is None
    assert of_baselines(replace(green, finished=None), PLACE) is None
    assert of_baselines(replace(green, command=("parity", "diagnose", "cases")), PLACE) is None
    Path("baselines").mkdir()
    check = "baselines/ exists; to check against it: parity run cases --baselines baselines"
    assert str(of_baselines(green, PLACE)) == check
    assert str(of_baselines(replace(green, cases=(drifted(),)), PLACE)) == check


def test_the_command_that_runs_files_again() -> None:
    one, two = Path("cases/a/x.yaml"), Path("cases/a/y.yaml")
    assert run_command([one]) == "parity run cases/a/x.yaml"
    assert run_command([one, two], "--baselines", "b") == "parity run cases/a --baselines b"
