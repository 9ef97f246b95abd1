"""A case's page in a real browser: the answer in the first screen, the rest folded, tables that stay readable."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from parity.results.case import CaseResult, FindingResult
from parity.results.diagnosis import Snippet
from tests.support.browser import Browse, case, serious, until
from tests.support.report_cases import diagnosed_case, drifted_case, passed_case, run_of, video

GUITAR = "#case-t2v-guitar"
PREVIEW = "FlowMatchEulerDiscreteScheduler, shift 3.0"
REQUEST = "UniPCMultistepScheduler, shift 3.0"
CODE = "\n".join(["import torch", *(f"pipe.step({number})  # {'and so on, ' * 9}" for number in range(40))])


@pytest.fixture
def diagnosed(tmp_path: Path) -> CaseResult:
    """A case with three factors, long class names, and forty lines of code to change."""
    found = diagnosed_case(tmp_path)
    why = found.diagnosis
    assert why is not None
    scheduler, *others = why.factors
    code = Snippet(language="python", text=CODE)
    factors = (replace(scheduler, preview=PREVIEW, inference=REQUEST, code=code), *others)
    finding = FindingResult(factor="scheduler", preview=PREVIEW, inference=REQUEST, note="build the preview's")
    lost = replace(why.preview_recipe, stills=None) if why.preview_recipe is not None else None
    why = replace(why, factors=factors, smallest_set=None, preview_recipe=lost, code=code)
    return replace(found, findings=(finding,), diagnosis=why)


def bottom(page: Page, selector: str) -> float:
    return float(case(page).locator(selector).evaluate("element => element.getBoundingClientRect().bottom + scrollY"))


def overflow(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def opened(page: Page) -> list[str]:
    return case(page).locator("details.fold[open] > summary h3").all_text_contents()


def painted(page: Page, side: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    size, values = (
        case(page)
        .locator(f".answer-proof canvas[data-side='{side}']")
        .evaluate(
            "canvas => { const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d');"
            "copy.drawImage(canvas, 0, 0); const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);"
            "return [[canvas.height, canvas.width, 4], [...data]]; }"
        )
    )
    return np.array(values, dtype=np.uint8).reshape(size)[..., :3]


def test_why_and_what_to_change_are_one_click_and_no_scrolling_away(
    diagnosed: CaseResult, tmp_path: Path, browse: Browse
) -> None:
    page = browse(run_of(diagnosed, passed_case(tmp_path)))
    page.locator("tr[data-row] th a").first.click()
    for part in (".answer-sentence", ".answer-list", ".answer-code"):
        expect(case(page).locator(part)).to_be_visible()
        assert bottom(page, part) <= 900
    assert page.evaluate("scrollY") == 0
    assert opened(page) == []

    expect(case(page).locator(".answer-proof h3")).to_have_text("Frame 6, which differs most")
    for side, place in (
        ("preview", "preview"),
        ("output", "output"),
        ("gain:scheduler", "trials/1-only-scheduler-fixed"),
    ):
        until(page, f"document.querySelector(`.answer-proof canvas[data-side='{side}'] + span`).textContent === ''")
        with Image.open(tmp_path / f"artifacts/t2v-guitar/{place}/0006.webp") as image:
            assert np.array_equal(painted(page, side), np.asarray(image.convert("RGB")))
    expect(case(page).locator(".answer-proof canvas[data-side=recipe] + span")).to_have_text(
        "no still of this in the file"
    )

    page.evaluate(
        "Object.defineProperty(navigator, 'clipboard', "
        "{configurable: true, value: {writeText: async (text) => { window.copied = text; }}})"
    )
    page.get_by_role("button", name="Copy all changes for t2v-guitar").click()
    until(page, "window.copied !== undefined")
    assert page.evaluate("window.copied") == CODE

    case(page).locator(".answer-proof a").nth(1).click()
    until(page, "location.hash.endsWith('/frame=6/frames')")
    expect(case(page).locator(".viewer")).to_be_in_viewport()


def test_links_open_parts_and_what_a_reader_opened_stays_open(diagnosed: CaseResult, browse: Browse) -> None:
    second = replace(diagnosed, id="second")
    page = browse(run_of(diagnosed, second), GUITAR)
    links = case(page).locator(".answer-links a")
    assert links.all_text_contents() == [
        "Answer",
        "Frames",
        "Does it matter?",
        "Metrics",
        "Findings",
        "Settings",
        "Files",
    ]
    for link in links.all()[1:]:
        link.click()
        name = (link.get_attribute("href") or "").rpartition("/")[2]
        part = case(page).locator(f"[data-section={name}]")
        expect(part).to_be_in_viewport()
        expect(link).to_be_in_viewport()  # they stay at the top
        assert part.evaluate("part => part.getBoundingClientRect().top") >= 30  # and cover nothing
    assert opened(page) == ["Metrics", "Findings", "Settings", "Files"]

    page.reload()
    page.goto(page.url.partition("#")[0] + GUITAR)
    assert opened(page) == ["Files"]  # only what the address named was opened for it
    case(page).locator("details.fold > summary", has_text="Settings").click()
    page.reload()
    assert "Settings" in opened(page)
    assert case(page, "second").locator("details[data-section=recipes]").get_attribute("open") is not None
    case(page).locator("details.fold > summary", has_text="Settings").click()
    assert case(page, "second").locator("details[data-section=recipes]").get_attribute("open") is None


@pytest.mark.parametrize(("width", "theme"), [(400, "dark"), (1280, "light"), (1920, "dark")])
def test_every_part_stays_readable(diagnosed: CaseResult, browse: Browse, width: int, theme: str) -> None:
    page = browse(run_of(diagnosed), GUITAR, width=width, theme=theme)  # type: ignore[arg-type]
    page.evaluate("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
    assert overflow(page) == 0
    # A class name breaks at its capital letters alone: no piece of it is on two lines.
    broken = page.evaluate(
        "() => { const found = [];"
        "for (const cell of document.querySelectorAll('.shown td, .answer-list p')) {"
        "  const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);"
        "  while (texts.nextNode()) for (const word of texts.currentNode.data.matchAll(/[A-Za-z]+/g)) {"
        "    const range = document.createRange(); range.setStart(texts.currentNode, word.index);"
        "    range.setEnd(texts.currentNode, word.index + word[0].length);"
        "    if (new Set([...range.getClientRects()].map((box) => box.top)).size > 1) found.push(word[0]); } }"
        "return found; }"
    )
    assert broken == []
    # Every number is on screen, and says what it is where the table has become cards.
    cells = case(page).locator("table.costs td.number")
    assert cells.count() >= 4
    for cell in cells.all():
        place = cell.bounding_box()
        assert place is not None
        assert place["x"] + place["width"] <= width
        label = cell.evaluate("cell => getComputedStyle(cell, '::before').content")
        assert label == ("none" if width > 720 else f'"{cell.get_attribute("data-label")}"')
    proof = case(page).locator(".answer-proof").bounding_box()
    assert proof is not None
    assert width < 1900 or proof["width"] > 700
    assert serious(page) == []


def test_without_a_diagnosis_the_difference_is_the_proof(tmp_path: Path, browse: Browse) -> None:
    drifted = replace(drifted_case(tmp_path, frames=11), preview=video(11), output=video(11))
    page = browse(run_of(drifted), GUITAR)
    expect(case(page).locator(".answer-next code")).to_have_text("parity diagnose 'cases/t2v guitar.yaml'")
    until(page, "document.querySelector('.answer-proof canvas[data-side=difference] + span').textContent === ''")
    assert painted(page, "difference").max() > 200
    shown = case(page).locator(".answer-change")
    expect(shown.locator("button.copy")).to_have_count(1)  # prose has none, the command has one


def test_originals_are_linked_beside_the_page(diagnosed: CaseResult, tmp_path: Path, browse: Browse) -> None:
    (tmp_path / "artifacts/t2v guitar").mkdir()
    (tmp_path / "artifacts/t2v guitar/preview.webp").write_bytes(b"")
    paths = {"preview": "artifacts/t2v guitar/preview.webp", "output": "../../etc/output.webp"}
    page = browse(run_of(replace(diagnosed, artifacts={**diagnosed.artifacts, **paths})), f"{GUITAR}/files")
    links = case(page).locator("[data-section=files] a")
    assert links.evaluate_all("all => all.map((link) => link.href)") == [
        (tmp_path / "artifacts/t2v guitar/preview.webp").as_uri()
    ]
    expect(case(page).locator("[data-section=files]")).to_contain_text(re.compile("beside this page, not in it"))
