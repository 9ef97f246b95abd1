"""The frame viewer in a real browser. The difference map is computed a second time, by NumPy from the stills."""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from parity.results.case import CaseResult, MetricResult, Run
from tests.support.browser import Browse, case, expect_frame, until
from tests.support.report_cases import drifted_case, every_status, run_of, video

GUITAR = "#case-t2v-guitar"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return every_status(tmp_path)


def box(element: Locator) -> dict[str, float]:
    """Where an element is in the window."""
    found: dict[str, float] = element.evaluate("element => element.getBoundingClientRect().toJSON()")
    return found


def stages(page: Page) -> dict[str, dict[str, float]]:
    """Where preview, output and difference of the case on show are, all at one moment."""
    found: dict[str, dict[str, float]] = page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('.shown .viewer .stage')]"
        ".map((stage) => [stage.dataset.side, stage.getBoundingClientRect().toJSON()]))"
    )
    return found


def pixels(canvas: Locator) -> np.ndarray[Any, Any]:
    """The pixels of a canvas: rows, columns, RGBA."""
    width, height, data = canvas.evaluate(
        "canvas => [canvas.width, canvas.height, "
        "btoa(Array.from(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data, "
        "(value) => String.fromCharCode(value)).join(''))]"
    )
    return np.frombuffer(b64decode(data), np.uint8).reshape(height, width, 4)


def test_scrubbing_moves_pictures_numbers_and_curves(run: Run, browse: Browse) -> None:
    page = browse(run, GUITAR)
    expect_frame(page, 6)  # opens at the worst frame
    guitar = case(page)
    guitar.get_by_role("slider", name="Frame").focus()
    page.keyboard.press("ArrowRight")
    expect_frame(page, 7)
    expect(guitar.locator("[data-side=output] canvas")).to_have_attribute("aria-label", "output, frame 7")
    expect(guitar.locator(".values")).to_have_text("PSNR 30.25 dB · SSIM 0.7564")
    expect(guitar.locator(".position")).to_have_text("frame 7 of 0–12, 0.43 s")
    page.keyboard.press("End")
    expect(guitar.locator("[data-side=output] .gap")).to_have_text("no frame 12 in the output")
    guitar.get_by_role("button", name="Worst frame").click()
    expect_frame(page, 6)
    expect(guitar.locator(".worst-frames p")).to_have_text(
        re.compile(r"^Worst frames by PSNR: output and difference, 0 +\d+\+ of 255 levels$")
    )
    third = guitar.locator(".strip button").nth(2)
    third.click()
    expect(third).to_have_attribute("aria-current", "true")

    plot = guitar.locator(".plot").first
    plot.scroll_into_view_if_needed()
    plot.click(position={"x": 57, "y": 40})  # its left end
    expect_frame(page, 0)
    place = box(plot)
    page.mouse.move(place["right"] - 12, place["y"] + 60)  # only pointing at it
    expect(plot.locator(".hover text")).to_have_text("frame 12: no counterpart")
    page.mouse.move(place["x"] + 57, place["y"] + 60)
    expect(plot.locator(".hover text")).to_have_text("frame 0: PSNR ∞ (identical)")
    expect_frame(page, 0)
    page.mouse.down()
    page.mouse.move(place["x"] + place["width"] / 2, place["y"] + 60, steps=4)
    page.mouse.move(place["right"] - 12, place["y"] + 60, steps=4)
    page.mouse.up()
    expect(guitar.locator(".position")).to_have_text(re.compile("^frame 12 of"))
    page.mouse.move(place["x"], place["y"] - 30)
    expect(plot.locator(".hover text")).to_have_count(0)
    expect(guitar.locator(".curve figcaption").first).to_contain_text(
        "higher is better; 2 of 11 frames identical, worst 30.04 dB at frame 6; "
        "hatched: frames 11–12 have no counterpart"
    )


