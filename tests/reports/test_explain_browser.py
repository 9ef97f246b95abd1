"""The pages about factors in a real browser: opened by links, closed to where one was, readable without a script."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from parity.results.case import FindingResult
from reports.render import write_report
from tests.support.browser import Browse
from tests.support.report_cases import drifted_case, run_of

FINDINGS = tuple(
    FindingResult(factor=factor, preview="1", inference="2", note="other")
    for factor in ("scheduler", "lora_application", "precision")
)


def test_a_page_opens_over_the_case_and_closes_to_it(browse: Browse, tmp_path: Path) -> None:
    run = run_of(replace(drifted_case(tmp_path), findings=FINDINGS))
    page = browse(run, "#case-t2v-guitar", width=400)
    link = page.locator(".case.shown a[href='#explain-lora_application']").first
    link.click()
    opened = page.locator("#explain-lora_application")
    expect(opened).to_be_visible()
    assert opened.evaluate("dialog => dialog.matches(':modal') && dialog.scrollHeight > dialog.clientHeight")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert not [found["id"] for found in Axe().run(page, context="#explain-lora_application").response["violations"]]
    opened.get_by_role("link", name="precision").click()
    expect(opened).to_be_hidden()
    expect(page.locator("#explain-precision")).to_be_visible()
    page.go_back()
    expect(opened).to_be_visible()
    page.keyboard.press("Escape")
    expect(opened).to_be_hidden()
    expect(page.locator("section.case.shown")).to_have_id("case-t2v-guitar")
    expect(link).to_be_focused()


def test_without_a_script_the_pages_stand_at_the_end(chromium: Browser, tmp_path: Path) -> None:
    write_report(run_of(replace(drifted_case(tmp_path), findings=FINDINGS)), tmp_path, tmp_path / "report.html")
    context = chromium.new_context(java_script_enabled=False, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto((tmp_path / "report.html").as_uri() + "#explain-scheduler")
    pages = page.locator("dialog.explain")
    assert [pages.nth(place).is_visible() for place in range(3)] == [True] * 3
    assert pages.nth(0).evaluate("page => getComputedStyle(page).position") == "static"  # below the cases
    expect(page.locator("#explain-scheduler h2")).to_be_in_viewport()
    context.close()
