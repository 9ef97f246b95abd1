"""The overview in a real browser: tiers, filter, chips, sorting."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from parity.results.case import Run
from tests.support.browser import Browse, expect_page, serious, shown, until
from tests.support.report_cases import drifted_case, error_case, every_status, passed_case, run_of


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return every_status(tmp_path)


def test_failures_come_first_and_the_rest_in_tiers(run: Run, browse: Browse) -> None:
    page = browse(run)
    assert shown(page) == ["t2v-guitar", "broken", "t2v-night", "i2v-near", "i2v"]
    tiers = page.locator("button.fold")
    assert tiers.all_text_contents() == ["Failed", "Drifted exactly as expected", "Passed"]
    tiers.nth(2).click()
    assert shown(page) == ["t2v-guitar", "broken", "t2v-night"]
    expect(tiers.nth(2)).to_have_attribute("aria-expanded", "false")


def test_many_quiet_cases_are_folded_beside_failures(tmp_path: Path, browse: Browse) -> None:
    quiet = [replace(passed_case(tmp_path / str(place)), id=f"quiet-{place}", artifacts={}) for place in range(11)]
    page = browse(run_of(*quiet, error_case()))
    assert shown(page) == ["broken"]
    page.get_by_role("button", name="Passed", exact=True).click()
    assert len(shown(page)) == 12
    page.reload()
    page.locator("#filter").fill("quiet-7")  # a filter shows what matches
    assert shown(page) == ["quiet-7"]


def test_the_filter(run: Run, browse: Browse) -> None:
    page = browse(run)
    everything = ["t2v-guitar", "broken", "t2v-night", "i2v-near", "i2v"]
    for words, ids in (
        ("status:failed", ["t2v-guitar", "broken"]),
        ("status:drifted", ["t2v-guitar"]),
        ("status:passed,error", ["broken", "i2v-near", "i2v"]),
        ("factor:scheduler", ["t2v-guitar"]),
        ("-factor:scheduler model:wan21", ["t2v-night", "i2v-near", "i2v"]),
        ("model:I2V", ["i2v-near", "i2v"]),
        ('tag:"night run"', ["t2v-night"]),
        ("tag:smoke factor:lora_application", ["t2v-guitar"]),
        ("complete safetensors", ["broken"]),
        ("guitar stairs status:expected", ["t2v-night"]),
        ("status:", everything),
    ):
        page.locator("#filter").fill(words)
        assert shown(page) == ids, words
        count = "5 cases" if ids == everything else f"{len(ids)} of 5 cases"
        expect(page.locator("#found")).to_have_text(count)


def test_an_empty_result_says_why_and_offers_a_reset(run: Run, browse: Browse) -> None:
    page = browse(run)
    nothing = page.locator("#nothing")
    expect(nothing).to_be_hidden()
    for words, reason in (
        (
            "stauts:failed",
            "“stauts:” is not a filter key; the keys are status, factor, model, tag; did you mean status?",
        ),
        (
            "status:faild",
            "No case has status faild; there are drifted, failed, error, expected_drift, passed; did you mean failed?",
        ),
        ("tag:weekly", "No case has tag weekly; there are t2v, smoke, night run."),
        ("piano", "No case contains “piano”."),
        ("status:error guitar", "Every part of the filter matches some case, but no case matches all of them."),
    ):
        page.locator("#filter").fill(words)
        assert shown(page) == []
        expect(page.locator("#found")).to_have_text("0 of 5 cases")
        expect(nothing.locator("p")).to_have_text(reason)
    page.reload()
    expect(nothing).to_be_visible()  # the filter is kept, so it says what it hides
    nothing.get_by_role("button", name="Reset the filter").click()
    expect(nothing).to_be_hidden()
    assert len(shown(page)) == 5
    expect(page.locator("#filter")).to_be_focused()


def test_chips_filter_and_show_that_they_do(run: Run, browse: Browse) -> None:
    page = browse(run)
    chip = page.get_by_role("button", name="seed 1")
    chip.click()
    expect(chip).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#filter")).to_have_value("factor:seed")
    assert shown(page) == ["t2v-night"]
    chip.click()
    expect(chip).to_have_attribute("aria-pressed", "false")
    assert len(shown(page)) == 5


def test_columns_sort_inside_the_tiers(run: Run, browse: Browse) -> None:
    page = browse(run)
    header = page.get_by_role("button", name="PSNR", exact=True)
    header.click()
    assert shown(page) == ["t2v-guitar", "broken", "t2v-night", "i2v-near", "i2v"]
    header.click()
    assert shown(page) == ["t2v-guitar", "broken", "t2v-night", "i2v", "i2v-near"]  # no figure: last both ways
    expect(page.locator("th[aria-sort]")).to_have_attribute("aria-sort", "descending")
    header.click()
    expect(page.locator("th[aria-sort]")).to_have_count(0)
    page.get_by_role("button", name="Case", exact=True).click()
    assert shown(page) == ["broken", "t2v-guitar", "t2v-night", "i2v", "i2v-near"]


def painted(page: Page) -> list[str]:
    """The sides and frames of the thumbnails with a picture, by row."""
    found: list[str] = page.locator(".overview-pair:has(canvas.painted)").evaluate_all(
        "pairs => pairs.map((pair) => `${pair.closest('tr').querySelector('th a').textContent} ${pair.dataset.frame} "
        "${[...pair.querySelectorAll('canvas.painted')].map((canvas) => canvas.dataset.side)}`)"
    )
    return found


def test_a_row_has_its_worst_frame_its_reason_and_what_was_measured(run: Run, browse: Browse) -> None:
    page = browse(run)
    until(page, "document.querySelectorAll('canvas.painted').length === 8")
    assert painted(page) == [
        "t2v-guitar 6 preview,output",
        "t2v-night 0 preview,output",
        "i2v-near 0 preview,output",
        "i2v 0 preview,output",
    ]
    colours = page.locator("tr[data-row] canvas").evaluate_all(
        "all => all.map((canvas) => new Set(canvas.getContext('2d').getImageData(0, 0, 96, 64).data).size)"
    )
    assert min(colours) > 20
    gap = page.locator(".overview-gap")
    expect(gap).to_have_text("not generated")
    expect(gap).to_have_attribute("title", re.compile("^WeightsError: models/lora.safetensors: is not a complete"))
    heads = page.locator("table.cases thead th").all_inner_texts()
    assert [" ".join(head.split("\n")[0].split()) for head in heads] == [
        "Approve",
        "Preview · Output",
        "Case",
        "Status",
        "PSNR",
        "SSIM",
        "Factors found",
        "Seconds",
    ]
    expect(page.locator(".overview-note")).to_have_text("LPIPS was not measured: the lpips package is not installed.")
    rows = dict(zip(shown(page), page.locator("tr[data-row]").all_inner_texts(), strict=True))
    assert "WeightsError: models/lora.safetensors: is not a complete safetensors file" in rows["broken"]
    assert "identical" in rows["i2v"]
    expect(page.locator("tr[data-row] .overview-reason")).to_have_count(2)  # what is as it should be needs no reason
    expect(page.locator("tr[data-row] input[type=checkbox]")).to_have_count(4)
    assert serious(page) == []
    page.locator(".overview-pair").first.click()
    expect_page(page, "t2v-guitar")


def test_only_thumbnails_near_the_window_are_painted(tmp_path: Path, browse: Browse) -> None:
    drifted = drifted_case(tmp_path)
    page = browse(run_of(*(replace(drifted, id=f"case-{place}") for place in range(60))))
    until(page, "document.querySelectorAll('canvas.painted').length > 4")
    assert len(painted(page)) < 30
    page.locator("tr[data-row] th a").last.scroll_into_view_if_needed()
    until(page, "[...document.querySelectorAll('tr[data-row]')].at(-1).querySelector('canvas.painted')")


@pytest.mark.parametrize(("width", "theme"), [(400, "dark"), (900, "light")])
def test_a_narrow_window_has_a_card_for_each_case(
    run: Run, browse: Browse, width: int, theme: Literal["light", "dark"]
) -> None:
    page = browse(run, width=width, theme=theme)
    assert serious(page) == []
    for row in page.locator("tr[data-row]").all():
        box = row.bounding_box()
        assert box
        for part in row.locator(":scope > :visible").all():
            inner = part.bounding_box()
            assert inner
            assert inner["x"] >= box["x"]
            assert inner["x"] + inner["width"] <= box["x"] + box["width"] + 1
    expect(page.locator("tr[data-row] canvas").first).to_be_visible()
    assert page.locator(".scroll").first.evaluate("element => element.scrollWidth - element.clientWidth") == 0


def test_what_no_case_has_is_no_column(browse: Browse) -> None:
    page = browse(run_of(error_case()))
    heads = page.locator("table.cases thead th").all_inner_texts()
    assert [head.strip() for head in heads] == ["Case", "Status", "Factors found", "Seconds"]
