"""Baselines and approvals in a real browser: pictures of both, and a command that works as it is copied."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from parity.baselines.check import check_case
from parity.baselines.in_run import judged
from parity.case.load import DEMO
from parity.cli.main import main
from parity.results.case import CaseResult, Run
from parity.results.json_text import to_json
from tests.support.baseline_samples import ENVIRONMENT, baseline_of, result, run_of, video
from tests.support.browser import Browse, case, saved_approvals, serious, until, watch
from tests.support.report_cases import HOSTILE, draw_stills, every_status

BASELINE = ".baseline-view"


def changed(folder: Path, name: str = "guitar", kept: tuple[int, ...] = (0, 4, 8), **changes: Any) -> CaseResult:
    """A case whose frames 4 and 8 changed since it was accepted, with stills of the kept frames."""
    place = folder / "artifacts" / name
    for side, shift in (("preview", 0), ("output", 3), ("baseline", 0)):
        draw_stills(place / f"{side}_frames", 9, shift=shift)
    for path in (place / "baseline_frames").iterdir():
        if int(path.stem) not in kept:
            path.unlink()
    new = result(name, **{"frames": "abcdXfghZ", "psnr": [30.0] * 8 + [20.0]} | changes)
    check = check_case(new, ENVIRONMENT, baseline_of(result(name)))
    artifacts = {f"{side}_frames": f"artifacts/{name}/{side}_frames" for side in ("preview", "output", "baseline")}
    return judged(replace(new, artifacts=artifacts), check)


def pixels(page: Page, part: str) -> Any:
    """The pixels that a stage of the baseline shows."""
    data = page.evaluate(
        "part => { const c = document.querySelector(`.case.shown .baseline-${part} canvas`); "
        "return [c.width, c.height, ...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]; }",
        part,
    )
    return np.array(data[2:], np.uint8).reshape(data[1], data[0], 4)[..., :3]


def still(path: Path) -> Any:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def note(page: Page, part: str) -> Any:
    return page.locator(f".case.shown .baseline-{part} .baseline-gap")


def test_accepted_new_and_their_difference(tmp_path: Path, browse: Browse) -> None:
    page = browse(run_of(changed(tmp_path)), "#case-guitar/baseline")
    expect(page.get_by_role("heading", name="Changed since it was accepted on 2026-11-22")).to_be_visible()
    old, new, difference = (page.get_by_role("img", name=name) for name in ("as accepted", "8 now", "8, at most"))
    expect(old).to_have_attribute("aria-label", "Frame 8 as accepted")  # the worst of those that changed
    place = tmp_path / "artifacts/guitar"
    assert np.abs(pixels(page, "old") - still(place / "baseline_frames/0008.webp").astype(int)).max() <= 3
    assert np.abs(pixels(page, "new") - still(place / "output_frames/0008.webp").astype(int)).max() <= 3
    expect(new).to_be_visible()
    seen = np.abs(pixels(page, "old").astype(int) - pixels(page, "new").astype(int)).max()
    expect(difference).to_have_attribute("aria-label", f"Difference at frame 8, at most {seen} of 255 levels")
    assert (pixels(page, "difference").max(axis=2) > 100).sum() > 20
    expect(page.locator(".baseline-difference .baseline-detail")).to_contain_text("of 255 levels")

    page.get_by_role("button", name="Frame 0, unchanged").click()
    expect(note(page, "difference")).to_have_text("unchanged: every bit as accepted")  # though the stills differ
    expect(page.get_by_role("img", name="Frame 0 as accepted")).to_be_visible()
    page.get_by_role("button", name="Frame 4", exact=True).press("Enter")
    expect(page.get_by_role("img", name="Difference at frame 4")).to_be_visible()
    for name, new_number in (("PSNR against the preview", "28.89 dB"), ("Frames", "9")):
        expect(page.get_by_role("row", name=name).locator("td").last).to_have_text(new_number)
    slider_and_blink(page)


def slider_and_blink(page: Page) -> None:
    view = page.locator(BASELINE)
    stage = view.locator(".baseline-new .baseline-stage")
    view.get_by_text("Slider").click()
    expect(view.locator(".baseline-difference")).to_be_hidden()
    view.get_by_role("slider").press("Home")
    assert stage.evaluate("element => getComputedStyle(element).clipPath") == "inset(0px 0px 0px 0%)"
    old = view.locator(".baseline-old .baseline-stage")
    old.scroll_into_view_if_needed()
    box = old.bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    expect(view.get_by_role("slider")).to_have_value("25")
    view.get_by_text("Blink").click()
    expect(stage).to_be_hidden()
    view.get_by_role("button", name="Swap").click()
    expect(stage).to_be_visible()
    expect(old).to_be_hidden()


def test_other_sizes_and_frames_that_are_gone(tmp_path: Path, browse: Browse) -> None:
    small = changed(tmp_path, "small")
    folder = tmp_path / "artifacts/small/baseline_frames"
    for path in folder.iterdir():
        with Image.open(path) as image:
            image.resize((48, 32)).save(path, quality=90)
    shorter = changed(tmp_path, "shorter", output=video("abcdX"))
    other = changed(tmp_path, "other", output=video("QRSTUVWXY", width=112))
    page = browse(run_of(small, shorter, other), "#case-small/baseline")
    shown = page.locator(".case.shown")
    expect(shown.locator(".baseline-note")).to_contain_text("Compared at 48×32, the size at which the baseline keeps")
    assert pixels(page, "difference").shape == (32, 48, 3)
    page.evaluate("location.hash = '#case-shorter/baseline'")
    shown.get_by_role("button", name="Frame 8, gone").click()
    expect(note(page, "new")).to_have_text("no frame 8 in the new video")
    expect(note(page, "difference")).to_have_text("nothing to compare")
    page.evaluate("location.hash = '#case-other/baseline'")
    expect(note(page, "difference")).to_have_text("not computed: the sizes differ, 96×64 and 112×64")


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (400, "dark")])
def test_fits_and_is_accessible(tmp_path: Path, browse: Browse, width: int, theme: Literal["light", "dark"]) -> None:
    hostile = changed(tmp_path, output=video("abcdX"))
    assert hostile.baseline is not None
    hostile = replace(
        hostile, id=HOSTILE, baseline=replace(hostile.baseline, problems=(HOSTILE * 5,), notes=(HOSTILE,))
    )
    page = browse(run_of(hostile), width=width, theme=theme)
    page.keyboard.press("j")
    page.keyboard.press("a")
    expect(page.locator(".approvals-effects")).to_contain_text(HOSTILE)
    page.get_by_text("What approving does").click()
    page.locator(BASELINE).scroll_into_view_if_needed()
    expect(page.get_by_role("img", name="Frame 0 as accepted")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    assert page.title() != "owned"
    page.evaluate("document.getElementById('approvals').style.position = 'static'")
    assert serious(page) == []


# ---- Approvals ----


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return every_status(tmp_path)


def test_ticked_cases_are_saved_as_approvals(run: Run, browse: Browse, tmp_path: Path) -> None:
    page = browse(run)
    expect(page.locator("#approvals")).to_be_hidden()
    page.get_by_label("Approve i2v", exact=True).first.check()
    page.goto(page.url + "#case-t2v-guitar")
    page.keyboard.press("a")
    expect(page.locator("#approvals .ticked")).to_have_text("2 of 4 cases")  # what could not be run has no box
    expect(case(page).get_by_label("Approve t2v-guitar")).to_be_checked()
    effects = page.locator(".approvals-effects li")
    expect(effects).to_have_count(2)
    expect(effects.nth(0)).to_contain_text("i2v: becomes the baseline, whatever was accepted before")
    expect(effects.nth(1)).to_contain_text("has 11 frames, the preview 13: approving accepts the missing frames")
    with page.context.expect_page() as opened:  # gets a copy of the store: then it has left the page's own process
        page.evaluate("open(location.href)")
    expect(opened.value.locator("#approvals .ticked")).to_have_text("2 of 4 cases")
    page.reload()
    expect(page.locator("#approvals .ticked")).to_have_text("2 of 4 cases")
    assert saved_approvals(page, tmp_path / "saved.json") == {
        "schema_version": 1,
        "kind": "wan-parity approvals",
        "results_started": run.started,
        "results": [str(tmp_path / "results.json")],
        "cases": [
            {"id": "i2v", "output_sha256": "9f" * 32, "raw_sha256": "3c" * 32},
            {"id": "t2v-guitar", "output_sha256": "9f" * 32, "raw_sha256": "3c" * 32},
        ],
    }
    effects.nth(0).get_by_role("link").click()
    until(page, "location.hash === '#case-i2v'")


def test_tick_all_ticks_what_the_filter_shows(run: Run, browse: Browse, tmp_path: Path) -> None:
    page = browse(run)
    page.get_by_label("Approve t2v-night").first.check()
    page.locator("#filter").fill("status:passed")
    page.get_by_role("button", name="Select all shown").click()
    saved = saved_approvals(page, tmp_path / "saved.json")
    assert [item["id"] for item in saved["cases"]] == ["i2v", "t2v-night", "i2v-near"]
    page.get_by_role("button", name="Clear selection").click()
    expect(page.locator("#approvals")).to_be_hidden()


@pytest.mark.process
def test_two_clicks_and_the_copied_command_make_the_gate_green(
    chromium: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As from an artifact of CI: results in a folder with a space in its name, baselines in one of their own."""
    monkeypatch.chdir(tmp_path)
    judge = ["--results", "my out", "--baselines", "ci baselines"]
    out = tmp_path / "my out"
    frames = {"output_frames": "artifacts/guitar/output_frames"}
    draw_stills(out / frames["output_frames"], 9)
    (out / "results.json").write_text(to_json(run_of(result(artifacts=frames))))
    assert main(["baseline", "accept", "guitar", *judge]) == 0
    (out / "results.json").write_text(to_json(run_of(result(frames="QRSTUVWXY", artifacts=frames))))
    assert main(["baseline", "check", *judge]) == 1
    assert main(["report", "my out", "--baselines", "ci baselines"]) == 0

    context = chromium.new_context(offline=True)
    page = context.new_page()
    address = (out / "report.html").as_uri()
    complaints = watch(page, address)
    page.goto(address)
    page.get_by_label("Approve guitar").first.check()
    expect(page.locator(".approvals-effects li")).to_contain_text(": all 9 frames changed")
    saved_approvals(page, tmp_path / "approvals.json")
    page.evaluate(
        "Object.defineProperty(navigator, 'clipboard', "
        "{configurable: true, value: {writeText: async (text) => { window.copied = text; }}})"
    )
    page.get_by_role("button", name="Copy the command", exact=True).click()
    until(page, "window.copied")
    command = page.evaluate("window.copied")
    context.close()
    assert complaints == []

    shell = f'parity() {{ "{sys.executable}" -m parity "$@"; }}; {command}'
    environment = os.environ | {"PYTHONPATH": str(DEMO.parent)}
    done = subprocess.run(["sh", "-c", shell], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 written to ci baselines" in done.stdout
    capsys.readouterr()
    assert main(["baseline", "check", *judge]) == 0
    assert "1 case: 1 unchanged" in capsys.readouterr().out
    (out / "results.json").rename(tmp_path / "results.json")  # the artifact was unpacked elsewhere: beside approvals
    assert main(shlex.split(command)[1:]) == 0
