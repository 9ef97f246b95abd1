"""The HTML report: one inert, self-contained file that lists what it leaves out."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from parity.results.case import Run, Status
from parity.results.json_text import from_json
from reports import view
from reports.render import render, write_report
from tests.support.paths import ROOT
from tests.support.report_cases import (
    HOSTILE,
    Page,
    diagnosed_case,
    drifted_case,
    error_case,
    hostile_run,
    passed_case,
    recipe,
    run_of,
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return run_of(passed_case(tmp_path), error_case(), drifted_case(tmp_path))


def test_is_one_file_without_external_references(run: Run, tmp_path: Path) -> None:
    write_report(run, tmp_path, tmp_path / "out/report.html")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.html"]
    html = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    page = Page(html)
    outside = [
        v for name in ("src", "href", "srcset", "poster", "action") for v in page.attributes(name) if v[0] != "#"
    ]
    assert outside == ["data:,"]  # the icon, or a browser would ask for one
    assert "url(" not in html
    assert "@import" not in html
    assert all(tag not in ("iframe", "object", "embed") for tag, _ in page.elements)
    assert page.attributes("content")[0].startswith("default-src 'none'")


def test_failures_come_first_and_every_row_links_to_its_section(run: Run, tmp_path: Path) -> None:
    page = Page(render(run, tmp_path))
    sections = [attrs["id"] for tag, attrs in page.elements if tag == "section" and "data-case" in attrs]
    assert sections == ["case-t2v-guitar", "case-broken", "case-i2v"]
    links = [href[1:] for href in page.attributes("href") if href.startswith("#case-") and "/" not in href]
    assert list(dict.fromkeys(links)) == sections
    assert len(set(page.attributes("id"))) == len(page.attributes("id"))
    assert [attrs["data-case"] for tag, attrs in page.elements if "data-case" in attrs] == ["2", "1", "0"]


def test_cases_of_the_same_id_have_their_own_anchors(tmp_path: Path) -> None:
    page = Page(render(run_of(error_case(), error_case()), tmp_path))
    assert {"case-broken", "case-broken-2"} <= set(page.attributes("id"))


def test_says_what_was_found(run: Run, tmp_path: Path) -> None:
    words = Page(render(run, tmp_path)).words
    for sentence in (
        "1 of 3 cases drifted unexpectedly, 1 could not be run.",
        "unavailable: the lpips package is not installed",
        "WeightsError: models/lora.safetensors: is not a complete safetensors file; copy it again",
        "Expected but not found: precision.",
        "Reproduce: parity run 'cases/t2v guitar.yaml'",
        "parity run 'cases/with space'",
        "9 of 9",
        "96 (asked 100)",
        "mean ≥ 40, worst ≥ 37",
        "PSNR higher is better; 2 of 11 frames identical, worst 30.04 dB at frame 6",
        "tolerance, worst frame 37.00 dB",
        "codec floor 38.40 dB",
        "Metrics are computed on the exact frames.",
        "versions.torch 2.13.0",
    ):
        assert sentence in words


def test_embeds_the_run_and_every_still_once(run: Run, tmp_path: Path) -> None:
    page = Page(render(run, tmp_path))
    assert from_json(json.dumps(page.json("run-data"))) == run
    drifted, passed = page.json("stills-2"), page.json("stills-0")
    assert sorted(map(int, drifted["preview"])) == list(range(13))
    assert sorted(map(int, drifted["output"])) == list(range(11))
    assert len(passed["images"]) == 9
    assert passed["preview"] == passed["output"]
    assert all(uri.startswith("data:image/webp;base64,") for uri in drifted["images"])
    assert "left out" not in page.words


def test_says_which_stills_did_not_fit(run: Run, tmp_path: Path) -> None:
    whole = len(render(run, tmp_path).encode())
    limit = whole - 1_000
    html = render(run, tmp_path, max_bytes=limit)
    page = Page(html)
    assert len(html.encode()) <= limit
    left = 42 - sum(len(page.json(f"stills-{index}")[side]) for index in (0, 2) for side in ("preview", "output"))
    assert 0 < left < 42
    assert f"{left} of 42 stills were left out" in page.words
    assert "of this case's 18 stills were left out" in page.words  # the passed case first
    assert "artifacts/i2v/preview and artifacts/i2v/output" in page.words


def test_a_page_keeps_its_limit_whatever_its_cases_are_called(tmp_path: Path) -> None:
    """Each case whose stills are left out is named, with its folders: that may be more than a still takes."""
    drifted = diagnosed_case(tmp_path)
    cases = [replace(drifted, id=f"{'a long name ' * 60}{number}") for number in range(6)]
    run = run_of(*cases)
    empty = len(render(run, tmp_path, max_bytes=1).encode())
    whole = len(render(run, tmp_path).encode())
    limits = [empty + (whole - empty) * share // 10 for share in range(1, 10)]
    pages = [render(run, tmp_path, max_bytes=limit) for limit in limits]
    assert [len(page.encode()) <= limit for page, limit in zip(pages, limits, strict=True)] == [True] * 9
    assert [page.count("data:image/webp") > 0 for page in pages[2:]] == [True] * 7


def test_a_page_without_room_has_no_stills_and_says_so(tmp_path: Path) -> None:
    run = run_of(passed_case(tmp_path))
    whole = len(render(run, tmp_path).encode())
    pages = (render(run, tmp_path, max_bytes=size) for size in range(whole - 12_000, whole, 300))
    page = Page(next(html for html in pages if 'id="shortened"' not in html))  # the smallest with all details
    assert "18 of 18 stills were left out" in page.words
    assert "18 of this case's 18 stills" in page.words
    assert not [name for name in page.attributes("id") if name.startswith("stills-")]


def test_says_which_stills_are_missing_or_outside_the_results(tmp_path: Path) -> None:
    case = passed_case(tmp_path)
    results = tmp_path / "results"
    results.mkdir()
    case = replace(case, artifacts={"preview_frames": "../artifacts/i2v/preview", "output_frames": "gone"})
    page = Page(render(run_of(case), results))
    assert "lies outside the folder of results.json" in page.words
    assert "The output's stills should be in gone; none was found there." in page.words
    assert "stills-0" not in page.attributes("id")


def test_no_two_scripts_of_the_page_share_a_name() -> None:
    """They are one script: of two functions of one name, the later would silently replace the earlier."""
    declared = re.compile(r"^(?:async )?(?:function\*?|const|let|class) (\w+)", re.MULTILINE)
    names = Counter(
        name
        for path in (ROOT / "reports/page").glob("*.js")
        for name in declared.findall(path.read_text(encoding="utf-8"))
    )
    assert len(names) > 100
    assert [name for name, count in names.items() if count > 1] == []


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    run = hostile_run(tmp_path)
    page = Page(render(run, tmp_path))
    assert not [tag for tag, attrs in page.elements if tag == "img" or "onerror" in attrs]
    assert f"case-{HOSTILE}" in page.attributes("id")
    assert from_json(json.dumps(page.json("run-data"))) == run
    assert page.text.count("</script><img src=x onerror") >= 4


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"asked": 100, "applied": 96}, "96 (asked 100)"),
        ({"asked": 96, "applied": 96}, "96"),
        (None, "none"),
        ((), "none"),
        ("", "(empty)"),
        (False, "no"),
        ([1.0, 0.5], "1.0, 0.5"),
        (0, "0"),
    ],
)
def test_values_read_as_a_person_writes_them(value: Any, words: str) -> None:
    assert view.text(value) == words


def test_recipe_rows_mark_what_differs(tmp_path: Path) -> None:
    rows = {row.name: row for row in view.recipe_rows(drifted_case(tmp_path).recipes)}
    assert {name for name, row in rows.items() if row.differs} == {
        "scheduler.family",
        "scheduler.settings.num_train_timesteps",
        "scheduler.settings.solver_order",
        "lora_application",
        "control_image.source",
        "control_image.sha256",
        "control_image.width",
        "control_image.height",
    }
    assert rows["width"].preview == "96 (asked 100)"
    assert rows["width"].inference == "96"
    assert not rows["lora_files[0].path"].differs  # the same file elsewhere
    assert "control_image" not in rows


def test_one_recipe_alone_marks_nothing() -> None:
    assert not [row for row in view.recipe_rows({"preview": recipe()}) if row.differs]


@pytest.mark.parametrize(
    ("statuses", "sentence"),
    [
        ((), "No case was run."),
        (("passed",), "1 of 1 case passed."),
        (("passed", "expected_drift", "passed"), "1 of 3 cases drifted exactly as expected, 2 passed."),
        (("drifted", "passed", "drifted"), "2 of 3 cases drifted unexpectedly."),
        (("unpairable", "error"), "1 of 2 cases could not be run, 1 has a preview that cannot be reproduced."),
    ],
)
def test_verdict(statuses: tuple[Status, ...], sentence: str) -> None:
    assert view.verdict(run_of(*(replace(error_case(), status=status) for status in statuses))) == sentence
