"""The report in a real browser, used as a reader uses it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, expect

from parity.results.case import CaseResult, FindingResult, Run
from parity.results.diagnosis import Snippet
from tests.support.browser import Browse, expect_frame, expect_page, serious, shown, until, watch
from tests.support.report_cases import (
    HOSTILE,
    drifted_case,
    every_status,
    hostile_run,
    recipe,
    run_of,
)

GUITAR = "#case-t2v-guitar"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return every_status(tmp_path)


# ---- The page ----


def test_only_our_script_runs(tmp_path: Path, browse: Browse) -> None:
    hostile = hostile_run(tmp_path)
    page = browse(hostile)
    title = page.title()
    assert title.startswith("wan-parity: 1 of 2 cases")
    page.locator("tr[data-row] a").first.click()
    expect(page.locator("[data-side=difference] canvas").first).to_have_attribute(
        "aria-label", re.compile("^Difference at frame 6, ")
    )  # so our script did run
    assert page.title() == f"{HOSTILE} · {title}"
    expect(page.locator("img, [onerror]")).to_have_count(0)


def test_what_users_write_stays_text(tmp_path: Path, browse: Browse) -> None:
    prompt = f"{HOSTILE} \"quoted\" 'single' 🎸 \u202eright to left\u202c " + "long " * 2000
    assert len(prompt) > 10_000
    drifted = replace(
        drifted_case(tmp_path),
        id=HOSTILE,
        case_file=f"cases/{HOSTILE} '🎸'.yaml",
        case_yaml=prompt,
        recipes={"preview": recipe(prompt=prompt), "inference": recipe(prompt=prompt + "!")},
        tags=(HOSTILE,),
        findings=(FindingResult(factor=HOSTILE, preview=prompt, inference=HOSTILE, note=HOSTILE, fix=HOSTILE),),
    )
    for width in (1280, 400):
        page = browse(run_of(drifted), width=width)
        page.evaluate("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
        expect(page.locator("img, [onerror]")).to_have_count(0)
        assert page.title().startswith("wan-parity:")
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
        assert page.locator("pre.source").text_content() == prompt
        page.locator(".chip", has_text="onerror").click()
        assert shown(page) == [HOSTILE]
        page.locator("tr[data-row] th a").click()
        expect_page(page, HOSTILE)
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
        assert HOSTILE in (page.locator("section.case td", has_text="onerror").last.text_content() or "")


def test_the_watch_over_the_console_and_the_network_fails(chromium: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("<script>console.error('bad'); fetch('http://192.0.2.1/x').catch(() => {}); missing()</script>")
    page = chromium.new_page()
    complaints = watch(page, path.as_uri())
    page.goto(path.as_uri())
    until(page, "document.readyState === 'complete'")
    page.close()
    assert {complaint.split(":")[0] for complaint in complaints} >= {"error", "request", "uncaught"}


@pytest.mark.parametrize("width", [1920, 1280, 400])
def test_fits_the_window(run: Run, browse: Browse, width: int) -> None:
    page = browse(run, GUITAR, width=width)
    expect_frame(page, 6)
    page.keyboard.press("a")  # the bar of approvals too
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


@pytest.mark.parametrize(
    ("width", "theme", "states"),
    [(1920, "dark", "2"), (1280, "light", "a234?"), (1280, "dark", "a3f"), (400, "light", "a2"), (400, "dark", "4?")],
)
def test_axe_finds_no_serious_violation(
    run: Run, browse: Browse, width: int, theme: Literal["light", "dark"], states: str
) -> None:
    page = browse(run, GUITAR, width=width, theme=theme)
    expect_frame(page, 6)
    page.evaluate("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
    # axe takes places of elements that are not laid out, or lie beneath the bar of approvals, for places on screen.
    page.evaluate("document.getElementById('approvals').style.position = 'static'")
    for key in states:
        page.keyboard.press(key)
        assert serious(page) == [], key


HEIGHTS = """
addEventListener("DOMContentLoaded", () => requestAnimationFrame(function note() {
  const shown = document.querySelector("section.case:not([hidden])");
  const parts = shown ? [...shown.querySelectorAll(".viewer, .answer-columns, [data-section]")] : [];
  const heights = parts.map((part) => part.offsetHeight).join();
  if (parts.length && window.heights?.at(-1) !== heights) (window.heights ??= []).push(heights);
  requestAnimationFrame(note);
}));
"""
"""Keeps every height that the parts of the shown case ever had."""


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_jumps_while_stills_load(run: Run, browse: Browse, width: int) -> None:
    """Opened by a link, a case has its final heights from the first frame that the browser shows."""
    page = browse(run, "#environment", width=width)
    page.add_init_script(HEIGHTS)
    page.goto(page.url.replace("#environment", GUITAR))
    page.reload()
    expect_frame(page, 6)
    until(page, "document.querySelector('.strip canvas').width > 0 && document.querySelector('.ramp').textContent")
    assert len(page.evaluate("window.heights")) == 1


def test_axe_would_find_one(run: Run, browse: Browse) -> None:
    page = browse(run)
    page.evaluate("document.getElementById('filter').removeAttribute('aria-describedby')")
    page.evaluate("document.querySelector('label[for=filter]').remove()")
    page.evaluate("document.getElementById('filter').placeholder = ''")
    assert "label" in {rule for rule, *_ in serious(page)}


def test_what_to_change_is_copied_from_the_findings(tmp_path: Path, browse: Browse) -> None:
    fix = "pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)"
    code = Snippet(language="python", text=fix)
    finding = FindingResult(factor="scheduler", preview="Euler", inference="UniPC", note="other", fix=fix, code=code)
    drifted: CaseResult = replace(drifted_case(tmp_path), findings=(finding,), case_yaml="model: wan21_14b\n")
    page = browse(run_of(drifted), GUITAR)
    page.evaluate(
        "Object.defineProperty(navigator, 'clipboard', "
        "{configurable: true, value: {writeText: async (text) => { window.copied = text; }}})"
    )
    for name, text in (
        ("Copy the fix for scheduler", fix),
        ("Copy the command for t2v-guitar", "parity run 'cases/t2v guitar.yaml'"),
    ):
        button = page.get_by_role("button", name=name)
        button.click()
        expect(button).to_have_text("Copied")
        assert page.evaluate("window.copied") == text
    page.get_by_role("button", name="Copy a link to t2v-guitar and its frame").click()
    until(page, "window.copied.endsWith('#case-t2v-guitar/frame=6')")