def test_a_curve_of_some_frames_says_what_was_not_measured(tmp_path: Path, browse: Browse) -> None:
    drifted = drifted_case(tmp_path)
    worst = (5, 6, 7)
    some = MetricResult(
        variant="AlexNet, of 3 of 11 frames",
        higher_is_better=False,
        mean=0.2,
        min=0.1,
        max=0.3,
        per_frame=tuple((frame - 4) / 10 if frame in worst else None for frame in range(11)),
        measured=worst,
        identical_frames=2,
    )
    floor = {"psnr": 38.4, "ssim": 0.99, "lpips": 0.05}
    drifted = replace(drifted, preview=video(11), metrics={**drifted.metrics, "lpips": some}, codec_floor=floor)
    page = browse(run_of(drifted), GUITAR)
    expect_frame(page, 6)
    guitar = case(page)
    answer = guitar.locator(".answer-proof figure", has=page.locator("[data-side=difference]"))
    expect(answer.locator(".ramp")).to_have_text(guitar.locator(".viewer .ramp").first.inner_text())
    assert (pixels(answer.locator("canvas")) == pixels(guitar.locator(".stage[data-side=difference] canvas"))).all()
    curve = guitar.locator("figure.curve", has=page.locator("[data-metric=lpips]"))
    expect(curve.locator("figcaption")).to_have_text(
        "LPIPS lower is better; measured on 3 of 11 frames, worst 0.3000 at frame 7 codec floor 0.0500"
    )
    expect(curve.locator(".dot")).to_have_count(3)
    expect(curve.locator(".identical")).to_have_count(0)
    expect(curve.locator(".cursor-dot")).to_be_visible()
    expect(guitar.locator(".values")).to_have_text("PSNR 30.04 dB · SSIM 0.7510 · LPIPS 0.2000")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(guitar.locator(".values")).to_contain_text("LPIPS not measured")
    expect(curve.locator(".cursor-dot")).to_be_hidden()


# ---- The difference ----


def heat_map(levels: np.ndarray[Any, Any], gain: int) -> np.ndarray[Any, Any]:
    """The difference map as NumPy makes it: levels, amplified, on a ramp through five colours."""
    ramp = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]])
    at = np.minimum(255, levels * gain)
    return np.stack([np.interp(at, np.linspace(0, 255, 5), ramp[:, c]) for c in range(3)], axis=-1)


def test_the_difference_is_one_map_in_every_view(run: Run, browse: Browse, tmp_path: Path) -> None:
    page = browse(run, GUITAR)
    expect_frame(page, 6)
    guitar = case(page)
    sides = [
        np.asarray(Image.open(tmp_path / f"artifacts/t2v-guitar/{side}/0006.webp").convert("RGB")).astype(int)
        for side in ("preview", "output")
    ]
    levels = abs(sides[0] - sides[1]).max(axis=-1)
    largest = int(levels.max())
    high = int(np.percentile(levels[levels > 0], 98, method="inverted_cdf"))
    suits = max(gain for gain in (1, 2, 4, 8, 16, 32, 64) if gain == 1 or gain * high <= 255)
    assert 1 < suits < 64
    select = guitar.get_by_label("Gain of the difference")
    expect(select.locator("option").first).to_have_text(f"auto: {suits}×")
    canvas, small = guitar.locator("[data-side=difference] canvas"), guitar.locator(".strip .thumb-difference").first
    legend = guitar.locator(".difference .ramp")
    for gain in ("auto", "1", "4", "16", "64"):
        factor = suits if gain == "auto" else int(gain)
        expect(select).to_have_value(gain)
        label = f"Difference at frame 6, {factor} times, at most {largest} of 255 levels"
        expect(canvas).to_have_attribute("aria-label", label)
        expect(legend).to_have_text(f"0 {-(-255 // factor)}{'+' if factor > 1 else ''} of 255 levels")
        side_by_side = pixels(canvas)
        assert abs(side_by_side[..., :3] - heat_map(levels, factor)).max() <= 0.5
        assert (side_by_side[..., 3] == 255).all()
        if gain == "16":
            assert (pixels(small) == side_by_side).all()
        page.keyboard.press("4")
        expect(guitar.locator(".preview canvas")).to_be_hidden()
        assert (pixels(canvas) == side_by_side).all()
        page.keyboard.press("1")
        page.keyboard.press("g")
    expect(select).to_have_value("auto")
    page.keyboard.press("ArrowLeft")  # one gain for all frames of a case: they compare
    expect(canvas).to_have_attribute("aria-label", re.compile(f"^Difference at frame 5, {suits} times, "))

    select.select_option("16")  # settings are those of every case, and kept
    page.keyboard.press("4")
    page.reload()
    expect(guitar.get_by_role("radio", name="Difference")).to_be_checked()
    expect(select).to_have_value("16")
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(case(page, "t2v-night").get_by_role("radio", name="Difference")).to_be_checked()
    for name, says in (("i2v", "identical"), ("i2v-near", "no difference in the compressed stills")):
        page.evaluate(f"location.hash = '#case-{name}'")
        expect(case(page, name).locator(".difference .gap")).to_have_text(says)


