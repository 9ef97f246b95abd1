"""`parity run --blocks`: from a first smoke run to an accepted one and to what it notices."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from parity.baselines.smoke import check_smoke, from_result, from_text, judged, to_text
from parity.cli.main import main
from parity.results.case import CaseResult
from parity.results.merge import read_results
from parity.results.smoke import SmokeResult
from parity.run.resume import still_holds
from parity.run.task import Task
from reports.answer import answer
from reports.junit import properties
from reports.render import render
from tests.conftest import CaseFiles
from tests.support.baseline_samples import ENVIRONMENT, OTHER, recipe, result, run_of

STAGES = {"noise": "a" * 64, "schedule": "b" * 64, "first prediction": "c" * 64}
SMOKE = SmokeResult(blocks=(0, 29), layers=30, steps=2, frames=9, width=832, height=480, stages=STAGES)
EXTENT = "blocks 0, 29 of 30, 2 steps, 9 frames of 832x480"


def smoke_run(stages: dict[str, str] | None = None, **changes: Any) -> CaseResult:
    """A smoke run, with some of its stages replaced."""
    found = dataclasses.replace(SMOKE, stages=STAGES | (stages or {}))
    values: dict[str, Any] = {"status": "smoke", "output": None, "preview": None, "metrics": {}, "smoke": found}
    return result(**values | {"verdict": "smoke, not compared with the preview: …"} | changes)


def gated(new: CaseResult, old: CaseResult | None = None, environment: dict[str, Any] = ENVIRONMENT) -> CaseResult:
    accepted = from_result(old or smoke_run(), ENVIRONMENT, at="2026-11-25T10:00:00+00:00", run_started="")
    return judged(new, check_smoke(new, environment, accepted))


def test_equal_stages_are_green_and_no_comparison() -> None:
    held = gated(smoke_run())
    assert (held.status, held.failed) == ("smoke", False)
    assert held.verdict == f"smoke, not compared with the preview: every stage as accepted 2026-11-25, {EXTENT}"
    assert held.baseline is not None
    assert (held.baseline.outcome, held.baseline.acceptable) == ("holds", False)


@pytest.mark.parametrize(
    ("new", "environment", "said"),
    [
        (
            smoke_run({"first prediction": "d" * 64}),
            ENVIRONMENT,
            "first prediction differs; equal before it: noise, schedule; the recipe is unchanged: weights, LoRA",
        ),
        (
            smoke_run({"noise": "d" * 64}, recipes={"inference": recipe(seed=43)}),
            ENVIRONMENT,
            "noise differs because of seed 42 -> 43",
        ),
        (smoke_run({"VAE": "d" * 64}), ENVIRONMENT, "VAE is new; equal before it: noise, schedule, first prediction"),
        (
            smoke_run({"noise": "d" * 64}),
            OTHER,
            "not comparable: accepted in a different environment (torch 2.13.0 -> 2.14.0)",
        ),
        (
            smoke_run(smoke=dataclasses.replace(SMOKE, blocks=(0,))),
            ENVIRONMENT,
            f"accepted with {EXTENT}, this run has block 0 of 30, 2 steps, 9 frames of 832x480: not comparable",
        ),
    ],
)
def test_what_differs_is_red_and_named(new: CaseResult, environment: dict[str, Any], said: str) -> None:
    failed = gated(new, environment=environment)
    assert (failed.status, failed.failed) == ("drifted", True)
    assert failed.verdict.startswith("smoke, not compared with the preview: changed since it was accepted 2026-11-25: ")
    assert said in failed.verdict


def test_equal_stages_hold_in_any_environment() -> None:
    assert not gated(smoke_run(), environment=OTHER).failed


def test_a_smoke_run_that_nobody_accepted_is_red_with_baselines() -> None:
    failed = judged(smoke_run(), check_smoke(smoke_run(), ENVIRONMENT, None))
    assert (failed.status, failed.failed) == ("drifted", True)
    assert failed.verdict == "smoke, not compared with the preview: no smoke baseline"
    not_run = smoke_run(smoke=None, status="error")
    assert check_smoke(not_run, ENVIRONMENT, None).outcome == "not_run"


@pytest.mark.parametrize("text", ["[]", "{}", '{"schema_version": 2}', "nonsense"])
def test_a_file_that_is_no_smoke_baseline_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"accept the case again|update this one"):
        from_text(text)


def test_the_file_is_read_as_it_was_written() -> None:
    baseline = from_result(smoke_run(), ENVIRONMENT, at="2026-11-25T10:00:00+00:00", run_started="")
    assert from_text(to_text(baseline)) == baseline
    with pytest.raises(ValueError, match="stages"):
        from_text(to_text(baseline).replace('"stages"', '"stagez"'))


def test_report_and_properties_say_that_nothing_was_compared(tmp_path: Path) -> None:
    run = run_of(gated(smoke_run()))
    page = render(run, tmp_path)
    assert "Smoke runs" in page
    assert "Smoke, not compared with the preview" in page
    assert "--blocks 0,29" in page
    assert answer(run.cases[0]).sentence == f"Smoke, not compared with the preview: {EXTENT}."
    assert properties(run.cases[0])["status"] == "smoke"
    assert "smoke, not compared" in str(properties(run.cases[0])["verdict"])


@pytest.mark.draws
def test_from_a_first_smoke_run_to_a_changed_one(
    cases: CaseFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    case = cases.write(request=cases.request())
    command = ["run", str(case), "--blocks", "0", "--device", "cpu", "--no-html", "--out"]
    monkeypatch.setattr(sys, "argv", ["parity", *command])
    assert main([*command, "first"]) == 0
    said = capsys.readouterr().err
    assert "smoke, not compared with the preview: block 0 of 2, 2 steps, 9 frames of 96x64; nothing to compare" in said
    assert "1 case: 1 smoke, not compared with the preview" in said
    assert "to accept it as the baseline: parity baseline accept --all --results first/results.json" in said
    assert main(["expect", str(case), "--results", "first"]) in (0, 1)
    assert "smoke, not compared with the preview" in capsys.readouterr().out
    assert main(["baseline", "accept", "--all", "--results", "first"]) == 0
    assert "next: parity run " in (said := capsys.readouterr().out)
    assert "--blocks 0 --baselines baselines" in said
    assert not list(Path("baselines").glob("*.json"))
    assert json.loads(Path("baselines/smoke/case.json").read_text())["blocks"] == [0]

    weaker = cases.request()
    weaker["loras"][0]["network_multiplier"] = 0.98
    cases.write(request=weaker)
    assert main([*command, "second", "--baselines", "baselines"]) == 1
    said = capsys.readouterr().err
    assert (
        "weights with the LoRA differs; equal before it: noise, schedule, conditioning, weights of the blocks" in said
    )
    assert "because of lora_scale 1.0 -> 0.98" in said
    assert "if this is intended: parity baseline accept case --results second/results.json" in said
    assert main(["baseline", "check", "--results", "second"]) == 1
    assert "weights with the LoRA differs" in capsys.readouterr().out
    assert main(["baseline", "accept", "--all", "--results", "second"]) == 1
    assert main(["baseline", "accept", "case", "--results", "second", "--json"]) == 0
    assert main(["baseline", "check", "--results", "second"]) == 0
    known = read_results(tmp_path / "second" / "results.json").cases[0]
    assert known.output is None
    assert known.ran is not None


def test_what_needs_a_video_is_refused_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--blocks", "0", "--diagnose"]) == 2
    assert "--blocks: makes no video, so --diagnose has nothing to work on" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["run", "--blocks", "first"])
    assert "'first': numbers of transformer blocks, from 0" in capsys.readouterr().err


def test_a_smoke_run_does_not_answer_for_a_whole_one(cases: CaseFiles) -> None:
    from parity.case.load import load_case
    from parity.comparison.outcome import blank_result

    case = load_case(cases.write())
    known = dataclasses.replace(blank_result(case, "smoke", "", ()), smoke=SMOKE)
    assert still_holds(known, case, Task(blocks=(0, 29)))
    assert not still_holds(known, case, Task(blocks=(0,)))
    assert not still_holds(known, case, Task())
    assert not still_holds(dataclasses.replace(known, smoke=None), case, Task(blocks=(0, 29)))
