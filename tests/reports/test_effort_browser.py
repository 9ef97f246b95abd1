"""What a reader has to do for each question, counted from the open file: clicks, and pixels down the page."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from parity.results.case import CaseResult
from parity.results.diagnosis import Snippet
from tests.support.browser import Browse, case, saved_approvals
from tests.support.report_cases import diagnosed_case, passed_case, run_of

WINDOW = 900
"""The height of the window, in CSS pixels."""
COUNT_CLICKS = (
    "addEventListener('click', (event) => { window.clicks += event.isTrusted; }, { capture: true }); clicks = 0"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """What it took to see something."""

    clicks: int
    pixels: int
    """From the top of the page to the end of what was looked for."""


def effort(page: Page, *seen: Locator) -> Effort:
    """What it took so far to see these, without scrolling."""
    assert page.evaluate("scrollY") == 0
    ends = [item.evaluate("element => element.getBoundingClientRect().bottom") for item in seen]
    return Effort(clicks=page.evaluate("clicks"), pixels=round(max(ends)))


@pytest.fixture
def diagnosed(tmp_path: Path) -> CaseResult:
    """A diagnosed failure, with code of the length that three changes have."""
    found = diagnosed_case(tmp_path)
    assert found.diagnosis is not None
    code = Snippet(language="python", text="\n".join(f"pipe.step({number})" for number in range(30)))
    return replace(found, diagnosis=replace(found.diagnosis, code=code))


def test_clicks_and_pixels_to_each_answer(diagnosed: CaseResult, tmp_path: Path, browse: Browse) -> None:
    page = browse(run_of(passed_case(tmp_path), diagnosed))
    page.evaluate(COUNT_CLICKS)
    row = page.locator("tr[data-row]").first
    expect(row).to_contain_text("t2v-guitar")
    what_failed = effort(page, page.get_by_role("heading", level=1), row)

    row.locator("th a").click()
    proof = case(page).locator(".answer-proof")
    expect(proof.locator("h3")).to_have_text("Frame 6, which differs most")
    where = effort(page, proof.locator("h3"), proof.locator("canvas").first)
    why = effort(page, case(page).locator(".answer-sentence"), case(page).locator(".answer-more"))
    changes = case(page).locator(".answer-change")
    expect(changes.get_by_role("button", name="Copy")).to_have_count(1)
    to_change = effort(page, changes)

    assert what_failed.clicks == 0
    assert (where.clicks, why.clicks, to_change.clicks) == (1, 1, 1)
    assert max(what_failed.pixels, where.pixels, why.pixels, to_change.pixels) <= WINDOW

    case(page).locator(".answer-sentence").evaluate("element => { element.style.paddingTop = '1570px'; }")
    assert effort(page, case(page).locator(".answer-sentence")).pixels > WINDOW  # as it was, the measure would show


def test_approving_takes_two_clicks(diagnosed: CaseResult, tmp_path: Path, browse: Browse) -> None:
    page = browse(run_of(diagnosed))
    page.evaluate(COUNT_CLICKS)
    page.get_by_label("Approve t2v-guitar").first.click()
    approvals = saved_approvals(page, tmp_path / "approvals.json")
    assert [approval["id"] for approval in approvals["cases"]] == ["t2v-guitar"]
    assert page.evaluate("clicks") == 2
