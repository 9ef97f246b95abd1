"""The pictures of a diagnosis in a real browser: one frame of all videos at a time, and one of them large."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from reports.render import write_report
from tests.support.browser import Browse, case
from tests.support.report_cases import diagnosed_case, run_of

PART = "#case-t2v-guitar/factors"


def picture(page: Page, side: str) -> Locator:
    return case(page).locator(f".trials-open[data-trial='{side}']")


def pixels(canvas: Locator) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    size, values = canvas.evaluate(
        "canvas => { const drawn = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d');"
        "drawn.drawImage(canvas, 0, 0); const { data } = drawn.getImageData(0, 0, canvas.width, canvas.height);"
        "return [[canvas.height, canvas.width, 4], [...data]]; }"
    )
    return np.array(values, dtype=np.uint8).reshape(size)[..., :3]


def still(folder: Path, place: str, frame: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with Image.open(folder / "artifacts/t2v-guitar" / place / f"{frame:04d}.webp") as image:
        return np.asarray(image.convert("RGB"))


def test_one_frame_of_all_videos_at_a_time(tmp_path: Path, browse: Browse) -> None:
    page = browse(run_of(diagnosed_case(tmp_path)), PART)
    part = case(page).locator(".trials")
    places = {
        "preview": "preview",
        "as_is": "output",
        "waterfall:1": "trials/1-only-scheduler-fixed",
        "loss:scheduler": "trials/2-only-scheduler-broken",
    }
    scrubber = part.locator(".trials-frame").first
    expect(part.locator(".trials-position")).to_have_text("frame 6, which differs most")
    for frame, key in ((6, None), (9, "ArrowRight"), (10, "End"), (0, "Home")):
        if key is not None:
            scrubber.press(key)
        expect(part.locator(".trials-position")).to_have_text(re.compile(f"^frame {frame}"))
        expect(picture(page, "loss:scheduler").locator("canvas")).to_be_visible()
        for side, place in places.items():
            assert (
                np.abs(pixels(picture(page, side).locator("canvas")).astype(int) - still(tmp_path, place, frame)).max()
                <= 2
            )
    expect(part.get_by_text("gain and loss: the budget was spent")).to_have_count(2)
    expect(part.get_by_text("not generated: more than the generations planned")).to_be_visible()


def test_differences_are_black_where_a_fix_makes_the_picture_right(tmp_path: Path, browse: Browse) -> None:
    page = browse(run_of(diagnosed_case(tmp_path)), PART)
    part = case(page).locator(".trials")
    maps = {
        side: part.locator(f"figure:has([data-trial='{side}']) .trials-map") for side in ("as_is", "gain:scheduler")
    }
    expect(maps["gain:scheduler"]).to_have_text("no difference")
    assert pixels(maps["gain:scheduler"].locator("canvas")).max() <= 4  # the ramp's darkest colour
    assert pixels(maps["as_is"].locator("canvas")).max() > 100
    expect(maps["as_is"]).to_have_text("")
    expect(part.locator(".trials-legend").first).to_contain_text("of 255 levels")
    part.get_by_label("Differences from the preview").uncheck()
    expect(part.locator(".trials-map:visible")).to_have_count(0)
    expect(part.locator(".trials-legend:visible")).to_have_count(0)


def test_a_picture_opens_large_beside_the_preview(tmp_path: Path, browse: Browse) -> None:
    page = browse(run_of(diagnosed_case(tmp_path)), PART)
    scrubber = case(page).locator(".trials-frame").first
    expect(scrubber).to_have_attribute("aria-valuetext", re.compile("frame"))  # before that no key is listened to
    picture(page, "loss:scheduler").focus()
    page.keyboard.press("Enter")
    large = case(page).locator("dialog.trials-large")
    expect(large).to_be_visible()
    expect(large.locator("h4")).to_have_text("only scheduler broken")
    expect(large.locator("canvas:visible")).to_have_count(2)
    large.get_by_text("Slider").click()
    expect(large.locator(".trials-split")).to_be_visible()
    trial = large.locator("[data-part=trial] canvas")
    before = trial.evaluate("canvas => getComputedStyle(canvas).clipPath")
    large.get_by_label("Divider").press("Home")
    assert trial.evaluate("canvas => getComputedStyle(canvas).clipPath") != before
    large.get_by_text("Difference", exact=True).first.click()
    expect(large.locator("canvas:visible")).to_have_count(1)
    large.locator(".trials-frame").press("End")
    expect(large.locator(".trials-where")).to_have_text("frame 10")
    expect(large.locator("[data-part=map] canvas")).to_be_visible()
    assert Axe().run(page).response["violations"] == []
    page.keyboard.press("Escape")
    expect(large).to_be_hidden()
    expect(case(page).locator(".trials-position")).to_have_text("frame 10")  # all pictures moved along
    expect(picture(page, "loss:scheduler")).to_be_focused()


def test_fits_a_phone_in_the_dark_and_a_wide_window(tmp_path: Path, browse: Browse) -> None:
    run = run_of(diagnosed_case(tmp_path))
    phone = browse(run, PART, width=400, theme="dark")
    expect(picture(phone, "as_is").locator("canvas")).to_be_visible()
    assert phone.evaluate("document.documentElement.scrollWidth") == 400
    first, second, third = (picture(phone, side).bounding_box() for side in ("preview", "as_is", "waterfall:1"))
    assert first is not None
    assert second is not None
    assert third is not None
    assert first["y"] == second["y"] < third["y"]  # two by two
    assert Axe().run(phone).response["violations"] == []
    wide = browse(run, PART)
    rows = [picture(wide, side).bounding_box() for side in ("waterfall:1", "gain:scheduler", "loss:scheduler")]
    assert len({box["x"] for box in rows if box is not None}) == 1  # a factor's pictures stand below each other


def test_without_a_script_there_is_a_list(chromium: Browser, tmp_path: Path) -> None:
    write_report(run_of(diagnosed_case(tmp_path)), tmp_path, tmp_path / "report.html")
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    rows = page.locator(".trials-list")
    assert rows.first.inner_text().split("\n")[:3] == ["Preview", "As requested", "30.00 dB"]
    expect(page.locator(".trials canvas:visible, .trials-bar:visible")).to_have_count(0)
    context.close()
