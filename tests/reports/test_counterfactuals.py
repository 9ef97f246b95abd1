"""The pictures of a diagnosis, as data: their order, their words, and what there is no picture of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from parity.results.case import CaseResult
from parity.results.diagnosis import Closeness, Diagnosis
from reports.counterfactuals import Counterfactuals, counterfactuals
from reports.render import render
from reports.stills import albums
from tests.support.report_cases import HOSTILE, Page, diagnosed_case, run_of


def of(case: CaseResult, folder: Path, **changes: Any) -> Counterfactuals | None:
    assert case.diagnosis is not None
    case = replace(case, diagnosis=replace(case.diagnosis, **changes))
    (book,) = albums([case], folder)
    return counterfactuals(case, book)


def told(view: Counterfactuals | None) -> list[list[tuple[str, ...]]]:
    assert view is not None
    return [[tuple(filter(None, (p.name, p.figure, p.note, p.missing))) for p in row.pictures] for row in view.rows]


def test_fixes_are_added_one_by_one_and_then_each_is_alone(tmp_path: Path) -> None:
    view = of(diagnosed_case(tmp_path), tmp_path)
    assert view is not None
    assert told(view) == [
        [
            ("Preview",),
            ("As requested", "30.00 dB"),
            ("+ scheduler", "identical to the preview"),
            ("+ LoRA application", "not generated: more than the generations planned"),
        ],
        [("scheduler", "identical to the preview"), ("LoRA application", "gain and loss: the budget was spent")],
        [("scheduler", "31.20 dB"), ("LoRA application", "gain and loss: the budget was spent")],
    ]
    assert [[p.side for p in row.pictures] for row in view.rows] == [
        ["preview", "as_is", "waterfall:1", "waterfall:2"],
        ["gain:scheduler", "gain:lora_application"],
        ["loss:scheduler", "loss:lora_application"],
    ]
    assert (view.frames, view.frames[view.start]) == ((0, 4, 6, 9, 10), 6)
    assert view.notes == ("5 of 13 frames of each video were kept (--stills 5).",)
    assert view.columns == 4


def test_a_video_that_is_another_picture_says_so(tmp_path: Path) -> None:
    case = diagnosed_case(tmp_path)
    assert case.diagnosis is not None
    scheduler, lora = case.diagnosis.factors
    same = replace(lora, gain=case.diagnosis.as_is, loss=case.diagnosis.preview_recipe, not_measured=None)
    steps = case.diagnosis.waterfall
    view = of(
        case,
        tmp_path,
        factors=(scheduler, same),
        waterfall=(*steps[:2], replace(steps[2], trial=steps[1].trial)),
    )
    waterfall, gains, losses = told(view)
    assert waterfall[-1] == ("+ LoRA application", "identical to the preview", "no further change")
    assert gains[-1] == ("LoRA application", "30.00 dB", "no change")
    assert losses[-1] == ("LoRA application", "identical to the preview", "no change")


def test_an_interrupted_diagnosis_ends_with_the_previews_settings(tmp_path: Path) -> None:
    (row, *_) = told(of(diagnosed_case(tmp_path), tmp_path, waterfall=(), stopped="interrupted"))
    assert row[2:] == [
        ("+ scheduler", "not generated"),
        ("+ LoRA application", "gain and loss: the budget was spent"),
        ("All fixed", "identical to the preview"),
    ]


def test_gains_alone_say_that_nothing_was_broken(tmp_path: Path) -> None:
    case = diagnosed_case(tmp_path)
    assert case.diagnosis is not None
    factors = [
        replace(cost, loss=None, not_measured="loss: only gains were requested") for cost in case.diagnosis.factors
    ]
    view = of(case, tmp_path, mode="gains", factors=tuple(factors))
    assert view is not None
    assert [row.kind for row in view.rows] == ["waterfall", "gain"]
    assert view.notes[1] == "Nothing was generated with only one setting broken: only gains were requested."


@pytest.mark.parametrize(
    ("stills", "words"),
    [(0, "were kept (--stills 0)"), (None, "older version"), (5, "There are no pictures of this diagnosis")],
)
def test_a_diagnosis_without_pictures_says_why(tmp_path: Path, stills: int | None, words: str) -> None:
    case = diagnosed_case(tmp_path)
    assert case.diagnosis is not None
    bare = replace(case.diagnosis.with_stills(lambda _: None), stills=stills)
    view = of(replace(case, diagnosis=bare), tmp_path)
    assert view is not None
    assert view.rows == ()
    assert words in view.notes[0]
    assert words in Page(render(run_of(replace(case, diagnosis=bare)), tmp_path)).words


def test_a_full_disk_is_said_beside_the_pictures_that_were_kept(tmp_path: Path) -> None:
    said = "no stills were kept from “only scheduler broken” on: /out: No space left on device"
    case = diagnosed_case(tmp_path)
    assert case.diagnosis is not None
    half = case.diagnosis.with_stills(lambda value: None if "broken" in value else value)
    view = of(replace(case, diagnosis=half), tmp_path, stills_missing=said)
    assert view is not None
    assert view.notes[1] == f"N{said[1:]}."
    assert view.rows[2].pictures[0].missing == "no picture was kept"
    bare = of(replace(case, diagnosis=half.with_stills(lambda _: None)), tmp_path, stills_missing=said)
    assert bare == Counterfactuals(notes=(f"N{said[1:]}.",))


def test_one_that_generated_nothing_has_no_such_part(tmp_path: Path) -> None:
    case = diagnosed_case(tmp_path)
    quick = Diagnosis(
        mode="quick", sentence="", explained=None, factors=case.diagnosis.factors if case.diagnosis else ()
    )
    assert of(replace(case, diagnosis=quick), tmp_path, factors=()) is None
    (book,) = albums([case], tmp_path)
    assert counterfactuals(replace(case, diagnosis=None), book) is None


def test_stills_that_are_gone_are_said(tmp_path: Path) -> None:
    case = diagnosed_case(tmp_path)
    lost = "artifacts/t2v-guitar/trials/2-only-scheduler-broken"
    for path in (tmp_path / lost).iterdir():
        path.unlink()
    view = of(case, tmp_path)
    assert view is not None
    assert view.notes[1] == f"Stills of the diagnosis should be in {lost}; none was found there."


def test_without_a_script_the_page_lists_every_figure(tmp_path: Path) -> None:
    words = Page(render(run_of(diagnosed_case(tmp_path)), tmp_path)).words
    for figure in ("As requested 30.00 dB", "+ scheduler ✓ identical to the preview", "31.20 dB"):
        assert figure in words
    assert "5 of 13 frames of each video were kept (--stills 5)." in words


def test_says_how_many_pictures_did_not_fit(tmp_path: Path) -> None:
    run = run_of(diagnosed_case(tmp_path))
    whole = len(render(run, tmp_path).encode())
    (book,) = albums(run.cases, tmp_path)
    bytes_of_stills = sum(
        {still.path: still.embedded_size for files in book.files.values() for still in files.values()}.values()
    )
    page = Page(render(run, tmp_path, max_bytes=whole - bytes_of_stills // 2))
    data = page.json("stills-0")
    lost = sum(5 - len(data[side]) for side in ("gain:scheduler", "loss:scheduler"))
    assert lost > 0
    assert "left out to keep this file below" in page.words
    assert "artifacts/t2v-guitar/trials" in page.words


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    case = diagnosed_case(tmp_path)
    assert case.diagnosis is not None
    unlike = Closeness(identical=False, unavailable=HOSTILE)
    hostile = [
        replace(
            cost,
            factor=HOSTILE,
            gain=replace(cost.gain, to_preview=unlike) if cost.gain else None,
            not_measured=HOSTILE,
        )
        for cost in case.diagnosis.factors
    ]
    page = Page(render(run_of(replace(case, diagnosis=replace(case.diagnosis, factors=tuple(hostile)))), tmp_path))
    assert not any(tag == "img" for tag, _ in page.elements)
    assert any(HOSTILE in value for value in page.attributes("data-title"))