def test_another_size_is_shown_to_scale_and_not_subtracted(tmp_path: Path, browse: Browse) -> None:
    drifted = drifted_case(tmp_path)
    for path in (tmp_path / "artifacts/t2v-guitar/output").iterdir():
        with Image.open(path) as image:
            image.resize((48, 32)).save(path)
    small = replace(drifted, output=video(11, 48, 32), metrics={})
    page = browse(run_of(small), GUITAR)
    expect_frame(page, 0)
    expect(case(page).locator(".difference .gap")).to_have_text("not computed: the sizes differ, 96×64 and 48×32")
    preview, output = (box(case(page).locator(f".{side} canvas")) for side in ("preview", "output"))
    assert output["width"] == pytest.approx(preview["width"] / 2, abs=1)


# ---- Views ----


def test_slider_blink_and_zoom(run: Run, browse: Browse) -> None:
    page = browse(run, GUITAR)
    expect_frame(page, 6)
    guitar = case(page)
    page.keyboard.press("2")
    preview, output = (guitar.locator(f".{side} .stage") for side in ("preview", "output"))
    output.scroll_into_view_if_needed()
    place = box(output)
    middle = place["y"] + place["height"] / 2
    page.mouse.move(place["x"] + place["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(place["x"] + place["width"] * 0.25, middle, steps=5)
    page.mouse.up()
    split = guitar.get_by_label("Divider: preview to its left, output to its right")
    assert float(split.input_value()) == pytest.approx(25, abs=1)
    assert output.evaluate("element => getComputedStyle(element).clipPath") == "inset(0px 0px 0px 25%)"
    assert box(preview) == place  # one over the other
    divider = box(guitar.locator(".divider span"))
    assert (divider["top"], divider["bottom"]) == (place["top"], place["bottom"])

    page.keyboard.press("3")  # with reduced motion it does not start by itself
    expect(preview).to_be_visible()
    expect(output).to_be_hidden()
    page.keyboard.press("s")
    expect(output).to_be_visible()
    expect(preview).to_be_hidden()

    page.keyboard.press("1")
    for _ in range(3):
        page.keyboard.press("+")
    expect(guitar.locator(".zoom")).to_have_text("338%")

    def transform() -> str:
        panes = guitar.locator(".pane")
        found: list[str] = panes.evaluate_all("all => all.map((pane) => getComputedStyle(pane).transform)")
        assert len(set(found)) == 1
        return found[0]

    seen = [transform()]
    page.keyboard.press("Shift+ArrowRight")
    seen.append(transform())
    place = box(preview)
    page.mouse.move(place["x"] + 50, place["y"] + 50)
    page.mouse.down()
    page.mouse.move(place["x"] + 80, place["y"] + 60, steps=3)
    page.mouse.up()
    seen.append(transform())
    assert len(set(seen)) == 3
    guitar.get_by_role("button", name="Reset").click()
    expect(guitar.locator(".zoom")).to_have_text("100%")


def test_play_runs_to_the_end_and_loops_if_asked(run: Run, browse: Browse) -> None:
    page = browse(run, f"{GUITAR}/frame=10")
    expect_frame(page, 10)
    case(page).get_by_label("Speed").select_option("2")
    play = case(page).locator(".play")
    case(page).get_by_role("slider", name="Frame").focus()
    page.keyboard.press("Space")
    expect(play).to_have_text("❚❚ Pause")
    expect(play).to_have_text("▶ Play")  # at the end it stops
    expect(case(page).locator(".position")).to_have_text(re.compile("^frame 12 of"))
    page.keyboard.press("l")
    expect(case(page).get_by_label("Loop")).to_be_checked()
    page.keyboard.press("Space")
    until(page, "document.querySelector('.shown .scrubber input').value === '11'")
    until(page, "document.querySelector('.shown .scrubber input').value === '1'")  # past the end
    page.keyboard.press("Space")
    expect(play).to_have_text("▶ Play")


# ---- Sizes ----


def wide_and_tall(folder: Path) -> Run:
    """Two cases of the sizes that Wan is used with. Their stills are small ones, which are shown as large."""
    drifted = drifted_case(folder)

    def sized(name: str, width: int, height: int) -> CaseResult:
        return replace(drifted, id=name, preview=video(13, width, height), output=video(11, width, height))

    return run_of(sized("wide", 832, 480), sized("tall", 480, 832))


@pytest.mark.parametrize(("name", "ratio"), [("wide", 832 / 480), ("tall", 480 / 832)], ids=["wide", "tall"])
def test_pictures_are_as_large_as_the_window_holds(tmp_path: Path, browse: Browse, name: str, ratio: float) -> None:
    page = browse(wide_and_tall(tmp_path), f"#case-{name}", width=1920)
    expect_frame(page, 6, name)
    most = 0.78 * 900
    for width in (1920, 1280, 400):
        page.set_viewport_size({"width": width, "height": 900})
        viewer = box(case(page, name).locator(".viewer"))
        assert viewer["width"] == pytest.approx({1920: 1712, 1280: 1192, 400: 372}[width], abs=20)
        assert viewer["left"] == pytest.approx((width - viewer["width"]) / 2, abs=10)
        for key, side in (("2", "output"), ("4", "difference")):
            page.keyboard.press(key)
            place = stages(page)[side]
            assert place["width"] == pytest.approx(min(viewer["width"], most * ratio), abs=1)
            assert place["width"] / place["height"] == pytest.approx(ratio, rel=0.02)
        page.keyboard.press("1")
        places = list(stages(page).values())
        assert max(place["height"] for place in places) <= most + 1
        tops = sorted(place["top"] for place in places)
        lines = 1 + sum(below - above > 5 for above, below in pairwise(tops))
        if width > 400:
            assert lines == 1
            across = places[2]["right"] - places[0]["left"]
            assert across == pytest.approx(min(viewer["width"], 3 * most * ratio + 28), abs=1)
        else:  # wide ones below each other, tall ones two and one
            assert lines == (3 if name == "wide" else 2)
            assert places[0]["width"] > 0.45 * width
            page.evaluate("document.querySelector('.shown .viewer .stage').scrollIntoView({behavior: 'instant'})")
            scrubber = box(case(page, name).locator(".transport"))  # in sight beside what it moves
            assert 0 < scrubber["top"] < scrubber["bottom"] <= 900
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


FILLS_THE_SCREEN = """(() => {
  const viewer = document.querySelector(".shown .viewer.full");
  if (!viewer) return false;
  const { left, top, width, height } = viewer.getBoundingClientRect();
  const parts = [...viewer.querySelectorAll(".stage, .transport, .playing, .toolbar")]
    .filter((part) => part.checkVisibility());
  const inside = parts.map((part) => part.getBoundingClientRect()).every((box) =>
    box.width > 100 && box.left >= 0 && box.top >= 0 && box.right <= innerWidth && box.bottom <= innerHeight);
  return left === 0 && top === 0 && width === innerWidth && height === innerHeight && parts.length > 3 && inside;
})()"""
ELSEWHERE = (
    "[...document.querySelectorAll('a, button, input, summary')].filter((item) => "
    "!item.closest('.viewer.full, dialog, [inert]')).map((item) => item.outerHTML)"
)


@pytest.mark.parametrize(("width", "refused"), [(1280, False), (400, True)])
def test_the_viewer_on_the_whole_screen(tmp_path: Path, browse: Browse, width: int, refused: bool) -> None:
    page = browse(wide_and_tall(tmp_path), "#case-wide", width=width)
    expect_frame(page, 6, "wide")
    if refused:
        page.evaluate(
            "() => { Element.prototype.requestFullscreen = async () => { throw new TypeError('not here'); }; }"
        )
    viewer = case(page, "wide").locator(".viewer")
    viewer.scroll_into_view_if_needed()
    before = page.evaluate("scrollY")
    is_full = "(document.fullscreenElement !== null) === %s"
    for key in "f1234":
        page.keyboard.press(key)
        until(page, is_full % ("false" if refused else "true"))
        until(page, FILLS_THE_SCREEN)
        assert page.evaluate(ELSEWHERE) == []  # nothing else to reach with the keyboard
    page.keyboard.press("1")
    page.keyboard.press("ArrowRight")
    expect_frame(page, 7, "wide")
    page.keyboard.press("?")
    page.keyboard.press("Escape")  # the help, not the screen
    expect(viewer).to_have_class(re.compile(r"\bfull\b"))
    page.keyboard.press("Escape")
    expect(viewer).not_to_have_class(re.compile(r"\bfull\b"))
    until(page, "document.fullscreenElement === null")
    assert page.locator("[inert]").count() == 0
    until(page, f"Math.abs(scrollY - {before}) < 3")

    viewer.get_by_role("button", name="Full screen").click()
    until(page, is_full % ("false" if refused else "true"))
    expect(viewer.get_by_role("button", name="Leave full screen")).to_be_visible()
    page.keyboard.press("Space")  # plays; it does not press the button again
    expect(viewer.locator(".play")).to_have_text("❚❚ Pause")
    page.keyboard.press("j")  # another case
    expect_frame(page, 6, "tall")
    until(page, "document.fullscreenElement === null")
    assert page.locator(".full, [inert]").count() == 0
    page.keyboard.press("f")
    until(page, is_full % ("false" if refused else "true"))
    until(page, FILLS_THE_SCREEN)
