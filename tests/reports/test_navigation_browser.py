"""Links, the history and keys in a real browser: the address decides what is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from parity.results.case import Run
from tests.support.browser import Browse, case, expect_frame, expect_page, shown, until
from tests.support.report_cases import every_status

GUITAR = "#case-t2v-guitar"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return every_status(tmp_path)


def scrolled(page: Page) -> float:
    return float(page.evaluate("scrollY"))


def test_links_lead_to_one_case_and_back_to_where_one_was(run: Run, browse: Browse) -> None:
    page = browse(run)
    page.set_viewport_size({"width": 1280, "height": 500})
    expect_page(page, None)
    title = page.title()
    page.evaluate("scrollTo({top: 150, behavior: 'instant'})")
    assert scrolled(page) == 150
    page.get_by_role("link", name="t2v-night").evaluate("link => link.click()")  # the mouse would scroll
    expect_page(page, "t2v-night")
    expect(page).to_have_title(f"t2v-night · {title}")
    assert scrolled(page) == 0
    assert page.evaluate("document.activeElement.textContent") == "t2v-night"
    page.evaluate("scrollTo({top: 400, behavior: 'instant'})")
    case(page, "t2v-night").get_by_role("button", name="Next frame").click()  # only replaces the entry
    there = scrolled(page)
    steps = page.get_by_role("navigation", name="Cases")
    expect(steps.locator(".steps-place")).to_have_text("3 of 5")
    expect(steps.get_by_role("link", name="i2v-near")).to_have_attribute("href", "#case-i2v-near")
    page.keyboard.press("j")
    expect_page(page, "i2v-near")
    page.go_back()
    expect_page(page, "t2v-night")
    assert scrolled(page) == there
    assert page.url.endswith("/frame=1")
    page.go_back()
    expect_page(page, None)
    expect(page).to_have_title(title)
    assert scrolled(page) == 150
    assert page.evaluate("document.activeElement.textContent") == "t2v-night"  # its row
    page.go_forward()
    expect_page(page, "t2v-night")
    assert scrolled(page) == there
    page.reload()
    expect_page(page, "t2v-night")
    assert scrolled(page) == there
    steps.get_by_role("link", name="All cases").click()
    expect_page(page, None)
    expect(page.get_by_role("link", name="t2v-night")).to_be_focused()
    expect(page.get_by_role("link", name="t2v-night")).to_be_in_viewport()


def test_the_neighbours_are_those_that_the_filter_leaves(run: Run, browse: Browse) -> None:
    page = browse(run)
    page.locator("#filter").fill("status:passed")
    page.get_by_role("link", name="i2v-near").click()
    steps = page.get_by_role("navigation", name="Cases")
    expect(steps.locator(".steps-place")).to_have_text("1 of 2")
    expect(steps.get_by_role("link")).to_have_text(["‹ All cases", "Next i2v ›"])
    page.go_back()
    expect(page.locator("#filter")).to_have_value("status:passed")
    page.evaluate("location.hash = '#case-t2v-guitar/frame=1'")  # whatever the filter hides
    expect_frame(page, 1)
    expect(steps.locator(".steps-place")).to_have_text("1 of 5")
    page.reload()
    page.keyboard.press("u")
    assert shown(page) == ["i2v-near", "i2v"]


def test_an_address_names_a_section_or_a_dialog(run: Run, browse: Browse) -> None:
    page = browse(run)
    page.evaluate(
        """() => {
        const part = document.createElement("details");
        part.innerHTML = "<summary>Later</summary><p>words</p>";
        part.dataset.section = "later";
        document.querySelector("[id='case-t2v-guitar']").append(part);
        const link = document.createElement("a");
        link.href = "#explain-seed";
        link.textContent = "what is a seed?";
        part.append(link);
        }"""
    )
    page.evaluate("location.hash = '#case-t2v-guitar/frame=2/later'")
    expect_frame(page, 2)
    later = case(page).locator("[data-section=later]")
    expect(later).to_have_js_property("open", True)
    expect(later).to_be_in_viewport()
    expect(later.locator("summary")).to_be_focused()
    there = scrolled(page)
    link = page.get_by_role("link", name="what is a seed?")
    link.click()
    dialog = page.locator("#explain-seed")
    expect(dialog).to_be_visible()
    expect_page(page, "t2v-guitar")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    until(page, "location.hash === '#case-t2v-guitar/frame=2/later'")
    expect(link).to_be_focused()
    assert scrolled(page) == there
    page.go_forward()
    expect(dialog).to_be_visible()
    page.go_back()
    expect(dialog).to_be_hidden()
    page.evaluate("location.hash = '#case-t2v-night/nothing'")
    expect_page(page, "t2v-night")
    expect(page.locator("#status")).to_have_text("t2v-night has no section “nothing”.")


def test_without_a_script_and_in_print_everything_is_shown(run: Run, browse: Browse) -> None:
    page = browse(run, GUITAR)
    expect_page(page, "t2v-guitar")
    page.emulate_media(media="print")
    expect(page.locator("main > section:visible")).to_have_count(7)
    page.emulate_media(media="screen")
    page.evaluate("document.documentElement.className = ''")
    page.evaluate("delete document.documentElement.dataset.page")
    expect(page.locator("main > section:visible")).to_have_count(7)
    expect(page.get_by_role("navigation", name="Cases")).to_be_hidden()


def test_a_link_leads_to_a_case_and_a_frame(run: Run, browse: Browse) -> None:
    page = browse(run, "#case-t2v-night/frame=4")
    expect_frame(page, 4, "t2v-night")
    expect_page(page, "t2v-night")
    page.evaluate("location.hash = '#case-t2v-guitar/frame=2'")
    expect_frame(page, 2)
    page.keyboard.press("ArrowRight")
    until(page, "location.hash === '#case-t2v-guitar/frame=3'")  # the address follows
    page.evaluate("location.hash = '#case-t2v-guitar/frame=99'")
    expect(page.locator("#status")).to_have_text("There is no frame 99; the last is 12.")


def test_a_link_to_nowhere_says_so(run: Run, browse: Browse) -> None:
    page = browse(run, "#case-gone/frame=4")
    expect(page.get_by_role("alert")).to_have_text("The link points to gone, which is not a case in this report.")
    expect_page(page, None)
    page.get_by_role("link", name="broken").click()
    expect(page.get_by_role("alert")).to_be_hidden()


def test_keys_go_from_case_to_case(run: Run, browse: Browse) -> None:
    page = browse(run)
    focused = "document.activeElement.textContent"
    for name in ("t2v-guitar", "broken", "t2v-night"):
        page.keyboard.press("j")
        until(page, f"{focused} === {json.dumps(name)}")
        expect_page(page, name)
    page.keyboard.press("k")
    until(page, f"{focused} === 'broken'")
    page.keyboard.press("u")
    expect_page(page, None)
    until(page, f"{focused} === 'broken'")  # its row
    page.keyboard.press("j")
    page.keyboard.press("k")  # before the first case there are all cases
    expect_page(page, None)
    page.keyboard.press("j")
    page.keyboard.press("/")
    page.keyboard.type("wj?")  # letters are letters there
    expect(page.locator("#filter")).to_have_value("wj?")
    page.keyboard.press("Escape")
    until(page, "document.activeElement.id !== 'filter'")


def test_the_help_opens_closes_and_turns_keys_off(run: Run, browse: Browse) -> None:
    page = browse(run, GUITAR)
    expect_frame(page, 6)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Shortcuts and filters")).to_be_visible()
    page.get_by_label("Single-key shortcuts").uncheck()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="Shortcuts and filters").click()
    page.get_by_label("Single-key shortcuts").check()
    page.keyboard.press("Escape")
    expect_frame(page, 6)


def test_every_key_of_the_help_does_something(run: Run, browse: Browse) -> None:
    page = browse(run, GUITAR)
    expect_frame(page, 6)
    arrows = {"←": "ArrowLeft", "→": "ArrowRight", "↑": "ArrowUp", "↓": "ArrowDown"}
    named = page.locator("#help kbd").all_text_contents()
    assert len(named) > 25
    handled = (
        "([key, shiftKey]) => !document.body.dispatchEvent("
        "new KeyboardEvent('keydown', {key, shiftKey, bubbles: true, cancelable: true}))"
    )
    for name in named:
        if name == "Esc":  # the browser's own
            continue
        shift = name.startswith("Shift ") or name in ("↑", "↓")
        if shift:
            page.keyboard.press("+")  # only what is zoomed can be moved
        key = name.removeprefix("Shift ")
        key = {**arrows, "Space": " ", "−": "-"}.get(key, key)
        assert page.evaluate(handled, [key, shift]), name
        page.evaluate("document.querySelector('dialog').close()")
    assert not page.evaluate(handled, ["q", False])
