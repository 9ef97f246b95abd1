"""The gate on time, by planted seconds: no test measures any."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from parity.baselines.check import check_case
from parity.baselines.file import from_text, to_text
from parity.baselines.in_run import judged
from parity.case.load import load_case
from parity.cli.main import main
from parity.cost.speeds import kind_of_machine
from parity.results.case import BaselineResult, CaseResult, FileResult, TargetResult
from parity.results.json_text import from_json, to_json
from parity.results.next_steps import Place, next_steps
from parity.results.speed import Speed
from parity.terminal.case_line import case_line, reason
from reports.junit import properties
from reports.render import render
from tests.conftest import CaseFiles
from tests.support.baseline_samples import ENVIRONMENT, OTHER, baseline_of, result, run_of, state, write_run

H100 = "NVIDIA H100"


def taken(seconds: float | None, machine: str = H100, limit: float | None = 1.2, **changes: Any) -> CaseResult:
    """A result that took so long; None: it was not measured."""
    speed = None if seconds is None else Speed(seconds=seconds, step=1.0, decode=2.0, generations=1, machine=machine)
    return result(speed=speed, seconds_ratio=limit, **changes)


def checked(new: CaseResult, old: CaseResult, environment: dict[str, Any] = ENVIRONMENT) -> BaselineResult:
    return check_case(new, environment, baseline_of(old))


def test_a_slower_generation_is_red_although_no_bit_changed() -> None:
    check = checked(taken(29.3), taken(20.8))
    assert (check.outcome, check.failed, check.slower, check.only_slower) == ("changed", True, True, True)
    assert check.problems == (
        "slower: 29.3 s, 1.41 times the accepted 20.8 s, at most 1.2 times is allowed (seconds_ratio)",
    )
    assert (check.accepted_seconds, round(check.slowdown or 0, 2), check.acceptable) == (20.8, 1.41, True)
    gated = judged(taken(29.3), check)
    assert (gated.status, gated.failed) == ("drifted", True)
    assert gated.verdict.startswith("slower than accepted 2026-11-22: 29.3 s, 1.41 times")
    assert gated.by_own_rules() == taken(29.3)
    assert from_json(to_json(run_of(gated))).cases == (gated,)


@pytest.mark.parametrize("seconds", [10.0, 20.8, 24.9])
def test_as_fast_as_accepted_is_green(seconds: float) -> None:
    check = checked(taken(seconds), taken(20.8))
    assert (check.outcome, check.slower, check.acceptable) == ("holds", False, False)
    assert f"speed: {seconds:.3g} s, {seconds / 20.8:.2f} times the accepted 20.8 s" in check.notes


def test_other_libraries_are_judged_and_time_is_one_reason_of_several() -> None:
    check = checked(taken(29.3), taken(20.8), OTHER)
    assert (check.compared, check.slower) == ("bits", True)
    check = checked(taken(29.3, frames="abcdXfghi"), taken(20.8))
    assert (check.slower, check.only_slower) == (True, False)
    assert [problem.split(":")[0] for problem in check.problems][-1] == "slower"


@pytest.mark.parametrize(
    ("new", "old", "said"),
    [
        (taken(99, "NVIDIA A100"), taken(20), "another kind of machine (NVIDIA H100; this one: NVIDIA A100)"),
        (taken(99), taken(None), "accepted without seconds; accept the case again"),
        (taken(None, drawn_before="2026-11-24T10:00:00+00:00"), taken(20), "come from the cache; --no-cache"),
        (taken(None), taken(20), "an older wan-parity did not measure this run"),
        (taken(None, target=TargetResult(url="http://gpu1:8000")), taken(20), "a server generated the video"),
        (taken(None, file=FileResult(path="a.mp4")), taken(20), "the video was made elsewhere"),
    ],
)
def test_what_cannot_be_judged_is_said(new: CaseResult, old: CaseResult, said: str) -> None:
    check = checked(new, old)
    assert (check.slowdown, check.slower) == (None, False)
    assert [note for note in check.notes if note.startswith("speed not judged: ") and said in note]
    gated = judged(new, check)
    assert gated.failed or gated.verdict.endswith("; speed not judged")
    assert properties(gated)["seconds_ratio"] == "not judged"


def test_a_case_without_the_limit_may_take_any_time() -> None:
    check = checked(taken(999, limit=None), taken(20, limit=None))
    assert (check.outcome, check.notes, check.slowdown, check.acceptable) == ("holds", (), None, False)
    assert "seconds_ratio" not in properties(taken(999, limit=None))


def test_an_older_baseline_has_no_seconds() -> None:
    text = json.loads(to_text(baseline_of(taken(20))))
    assert text["speed"]["seconds"] == 20
    del text["speed"]
    assert from_text(json.dumps(text)).speed is None
    text["speed"] = {"seconds": 0, "step": 1.0, "decode": 1.0, "generations": 1, "machine": H100}
    with pytest.raises(ValueError, match=r"speed\.seconds"):
        from_text(json.dumps(text))


def test_machines_are_told_apart() -> None:
    flags = {"flags": {"cpu_kernels": "portable", "threads": 2}}
    one = kind_of_machine({"device": "cpu", "cpu": "AMD EPYC", **flags}, "none")
    assert one == "AMD EPYC, 2 threads, portable kernels"
    gpu = {"device": "cuda:1", "gpu": H100, "cpu": "AMD EPYC"}
    assert kind_of_machine(gpu, "model", 2) == f"{H100}, offload model, 2 workers at once"


def test_no_diagnosis_is_proposed_for_a_slow_case(tmp_path: Path) -> None:
    gated = judged(taken(29.3), checked(taken(29.3), taken(20.8)))
    place = Place(results=Path("out/results.json"), command=("parity", "run"), baselines="baselines")
    assert [step.purpose for step in next_steps([gated], place)] == ["if this is intended"]
    assert reason(gated) == [gated.verdict]
    assert ("1.41 times the accepted seconds", "") in case_line(gated)
    assert ("speed not judged", "") in case_line(taken(29.3))
    page = render(run_of(gated), tmp_path)
    assert "Denoising and decoding" in page
    assert "20.8 s" in page


@pytest.mark.usefixtures("_in_an_empty_folder")
def test_accepting_stores_seconds_and_only_news_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    def accepted(new: CaseResult) -> str:
        write_run(new)
        assert main(["baseline", "accept", "guitar"]) == 0
        return capsys.readouterr().out

    def known() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(state()["guitar.json"])["speed"]
        return found

    accepted(taken(None))
    assert main(["baseline", "show"]) == 0
    assert "seconds" not in capsys.readouterr().out
    assert "changed  seconds 20 s, not recorded before" in accepted(taken(20))
    assert main(["baseline", "show"]) == 0
    assert "seconds  accepted" in capsys.readouterr().out
    assert "unchanged" in accepted(taken(23))
    assert "unchanged" in accepted(taken(None))  # from the cache
    assert "unchanged" in accepted(taken(99, limit=None))
    assert known()["seconds"] == 20
    write_run(taken(29))
    assert main(["baseline", "check"]) == 1
    assert "      slower: 29 s, 1.45 times the accepted 20 s" in capsys.readouterr().out
    assert "changed  seconds 20 s -> 29 s" in accepted(taken(29))
    assert main(["baseline", "check"]) == 0
    assert "seconds of another machine: NVIDIA H100 -> NVIDIA A100" in accepted(taken(40, "NVIDIA A100"))
    assert known()["machine"] == "NVIDIA A100"
    assert "no seconds, because this run did not generate it" in accepted(taken(None, frames="Xbcdefghi"))


def test_the_limit_leaves_those_on_pixels_in_force(cases: CaseFiles) -> None:
    case = load_case(cases.write(tolerance={"seconds_ratio": 1.2}))
    assert (case.tolerance, case.seconds_ratio) == ({"psnr": 40.0, "ssim": 0.98}, 1.2)
    both = load_case(cases.write(tolerance={"seconds_ratio": 1.5, "psnr": 30}))
    assert (both.tolerance, both.seconds_ratio) == ({"psnr": 30.0}, 1.5)
    assert both.asked_metrics == {"psnr"}


@pytest.fixture
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
