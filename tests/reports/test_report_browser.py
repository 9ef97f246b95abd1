"""The report in a real browser, used as a reader uses it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from parity.results.case import CaseResult, FindingResult, Run
from tests.support.browser import Browse, case, expect_frame, expect_page, shown, until, watch
from tests.support.report_cases import (
    HOSTILE,
    drifted_case,
    every_status,
    hostile_run,
    recipe,
    run_of,
    video,
)

GUITAR = "#case-t2v-guitar"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return every_status(tmp_path)


def pixels(page: Page, side: str) -> list[int]:
    values: list[int] = page.evaluate(
        "side => { const canvas = document.querySelector(`.case [data-side=${side}] canvas`);"
        "return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]; }",
        side,
    )
    return values


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
        page.locator("tr[data-row] a").click()
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


@pytest.mark.parametrize("width", [1280, 400])
def test_fits_the_window(run: Run, browse: Browse, width: int) -> None:
    page = browse(run, GUITAR, width=width)
    expect_frame(page, 6)
    page.keyboard.press("a")  # the bar of approvals too
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


@pytest.mark.parametrize(
    ("width", "theme", "states"),
    [(1280, "light", "a234?"), (1280, "dark", "a3"), (400, "light", "a2"), (400, "dark", "4?")],
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
        found = Axe().run(page, options={"resultTypes": ["violations"], "preload": False})
        violations = [
            (item["id"], item["nodes"][0]["html"], item["nodes"][0]["failureSummary"])
            for item in found.response["violations"]
            if item["impact"] in ("serious", "critical")
        ]
        assert violations == [], key


def test_axe_would_find_one(run: Run, browse: Browse) -> None:
    page = browse(run)
    page.evaluate("document.getElementById('filter').removeAttribute('aria-describedby')")
    page.evaluate("document.querySelector('label[for=filter]').remove()")
    page.evaluate("document.getElementById('filter').placeholder = ''")
    found = Axe().run(page, options={"resultTypes": ["violations"], "preload": False})
    assert "label" in {item["id"] for item in found.response["violations"]}


# ---- The viewer ----


def test_scrubbing(run: Run, browse: Browse) -> None:
    page = browse(run, GUITAR)
    expect_frame(page, 6)  # opens at the worst frame
    case(page).get_by_role("slider", name="Frame").focus()
    page.keyboard.press("ArrowRight")
    expect_frame(page, 7)
    expect(case(page).locator("[data-side=output] canvas")).to_have_attribute("aria-label", "output, frame 7")
    expect(case(page).locator(".values")).to_contain_text("PSNR 30.25 dB")
    expect(case(page).locator(".position")).to_have_text("frame 7 of 0–12, 0.43 s")
    page.keyboard.press("End")
    expect(case(page).locator("[data-side=output] .gap")).to_have_text("no frame 12 in the output")
    case(page).get_by_role("button", name="Worst frame").click()
    expect_frame(page, 6)
    case(page).locator(".strip button").nth(2).click()
    expect(case(page).locator(".strip button").nth(2)).to_have_attribute("aria-current", "true")


def test_the_curve_is_clicked_and_dragged(run: Run, browse: Browse) -> None:
    page = browse(run, GUITAR)
    expect_frame(page, 6)
    plot = case(page).locator(".plot").first
    plot.scroll_into_view_if_needed()
    plot.click(position={"x": 57, "y": 40})  # its left end
    expect_frame(page, 0)
    box = plot.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 57, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60, steps=4)
    page.mouse.move(box["x"] + box["width"] - 12, box["y"] + 60, steps=4)
    page.mouse.up()
    expect(case(page).locator(".position")).to_have_text(re.compile("^frame 12 of"))


def heat_map(levels: np.ndarray[Any, Any], gain: int) -> np.ndarray[Any, Any]:
    """The difference map as NumPy makes it: levels, amplified, on a ramp through five colours."""
    ramp = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]])
    at = np.minimum(255, levels * gain)
    return np.stack([np.interp(at, np.linspace(0, 255, 5), ramp[:, c]) for c in range(3)], axis=-1)


def test_the_difference_is_one_map_in_both_modes(run: Run, browse: Browse, tmp_path: Path) -> None:
    page = browse(run, GUITAR)
    expect_frame(page, 6)
    sides = [
        np.asarray(Image.open(tmp_path / f"artifacts/t2v-guitar/{side}/0006.webp").convert("RGB")).astype(int)
        for side in ("preview", "output")
    ]
    levels = abs(sides[0] - sides[1]).max(axis=-1)
    largest = int(levels.max())
    high = int(np.percentile(levels[levels > 0], 98, method="inverted_cdf"))
    suits = max(gain for gain in (1, 2, 4, 8, 16, 32, 64) if gain == 1 or gain * high <= 255)
    assert 1 < suits < 64
    select = case(page).get_by_label("Gain of the difference")
    expect(select.locator("option").first).to_have_text(f"auto: {suits}×")
    canvas = case(page).locator("[data-side=difference] canvas")
    legend = case(page).locator(".difference .ramp")
    for gain in ("auto", "1", "4", "16", "64"):
        factor = suits if gain == "auto" else int(gain)
        expect(select).to_have_value(gain)
        label = f"Difference at frame 6, {factor} times, at most {largest} of 255 levels"
        expect(canvas).to_have_attribute("aria-label", label)
        expect(legend).to_have_text(f"0 {-(-255 // factor)}{'+' if factor > 1 else ''} of 255 levels")
        side_by_side = np.array(pixels(page, "difference")).reshape(64, 96, 4)
        assert abs(side_by_side[..., :3] - heat_map(levels, factor)).max() <= 0.5
        assert (side_by_side[..., 3] == 255).all()
        page.keyboard.press("4")
        expect(case(page).locator(".preview canvas")).to_be_hidden()
        assert (np.array(pixels(page, "difference")).reshape(64, 96, 4) == side_by_side).all()
        page.keyboard.press("1")
        page.keyboard.press("g")
    expect(select).to_have_value("auto")


@pytest.mark.parametrize(
    ("name", "says"), [("i2v", "identical"), ("i2v-near", "no difference in the compressed stills")]
)
def test_where_nothing_differs_the_difference_says_so(run: Run, browse: Browse, name: str, says: str) -> None:
    page = browse(run, f"#case-{name}")
    expect(case(page, name).locator(".difference .gap")).to_have_text(says)


def test_the_slider_shows_the_preview_left_and_the_output_right(run: Run, browse: Browse) -> None:
    page = browse(run, GUITAR)
    expect_frame(page, 6)
    page.keyboard.press("2")
    output = case(page).locator(".output .stage")
    box = output.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.25, middle, steps=5)
    page.mouse.up()
    split = case(page).get_by_label("Divider: preview to its left, output to its right")
    assert float(split.input_value()) == pytest.approx(25, abs=1)
    assert output.evaluate("element => getComputedStyle(element).clipPath") == "inset(0px 0px 0px 25%)"
    assert case(page).locator(".preview .stage").bounding_box() == box  # one over the other


def test_blink_swaps_by_hand(run: Run, browse: Browse) -> None:
    page = browse(run, GUITAR)  # with reduced motion it does not start by itself
    expect_frame(page, 6)
    page.keyboard.press("3")
    preview, output = (case(page).locator(f".{side} .stage") for side in ("preview", "output"))
    expect(preview).to_be_visible()
    expect(output).to_be_hidden()
    page.keyboard.press("s")
    expect(output).to_be_visible()
    expect(preview).to_be_hidden()


def test_zoom_and_pan_move_all_stages(run: Run, browse: Browse) -> None:
    page = browse(run, GUITAR)
    expect_frame(page, 6)
    for _ in range(3):
        page.keyboard.press("+")
    expect(case(page).locator(".zoom")).to_have_text("338%")
    panes = case(page).locator(".pane")

    def transforms() -> set[str]:
        found: list[str] = panes.evaluate_all("all => all.map((pane) => getComputedStyle(pane).transform)")
        return set(found)

    before = transforms()
    assert len(before) == 1
    page.keyboard.press("Shift+ArrowRight")
    moved = transforms()
    assert len(moved) == 1
    assert moved != before
    box = case(page).locator(".preview .stage").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 80, box["y"] + 60, steps=3)
    page.mouse.up()
    assert transforms() != moved
    case(page).get_by_role("button", name="Reset").click()
    expect(case(page).locator(".zoom")).to_have_text("100%")


def test_play_runs_to_the_end_and_loops_if_asked(run: Run, browse: Browse) -> None:
    page = browse(run, f"{GUITAR}/frame=10")
    expect_frame(page, 10)
    case(page).get_by_label("Speed").select_option("2")
    play = case(page).locator(".play")
    page.keyboard.press("Space")
    expect(play).to_have_text("❚❚ Pause")
    expect(play).to_have_text("▶ Play")  # at the end it stops
    expect(case(page).locator(".position")).to_have_text(re.compile("^frame 12 of"))
    page.keyboard.press("l")
    expect(case(page).get_by_label("Loop")).to_be_checked()
    page.keyboard.press("Space")
    until(page, "document.querySelector('.case .scrubber input').value === '11'")
    until(page, "document.querySelector('.case .scrubber input').value === '1'")  # past the end
    page.keyboard.press("Space")
    expect(play).to_have_text("▶ Play")


def test_the_viewers_settings_are_kept(run: Run, browse: Browse) -> None:
    page = browse(run, GUITAR)
    expect_frame(page, 6)
    top = case(page).evaluate("element => element.getBoundingClientRect().top")
    page.keyboard.press("4")
    assert case(page).evaluate("element => element.getBoundingClientRect().top") == pytest.approx(top, abs=1)
    page.reload()
    expect(case(page).get_by_role("radio", name="Difference")).to_be_checked()
    page.evaluate("location.hash = '#case-t2v-night'")
    expect(case(page, "t2v-night").get_by_role("radio", name="Difference")).to_be_checked()


def test_another_size_is_shown_to_scale_and_not_subtracted(tmp_path: Path, browse: Browse) -> None:
    drifted = drifted_case(tmp_path)
    for path in (tmp_path / "artifacts/t2v-guitar/output").iterdir():
        with Image.open(path) as image:
            image.resize((48, 32)).save(path)
    small = replace(drifted, output=video(11, 48, 32), metrics={})
    page = browse(run_of(small), GUITAR)
    expect_frame(page, 0)
    expect(case(page).locator(".difference .gap")).to_have_text("not computed: the sizes differ, 96×64 and 48×32")
    boxes = [case(page).locator(f".{side} canvas").bounding_box() for side in ("preview", "output")]
    assert boxes[0]
    assert boxes[1]
    assert boxes[1]["width"] == pytest.approx(boxes[0]["width"] / 2, abs=1)


# ---- Links, keys, approvals ----


def saved_approvals(page: Page, folder: Path) -> dict[str, Any]:
    with page.expect_download() as download:
        page.get_by_role("button", name="Save approvals.json").click()
    assert download.value.suggested_filename == "approvals.json"
    path = folder / "saved.json"
    download.value.save_as(path)
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_ticked_cases_are_saved_as_approvals(run: Run, browse: Browse, tmp_path: Path) -> None:
    page = browse(run)
    expect(page.locator("#approvals")).to_be_hidden()
    page.get_by_label("Approve i2v", exact=True).first.check()
    page.goto(page.url + GUITAR)
    page.keyboard.press("a")
    expect(page.locator("#approvals .ticked")).to_have_text("2 of 4 cases")  # what could not be run has no box
    expect(case(page).get_by_label("Approve t2v-guitar")).to_be_checked()
    page.reload()
    expect(page.locator("#approvals .ticked")).to_have_text("2 of 4 cases")
    assert saved_approvals(page, tmp_path) == {
        "schema_version": 1,
        "kind": "wan-parity approvals",
        "results_started": run.started,
        "results": [str(tmp_path / "results.json")],
        "cases": [
            {"id": "i2v", "output_sha256": "9f" * 32, "raw_sha256": "3c" * 32},
            {"id": "t2v-guitar", "output_sha256": "9f" * 32, "raw_sha256": "3c" * 32},
        ],
    }


def test_tick_all_ticks_what_the_filter_shows(run: Run, browse: Browse, tmp_path: Path) -> None:
    page = browse(run)
    page.get_by_label("Approve t2v-night").first.check()
    page.locator("#filter").fill("status:passed")
    page.get_by_role("button", name="Select all shown").click()
    assert [item["id"] for item in saved_approvals(page, tmp_path)["cases"]] == ["i2v", "t2v-night", "i2v-near"]
    page.get_by_role("button", name="Clear selection").click()
    expect(page.locator("#approvals")).to_be_hidden()


def test_what_to_change_is_copied_from_the_findings(tmp_path: Path, browse: Browse) -> None:
    fix = "pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)"
    finding = FindingResult(factor="scheduler", preview="Euler", inference="UniPC", note="other", fix=fix)
    drifted: CaseResult = replace(drifted_case(tmp_path), findings=(finding,), case_yaml="model: wan21_14b\n")
    page = browse(run_of(drifted), GUITAR)
    case(page).locator("[data-section=findings] > summary").click()
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
