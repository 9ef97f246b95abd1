"""The overview in a real browser: tiers, filter, chips, sorting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import expect

from parity.results.case import Run
from tests.support.browser import Browse, shown
from tests.support.report_cases import error_case, every_status, passed_case, run_of


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


@pytest.mark.parametrize(
    ("words", "ids"),
    [
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
        ("status:", ["t2v-guitar", "broken", "t2v-night", "i2v-near", "i2v"]),
    ],
)
def test_the_filter(run: Run, browse: Browse, words: str, ids: list[str]) -> None:
    page = browse(run)
    page.locator("#filter").fill(words)
    assert shown(page) == ids
    if words != "status:":
        expect(page.locator("#found")).to_have_text(f"{len(ids)} of 5 cases")


def test_the_filter_says_what_it_does_not_know(run: Run, browse: Browse) -> None:
    page = browse(run)
    page.locator("#filter").fill("stauts:failed")
    assert shown(page) == []
    expect(page.locator("#found")).to_have_text(
        "0 of 5 cases “stauts:” is not a filter key; the keys are status, factor, model, tag."
    )


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
