"""A case's answer: the best sentence that its results allow, and never a claim that they do not hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from parity.results.case import BaselineResult, CaseResult, FindingResult, TargetResult
from parity.results.diagnosis import Closeness, Diagnosis, FactorCost, Search, Setting, Snippet, Trial
from reports.answer import answer
from tests.support.report_cases import drifted_case, error_case, passed_case, psnr, video

EQUAL = Closeness(identical=True)
CODE = Snippet(language="python", text="import torch\npipe.to(torch.float32)")


def near(decibels: float) -> Closeness:
    return Closeness(identical=False, psnr=decibels, ssim=0.9)


def trial(file: Closeness) -> Trial:
    return Trial(to_preview=file, to_recipe=file, raw_sha256="ab" * 32, file_sha256="cd" * 32, denoising_steps=6)


def cost(factor: str, rank: int | None = 1, **changes: object) -> FactorCost:
    found = FactorCost(
        factor=factor,
        preview=f"its {factor}",
        inference=f"another {factor}",
        fix=f"change {factor}",
        level="visible",
        rank=rank,
        gain=trial(near(38)),
        loss=trial(near(36)),
    )
    return replace(found, **changes)  # type: ignore[arg-type]


def explained(*factors: FactorCost, **changes: object) -> Diagnosis:
    found = Diagnosis(
        mode="full",
        sentence="fully explained",
        explained=True,
        factors=factors,
        smallest_set=tuple(item.factor for item in factors),
        as_is=trial(near(33.8)),
        preview_recipe=trial(EQUAL),
    )
    return replace(found, **changes)  # type: ignore[arg-type]


@pytest.fixture
def case(tmp_path: Path) -> CaseResult:
    return replace(drifted_case(tmp_path, frames=5), expect=None, output=video(5), metrics={"psnr": psnr([35.0, 31.0])})


def told(case: CaseResult) -> str:
    found = answer(case)
    return f"{found.sentence} {found.more}".strip()


def test_explained_names_what_matters_most_and_what_the_changes_achieve(case: CaseResult) -> None:
    found = explained(cost("scheduler"), cost("lora_application", 2), code=CODE)
    shown = answer(replace(case, diagnosis=found))
    assert shown.sentence == "2 settings make the video differ from the preview; scheduler matters most."
    assert shown.more == "With the changes below it is identical to the preview, bit for bit."
    assert (shown.title, shown.code) == ("What to change", CODE)
    assert [(change.name, change.request, change.preview) for change in shown.changes] == [
        ("scheduler", "another scheduler", "its scheduler"),
        ("LoRA application", "another lora_application", "its lora_application"),
    ]
    assert [(picture.side, picture.title, picture.caption) for picture in shown.pictures] == [
        ("preview", "Preview", "from ai-toolkit"),
        ("output", "As requested", "PSNR 33.00 dB, whole video"),
        ("gain:scheduler", "With scheduler changed only", "PSNR 38.00 dB, whole video"),
        ("recipe", "With all changes", "identical, bit for bit"),
    ]
    assert shown.frame == 1


def test_one_setting_is_said_to_be_the_cause_and_the_others_to_need_no_change(case: CaseResult) -> None:
    assert told(replace(case, diagnosis=explained(cost("scheduler")))) == (
        "The output differs from the preview because of one setting: scheduler. "
        "With the change below it is identical to the preview, bit for bit."
    )
    found = explained(cost("scheduler"), cost("precision", 2), cost("vae_tiling", 3), smallest_set=("scheduler",))
    shown = answer(replace(case, diagnosis=found))
    assert "Precision and VAE tiling differ too, but need no change." in shown.sentence
    assert [change.factor for change in shown.changes] == ["scheduler"]
    assert [picture.side for picture in shown.pictures] == ["preview", "output", "gain:scheduler"]


def test_factors_that_rounding_hides_are_not_ranked(case: CaseResult) -> None:
    found = explained(cost("precision", level="rounding"), cost("vae_tiling", 2, level="rounding"))
    assert "matters most" not in told(replace(case, diagnosis=found))


def test_a_residue_is_not_called_explained(case: CaseResult) -> None:
    found = explained(cost("scheduler"), explained=False, residue=near(47.91), outside=("another GPU rounds",))
    shown = answer(replace(case, diagnosis=found))
    assert shown.more == ("With the change below it reaches 47.9 dB PSNR, from 33.8 dB; what remains has other causes.")
    assert shown.causes == ("another GPU rounds",)
    unpaired = Closeness(identical=False, unavailable="17 frames, the preview has 33")
    lost = answer(replace(case, diagnosis=replace(found, residue=unpaired)))
    assert "17 frames, the preview has 33" in lost.more
    assert lost.command == "parity diagnose --search 'cases/t2v guitar.yaml'"


def test_equal_settings_leave_the_cause_outside(case: CaseResult) -> None:
    found = explained(explained=False, residue=near(42.1), outside=("live weights",), smallest_set=())
    shown = answer(replace(case, diagnosis=found))
    assert shown.sentence == "No setting differs, yet the video does (PSNR 42.1 dB)."
    assert (shown.title, shown.causes) == ("", ("live weights",))


def test_an_unknown_smallest_set_lists_all_factors(case: CaseResult) -> None:
    shown = answer(replace(case, diagnosis=explained(cost("seed"), cost("steps", 2), smallest_set=None)))
    assert shown.title == "What to change: all settings that differ"
    # One of the two may have no effect: they are not said to make the difference.
    assert shown.sentence == "The output differs from the preview, and 2 settings differ; seed matters most."
    assert shown.more.startswith("With all of the preview's settings it is identical")


@pytest.mark.parametrize(("code", "fix"), [(None, "change seed"), (CODE, "")])
def test_a_change_is_told_as_prose_only_where_there_is_no_code(
    case: CaseResult, code: Snippet | None, fix: str
) -> None:
    (change,) = answer(replace(case, diagnosis=explained(cost("seed", code=code)))).changes
    assert (change.fix, change.code) == (fix, code)


def test_a_quick_diagnosis_claims_no_pixels(case: CaseResult) -> None:
    unseen = replace(case, preview=None, output=None, metrics={})
    found = Diagnosis(mode="quick", sentence="", explained=None, factors=(cost("seed", gain=None, loss=None),))
    shown = answer(replace(unseen, diagnosis=found))
    assert shown.sentence == "Look at seed first: of 1 setting that differs it changes the generation most."
    assert (shown.more, shown.pictures) == ("A quick diagnosis generates no whole video.", ())
    assert shown.command == "parity diagnose 'cases/t2v guitar.yaml'"


def test_a_diagnosis_that_stopped_says_so(case: CaseResult) -> None:
    found = Diagnosis(mode="full", sentence="", explained=None, stopped="interrupted")
    assert "The diagnosis stopped early: interrupted." in told(replace(case, diagnosis=found))
    assert "Stopped early: the budget was spent." in told(
        replace(case, diagnosis=explained(cost("seed"), stopped="budget"))
    )


def test_without_a_diagnosis_no_cost_is_claimed(case: CaseResult) -> None:
    shown = answer(case)
    assert shown.sentence == "The output differs from the preview (PSNR 33.0 dB), and 2 settings differ."
    assert (shown.purpose, shown.command) == (
        "To see what each of them costs",
        "parity diagnose 'cases/t2v guitar.yaml'",
    )
    assert [picture.side for picture in shown.pictures] == ["preview", "output", "difference"]
    assert "matters" not in told(case)


def test_other_frame_counts_are_the_answer(case: CaseResult) -> None:
    shown = answer(replace(case, output=video(3)))
    assert shown.sentence == "The output has 3 frames, the preview 5."
    assert [picture.side for picture in shown.pictures] == ["preview", "output"]


def test_beyond_the_settings(case: CaseResult) -> None:
    environment = FindingResult(factor="environment", preview="", inference="", note="another GPU rounds differently")
    assert told(replace(case, findings=(environment,))) == (
        "No setting differs, yet the video does (PSNR 33.0 dB). Another GPU rounds differently"
    )
    black = FindingResult(factor="broken_output", preview="a video", inference="black in every frame", note="check it")
    assert told(replace(case, findings=(black,))) == "The output is broken: black in every frame. Check it"


def test_why_it_fails_is_the_rule_without_the_figures(case: CaseResult) -> None:
    verdict = "psnr is 35, must be at least 40 (PSNR 35.00 dB, worst 31.00; differs in scheduler)"
    assert answer(replace(case, verdict=verdict)).rule == "psnr is 35, must be at least 40"
    assert answer(replace(case, verdict=verdict, status="expected_drift")).rule == ""


def test_what_passed(case: CaseResult, tmp_path: Path) -> None:
    assert told(passed_case(tmp_path)) == "The output is identical to the preview, bit for bit."
    assert answer(passed_case(tmp_path / "again")).pictures == ()
    passed = replace(case, status="passed", findings=())
    assert told(passed) == "The output matches the preview within the case's tolerance (PSNR 33.0 dB)."
    assert told(replace(passed, tolerance={})) == (
        "The output differs from the preview (PSNR 33.0 dB); the case sets no limit."
    )
    expected = replace(case, status="expected_drift", expect=("scheduler", "lora_application"))
    assert told(expected) == (
        "The output differs from the preview only in what the case expects: scheduler and LoRA application."
    )


def test_what_could_not_be_compared() -> None:
    assert told(error_case()) == "The case could not be run."
    assert answer(error_case()).pictures == ()
    lost = replace(error_case(), status="unpairable", error="the seed was not recorded")
    assert told(lost) == "The preview cannot be reproduced, so nothing was compared. The seed was not recorded"


def test_a_server_is_not_accused_of_what_is_only_assumed(case: CaseResult) -> None:
    scheduler, application = case.findings
    served = replace(
        case,
        target=TargetResult(url="http://gpu:8000", arguments=("--target", "http://gpu:8000")),
        findings=(replace(scheduler, evidence="expected"), replace(application, evidence="pixels")),
    )
    shown = answer(served)
    assert shown.sentence == "The server's video differs from the preview (PSNR 33.0 dB), and 2 settings differ."
    assert shown.more == "One of them is assumed from the profile, not verified."
    assert [change.evidence for change in shown.changes] == [
        "assumed from the reference profile, not verified",
        "proven by pixels",
    ]
    assert shown.command.endswith("--target http://gpu:8000")


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("proven", "The preview was generated with seed 7 (not 42). Proven"),
        ("likely", "The preview was most likely generated with seed 7 (not 42)."),
        ("not found", "None of the settings tried gives the preview. The closest: seed 7 (not 42) (PSNR 44.1 dB)."),
    ],
)
def test_a_search(case: CaseResult, verdict: str, words: str) -> None:
    seed = Setting(name="seed", assumed="42", found="7", changed=True, tried=(), evidence="")
    found = Search(verdict=verdict, sentence="", best=near(44.1), settings=(seed,), recipe={})  # type: ignore[arg-type]
    assert told(replace(case, output=None, search=found)).startswith(words)


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("holds", "Unchanged since it was accepted on 2026-11-01. The output differs from the preview"),
        ("changed", "Changed since it was accepted on 2026-11-01: all 5 frames changed. The output differs"),
        ("worse", "Further from the preview than what was accepted on 2026-11-01."),
        ("improved", "Closer to the preview than what was accepted on 2026-11-01."),
        ("no_baseline", "Never accepted"),
    ],
)
def test_a_baseline_comes_first(case: CaseResult, outcome: str, words: str) -> None:
    check = BaselineResult(
        outcome=outcome,  # type: ignore[arg-type]
        status="drifted",
        verdict="psnr is 35",
        problems=("all 5 frames changed",) if outcome == "changed" else (),
        accepted_at=None if outcome == "no_baseline" else "2026-11-01T10:00:00Z",
    )
    assert told(replace(case, status="passed", baseline=check)).startswith(words)


def test_what_was_accepted_is_not_to_be_changed(case: CaseResult) -> None:
    """One factor is new since the output was accepted: it is the answer, the other one was accepted."""
    new, old = case.findings[0].factor, case.findings[1].factor
    check = BaselineResult(
        outcome="changed",
        status="drifted",
        verdict="psnr is 35",
        problems=("all 5 frames changed", "because of shift 5 -> 3", f"also differs in {new} now"),
        accepted_at="2026-11-01T10:00:00Z",
        accepted_factors=(old,),
    )
    found = answer(replace(case, baseline=check, code=CODE))
    assert found.sentence == "Changed since it was accepted on 2026-11-01: all 5 frames changed because of shift 5 → 3."
    assert [change.factor for change in found.changes] == [new]
    assert found.more.endswith("LoRA application was accepted.")
    assert found.code is None  # it would change what was accepted too
    unknown = answer(replace(case, baseline=replace(check, accepted_factors=None)))
    assert [change.factor for change in unknown.changes] == [new, old]


def test_all_changes_are_one_piece_of_code(case: CaseResult) -> None:
    found = answer(replace(case, code=CODE))
    assert found.code == CODE
    assert [change.code for change in found.changes] == [None, None]


def test_long_values_are_shortened(case: CaseResult) -> None:
    finding = replace(case.findings[0], preview="word " * 2000, fix="word " * 2000)
    (change,) = answer(replace(case, findings=(finding,))).changes
    assert len(change.preview) <= 200
    assert len(change.fix) <= 400


def test_the_answer_holds_no_markup(case: CaseResult) -> None:
    assert "<" not in repr(answer(case))
