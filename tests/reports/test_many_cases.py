"""Many cases in one page: it keeps its limit, what passed gives up its details first, and the page says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import expect

from parity.results.case import CaseResult, Run
from reports.render import render
from tests.support.browser import Browse, expect_page, saved_approvals, shown, until
from tests.support.report_cases import HOSTILE, Page, drifted_case, error_case, passed_case, run_of

PASSED = 30


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Two cases that failed after many that passed, which are otherwise alike."""
    drifted, passed = drifted_case(tmp_path), passed_case(tmp_path)
    return run_of(*(replace(passed, id=f"quiet-{place}") for place in range(PASSED)), drifted, error_case())


def size(run: Run, folder: Path, limit: int = 25 << 20) -> int:
    return len(render(run, folder, max_bytes=limit).encode())


def sections(page: Page) -> dict[str, bool]:
    """Every case that has a section, and whether that has its details."""
    found: dict[str, bool] = {}
    name = ""
    for tag, attrs in page.elements:
        if tag == "section":
            name = (attrs["id"] or "").removeprefix("case-") if "data-case" in attrs else ""
        if name:
            found[name] = found.get(name, False) or attrs.get("data-section") == "files"
    return found


def test_the_limit_holds_for_the_whole_page(run: Run, tmp_path: Path) -> None:
    least, whole = size(run, tmp_path, 1), size(run, tmp_path)
    limits = [least + (whole - least) * share // 6 for share in range(1, 7)]
    sizes = [size(run, tmp_path, limit) for limit in limits]
    assert [found <= limit for found, limit in zip(sizes, limits, strict=True)] == [True] * 6
    assert all(found > 0.8 * limit for found, limit in zip(sizes, limits, strict=True))  # and room is made use of


def test_what_passed_is_shortened_first(run: Run, tmp_path: Path) -> None:
    without = replace(run, cases=tuple(replace(case, artifacts={}) for case in run.cases))
    whole = size(without, tmp_path)
    page = Page(render(without, tmp_path, max_bytes=whole * 4 // 5))
    kept = sections(page)
    assert len(kept) == PASSED + 2
    assert kept["t2v-guitar"]
    assert kept["broken"]
    short = sum(not details for details in kept.values())
    assert 0 < short < PASSED
    assert f"{short} of {PASSED + 2} cases are shown without their details, those that passed first." in page.words
    assert "results.json; a larger --max-size shows more of it" in page.words
    assert page.words.count("Its details were left out") == short
    assert len([attrs for tag, attrs in page.elements if tag == "tr" and "data-row" in attrs]) == PASSED + 2


def test_failures_keep_their_stills_longer_than_what_passed_its_details(run: Run, tmp_path: Path) -> None:
    page = Page(render(run, tmp_path, max_bytes=(size(run, tmp_path, 1) + size(run, tmp_path)) // 3))
    assert sum(sections(page).values()) < PASSED
    drifted = page.json(f"stills-{PASSED}")
    assert drifted["preview"]
    assert drifted["output"]


def test_the_data_of_a_shortened_case_holds_what_the_filter_looks_at(run: Run, tmp_path: Path) -> None:
    data = Page(render(run, tmp_path, max_bytes=size(run, tmp_path, 1) + 150_000)).json("run-data")
    brief = next(case for case in data["cases"] if "metrics" not in case)
    case = run.cases[0]
    assert brief["recipes"]["preview"]["prompt"] == case.recipes["preview"]["prompt"]
    assert brief["output"]["sha256"] == case.output.sha256 if case.output else None
    assert {name: brief[name] for name in ("status", "model", "verdict")} == {
        "status": case.status,
        "model": case.model,
        "verdict": case.verdict,
    }


def test_cases_without_a_row_are_counted(run: Run, tmp_path: Path) -> None:
    limit = size(run, tmp_path, 1) + 25_000
    page = Page(render(run, tmp_path, max_bytes=limit))
    listed = sections(page)
    counted = PASSED + 2 - len(listed)
    assert counted > 0
    assert {"t2v-guitar", "broken"} <= set(listed)
    assert f"{counted} cases ({counted} passed) are only counted." in page.words
    assert page.json("run-data")["cases"].count(None) == counted


def test_hostile_text_stays_text_in_a_shortened_case(tmp_path: Path) -> None:
    case = replace(error_case(), id=HOSTILE, error=HOSTILE * 100, verdict=HOSTILE, case_file=HOSTILE)
    cases = [replace(case, id=f"{HOSTILE}{place}") for place in range(40)]
    page = Page(render(run_of(*cases), tmp_path, max_bytes=(size(run_of(), tmp_path) + 600_000)))
    assert not all(sections(page).values())
    assert not [tag for tag, attrs in page.elements if tag == "img" or "onerror" in attrs]


def many(folder: Path) -> Run:
    """More cases than fit with their details."""
    passed = replace(passed_case(folder), artifacts={})
    alike = [replace(passed, id=f"quiet-{place}", tags=(f"tag-{place % 3}",)) for place in range(300)]
    failed: list[CaseResult] = [replace(error_case(), id=f"broken-{place}") for place in range(3)]
    return run_of(*alike, *failed)


def test_the_page_of_many_cases_works(tmp_path: Path, browse: Browse) -> None:
    page = browse(many(tmp_path), max_bytes=1 << 20)
    expect(page.locator("#shortened")).to_contain_text("of 303 cases are shown without their details")
    expect(page.locator("#found")).to_have_text("303 cases")
    page.locator("#filter").fill("tag:tag-1 quiet-29")
    assert shown(page) == ["quiet-292", "quiet-295", "quiet-298"]
    page.get_by_role("link", name="quiet-295", exact=True).click()
    expect_page(page, "quiet-295")
    expect(page.locator("section.shown")).to_contain_text("Its details were left out to keep this file below 1 MiB")
    page.keyboard.press("j")
    expect_page(page, "quiet-298")
    page.keyboard.press("u")
    page.locator("tr[data-row='295'] [data-approve]").check()
    (approved,) = saved_approvals(page, tmp_path / "approvals.json")["cases"]
    assert approved == {"id": "quiet-295", "output_sha256": "9f" * 32, "raw_sha256": "3c" * 32}
    page.locator("#filter").fill("")
    page.get_by_role("button", name="Case", exact=True).click()
    page.get_by_role("button", name="Case", exact=True).click()
    page.get_by_role("button", name="Passed", exact=True).click()
    until(page, "document.querySelectorAll('tbody.passed tr[data-row]')[0].textContent.includes('quiet-299')")
