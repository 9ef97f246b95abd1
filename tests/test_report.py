"""The HTML report: one inert, self-contained file that says what it leaves out."""

from __future__ import annotations

import json
import math
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from parity.result import CaseResult, FindingResult, MetricResult, Run, Status, VideoResult, from_json
from reports import view
from reports.render import render, write_report

HOSTILE = "</script><img src=x onerror=document.title='owned'>\u2028&amp;"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page(HTMLParser):
    """Elements and text of a page, as a browser's parser sees them: script content is no markup."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""
        self.text += " " if tag in ("dt", "dd", "td", "th", "p", "li") else ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.text += data

    def attributes(self, name: str) -> list[str]:
        """Values of an attribute over all elements, in page order."""
        return [value for _, attrs in self.elements if (value := attrs.get(name)) is not None]

    def json(self, identifier: str) -> Any:
        """The data of a script element."""
        scripts = [attrs for tag, attrs in self.elements if tag == "script"]
        place = next(place for place, attrs in enumerate(scripts) if attrs.get("id") == identifier)
        return json.loads(self.scripts[place])

    @property
    def words(self) -> str:
        """The text with white space folded."""
        return " ".join(self.text.split())


def draw_stills(folder: Path, frames: int, size: tuple[int, int] = (96, 64), shift: int = 0) -> None:
    """A ball that rolls over a gradient, `shift` pixels further than it should."""
    folder.mkdir(parents=True)
    for frame in range(frames):
        image = Image.linear_gradient("L").resize(size).convert("RGB")
        x = (frame * 7) % (size[0] - 20) + shift
        ImageDraw.Draw(image).ellipse((x, 20, x + 20, 40), fill=(220, 90 + 2 * shift, 40))
        image.save(folder / f"{frame:04}.webp", quality=90)


def video(frames: int, width: int = 96, height: int = 64) -> VideoResult:
    return VideoResult(frames=frames, width=width, height=height, fps=1000 / 62, sha256="9f" * 32, raw_sha256="3c" * 32)


def psnr(values: list[float | None]) -> MetricResult:
    finite = [value for value in values if value is not None]
    return MetricResult(
        variant="RGB, 8 bit, per frame",
        higher_is_better=True,
        mean=sum(finite) / len(finite) if finite else None,
        min=min(finite, default=None),
        max=None if None in values else max(finite),
        per_frame=tuple(values),
        identical_frames=values.count(None),
    )


def ssim(values: list[float]) -> MetricResult:
    return MetricResult(
        variant="Gaussian 11x11, luma",
        higher_is_better=True,
        mean=sum(values) / len(values),
        min=min(values),
        max=max(values),
        per_frame=tuple(values),
        identical_frames=values.count(1.0),
    )


NO_LPIPS = MetricResult(variant="AlexNet", higher_is_better=False, unavailable="the lpips package is not installed")


def recipe(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "model": "wan21_14b",
        "prompt": "a guitar that rolls down the stairs",
        "negative_prompt": "",
        "width": {"asked": 100, "applied": 96},
        "height": {"asked": 64, "applied": 64},
        "num_frames": {"asked": 9, "applied": 9},
        "steps": 4,
        "seed": 42,
        "scheduler": {"family": "flow_match_euler", "shift": 3.0, "settings": {"num_train_timesteps": 1000}},
        "lora_files": [{"path": "/data/tiny_t2v.safetensors", "sha256": "ab" * 32, "expert": "transformer"}],
        "lora_scales": [1.0],
        "lora_application": "merged",
        "control_image": None,
        "vae_tiling": False,
        "notes": [],
    }
    return values | changes


def drifted_case(folder: Path, frames: int = 13) -> CaseResult:
    draw_stills(folder / "artifacts/t2v-guitar/preview", frames)
    draw_stills(folder / "artifacts/t2v-guitar/output", frames - 2, shift=3)
    wave = [34 + 4 * math.cos(frame / 2) for frame in range(frames - 2)]
    return CaseResult(
        id="t2v-guitar",
        status="drifted",
        model="wan21_14b",
        verdict="The worst frame has 30.0 dB; the case expects only the scheduler to differ.",
        case_file="cases/t2v guitar.yaml",
        tags=("t2v", "smoke"),
        expect=("scheduler", "precision"),
        tolerance={"psnr": 40, "psnr_min": 37, "ssim_min": 0.98},
        preview=video(frames),
        output=video(frames - 2),
        bit_identical=False,
        compared_as="decoded WebP with decoded WebP",
        metrics={
            "psnr": psnr([None, None, *wave[2:]]),
            "ssim": ssim([1, 1, *(v / 40 for v in wave[2:])]),
            "lpips": NO_LPIPS,
        },
        codec_floor={"psnr": 38.4, "ssim": None},
        findings=(
            FindingResult(
                factor="scheduler",
                preview="flow_match_euler, shift 3.0",
                inference="unipc, flow_shift 3.0",
                note="The sampler of ai-toolkit since 0.9.4.",
            ),
            FindingResult(
                factor="lora_application",
                preview="merged",
                inference="adapter",
                note="float32 sum against a PEFT adapter.",
            ),
        ),
        recipes={
            "preview": recipe(),
            "inference": recipe(
                scheduler={"family": "unipc", "shift": 3.0, "settings": {"solver_order": 2}},
                lora_files=[{"path": "/srv/lora.safetensors", "sha256": "ab" * 32, "expert": "transformer"}],
                lora_application="adapter",
                width={"asked": 96, "applied": 96},
                control_image={"source": "base64", "sha256": "cd" * 32, "width": 96, "height": 64},
            ),
        },
        notes=("The toolkit version is assumed from the file's date.",),
        timings={"preview": 3.2, "inference": 4.0, "compare": 0.4},
        artifacts={"preview_frames": "artifacts/t2v-guitar/preview", "output_frames": "artifacts/t2v-guitar/output"},
    )


def passed_case(folder: Path) -> CaseResult:
    draw_stills(folder / "artifacts/i2v/preview", 9, size=(64, 96))
    draw_stills(folder / "artifacts/i2v/output", 9, size=(64, 96))
    return CaseResult(
        id="i2v",
        status="passed",
        model="wan21_i2v_14b480p",
        verdict="Every frame is identical.",
        case_file="cases/i2v.yaml",
        preview=video(9, 64, 96),
        output=video(9, 64, 96),
        bit_identical=True,
        metrics={"psnr": psnr([None] * 9), "ssim": ssim([1.0] * 9), "lpips": NO_LPIPS},
        recipes={"preview": recipe(), "inference": recipe()},
        timings={"total": 5.5},
        artifacts={"preview_frames": "artifacts/i2v/preview", "output_frames": "artifacts/i2v/output"},
    )


def error_case() -> CaseResult:
    return CaseResult(
        id="broken",
        status="error",
        model="wan22_14b",
        verdict="The LoRA file cannot be read.",
        case_file="cases/broken.yaml",
        error="WeightsError: models/lora.safetensors: is not a whole safetensors file; copy it again",
    )


def run_of(*cases: CaseResult) -> Run:
    return Run(
        started="2026-11-20T10:00:00Z",
        finished="2026-11-20T10:01:00Z",
        command=("parity", "run", "cases/with space"),
        environment={"versions": {"torch": "2.13.0", "diffusers": "0.42.1"}, "device": "cpu", "flags": {"tf32": False}},
        cases=cases,
    )


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return run_of(passed_case(tmp_path), error_case(), drifted_case(tmp_path))


def test_is_one_file_without_external_references(run: Run, tmp_path: Path) -> None:
    write_report(run, tmp_path, tmp_path / "out/report.html")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.html"]
    html = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    page = Page(html)
    outside = [
        v for name in ("src", "href", "srcset", "poster", "action") for v in page.attributes(name) if v[0] != "#"
    ]
    assert outside == ["data:,"]  # the icon, or a browser would ask for one
    assert "url(" not in html
    assert "@import" not in html
    assert all(tag not in ("iframe", "object", "embed") for tag, _ in page.elements)
    assert page.attributes("content")[0].startswith("default-src 'none'")


def test_failures_come_first_and_every_row_links_to_its_section(run: Run, tmp_path: Path) -> None:
    page = Page(render(run, tmp_path))
    sections = [attrs["id"] for tag, attrs in page.elements if tag == "section" and "data-case" in attrs]
    assert sections == ["case-t2v-guitar", "case-broken", "case-i2v"]
    links = [href[1:] for href in page.attributes("href") if href.startswith("#case-")]
    assert links[:3] == sections
    assert len(set(page.attributes("id"))) == len(page.attributes("id"))
    assert [attrs["data-case"] for tag, attrs in page.elements if "data-case" in attrs] == ["2", "1", "0"]


def test_cases_of_the_same_id_have_their_own_anchors(tmp_path: Path) -> None:
    page = Page(render(run_of(error_case(), error_case()), tmp_path))
    assert {"case-broken", "case-broken-2"} <= set(page.attributes("id"))


def test_says_what_was_found(run: Run, tmp_path: Path) -> None:
    words = Page(render(run, tmp_path)).words
    for sentence in (
        "1 of 3 cases drifted beyond what it expects, 1 could not be run.",
        "unavailable: the lpips package is not installed",
        "WeightsError: models/lora.safetensors: is not a whole safetensors file; copy it again",
        "Expected but not found: precision.",
        "Reproduce: parity run 'cases/t2v guitar.yaml'",
        "parity run 'cases/with space'",
        "9 of 9",
        "96 (asked 100)",
        "mean ≥ 40, worst ≥ 37",
        "PSNR 2 of 11 frames identical, worst 30.04 dB at frame 6",
        "tolerance, worst frame 37.00 dB",
        "codec floor 38.40 dB",
        "Metrics are computed on the exact frames.",
        "versions.torch 2.13.0",
    ):
        assert sentence in words


def test_embeds_the_run_and_every_still_once(run: Run, tmp_path: Path) -> None:
    page = Page(render(run, tmp_path))
    assert from_json(json.dumps(page.json("run-data"))) == run
    drifted, passed = page.json("stills-2"), page.json("stills-0")
    assert sorted(map(int, drifted["preview"])) == list(range(13))
    assert sorted(map(int, drifted["output"])) == list(range(11))
    assert len(passed["images"]) == 9
    assert passed["preview"] == passed["output"]
    assert all(uri.startswith("data:image/webp;base64,") for uri in drifted["images"])
    assert "left out" not in page.words


def test_says_which_stills_did_not_fit(run: Run, tmp_path: Path) -> None:
    whole = len(render(run, tmp_path).encode())
    limit = whole - 1_000
    html = render(run, tmp_path, max_bytes=limit)
    page = Page(html)
    assert len(html.encode()) <= limit
    left = 42 - sum(len(page.json(f"stills-{index}")[side]) for index in (0, 2) for side in ("preview", "output"))
    assert 0 < left < 42
    assert f"{left} of 42 stills were left out" in page.words
    assert "of this case's 18 stills were left out" in page.words  # the passed case first
    assert "artifacts/i2v/preview and artifacts/i2v/output" in page.words


def test_a_page_without_room_has_no_stills_and_says_so(run: Run, tmp_path: Path) -> None:
    page = Page(render(run, tmp_path, max_bytes=1))
    assert "42 of 42 stills were left out" in page.words
    assert "24 of this case's 24 stills" in page.words
    assert "18 of this case's 18 stills" in page.words
    assert not [name for name in page.attributes("id") if name.startswith("stills-")]


def test_says_which_stills_are_missing_or_outside_the_results(tmp_path: Path) -> None:
    case = passed_case(tmp_path)
    results = tmp_path / "results"
    results.mkdir()
    case = replace(case, artifacts={"preview_frames": "../artifacts/i2v/preview", "output_frames": "gone"})
    page = Page(render(run_of(case), results))
    assert "lies outside the folder of results.json" in page.words
    assert "The output's stills should be in gone; none was found there." in page.words
    assert "stills-0" not in page.attributes("id")


def hostile_run(folder: Path) -> Run:
    case = drifted_case(folder)
    recipes = {"preview": recipe(prompt=HOSTILE), "inference": recipe(prompt=HOSTILE + "!")}
    return run_of(replace(case, id=HOSTILE, model=HOSTILE, recipes=recipes), replace(error_case(), error=HOSTILE))


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    run = hostile_run(tmp_path)
    page = Page(render(run, tmp_path))
    assert not [tag for tag, attrs in page.elements if tag == "img" or "onerror" in attrs]
    assert f"case-{HOSTILE}" in page.attributes("id")
    assert from_json(json.dumps(page.json("run-data"))) == run
    assert page.text.count("</script><img src=x onerror") >= 4


LAUNCH = """
import fcntl, os, sys
pipes = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
os.dup2(pipes[0], 3)
os.dup2(pipes[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Chromium speaks its protocol over file descriptors 3 and 4."""


class Browser:
    """A headless chromium with one page, spoken to over a pipe (Chrome DevTools Protocol)."""

    def __init__(self, profile: Path) -> None:
        assert BROWSER is not None
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-sync", "--no-first-run"]
        options += ["--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe"]
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                LAUNCH,
                str(to_browser),
                str(from_browser),
                BROWSER,
                *options,
                f"--user-data-dir={profile}",
            ],
            pass_fds=(to_browser, from_browser),
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._count = 0
        self._session: dict[str, str] = {}
        self.events: list[dict[str, Any]] = []

    def open(self, url: str) -> None:
        """Load a page."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Runtime", "Log", "Network", "Page"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and return its answer; events on the way are kept."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params, **self._session}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._count:
            self.events.append(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _receive(self) -> dict[str, Any]:
        data = b""
        while not data.endswith(b"\0"):
            ready, _, _ = select.select([self._read], [], [], 60)
            assert ready, "the browser does not answer"
            byte = os.read(self._read, 1)
            assert byte, "the browser has ended"
            data += byte
        message: dict[str, Any] = json.loads(data[:-1])
        return message

    def js(self, expression: str) -> Any:
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until a condition holds in the page; fail after 20 s."""
        self.js(
            "new Promise((done, fail) => { const end = performance.now() + 20000; (function look() {"
            f"if ({condition}) done(); else if (performance.now() > end) fail(new Error({json.dumps(condition)}));"
            "else setTimeout(look, 10); })(); })"
        )

    def key(self, name: str, code: int) -> None:
        """Press a key where the focus is."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code)

    def click(self, x: float, y: float) -> None:
        """Click a point of the window."""
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        self._process.wait(30)
        os.close(self._write)
        os.close(self._read)


@pytest.fixture
def browse(tmp_path: Path) -> Iterator[Callable[[Run, str], Browser]]:
    if BROWSER is None:
        pytest.skip("no chromium here; the tests that parse the page have run")
    opened: list[Browser] = []

    def browse(run: Run, fragment: str) -> Browser:
        write_report(run, tmp_path, tmp_path / "report.html")
        opened.append(Browser(tmp_path / "profile"))
        opened[-1].open((tmp_path / "report.html").as_uri() + fragment)
        return opened[-1]

    yield browse
    for browser in opened:
        browser.close()


def label(side: str) -> str:
    return f"document.querySelector('.case [data-side={side}] canvas').getAttribute('aria-label')"


def pixels(side: str) -> str:
    canvas = f"document.querySelector('.case [data-side={side}] canvas')"
    return f"[...{canvas}.getContext('2d').getImageData(0, 0, {canvas}.width, {canvas}.height).data]"


def test_a_browser_runs_only_our_script(tmp_path: Path, browse: Callable[[Run, str], Browser]) -> None:
    browser = browse(hostile_run(tmp_path), "")
    browser.js("document.querySelector('.case').scrollIntoView()")
    browser.until(f"{label('difference')} === 'Difference at frame 6, 4 times'")  # so the script did run
    assert browser.js("document.title").startswith("wan-parity: 1 of 2 cases")
    assert browser.js("document.querySelectorAll('img, [onerror]').length") == 0
    requests = [event["params"]["request"]["url"] for event in browser.events if "request" in event.get("params", {})]
    assert {url.split(":")[0] for url in requests} <= {"file", "data"}
    assert not [event for event in browser.events if event["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")]


def test_scrubbing_in_a_browser(run: Run, browse: Callable[[Run, str], Browser]) -> None:
    browser = browse(run, "#case-t2v-guitar")
    browser.until(f"{label('output')} === 'output, frame 6'")  # opens at the worst frame
    browser.js("document.querySelector('.case .scrubber input').focus()")
    browser.key("ArrowRight", 39)
    browser.until(f"{label('preview')} === 'preview, frame 7' && {label('output')} === 'output, frame 7'")
    assert "PSNR 30.25 dB" in browser.js("document.querySelector('.case .values').textContent")
    browser.key("End", 35)
    browser.until("document.querySelector('.case [data-side=output] .gap').textContent === 'no frame 12 in the output'")
    browser.js("document.querySelector('.case .plot').scrollIntoView({behavior: 'instant', block: 'center'})")
    box = browser.js("JSON.parse(JSON.stringify(document.querySelector('.case .plot').getBoundingClientRect()))")
    browser.click(box["x"] + 57, box["y"] + 40)  # the left end of the curve
    browser.until(f"{label('difference')} === 'Difference at frame 0, 4 times'")
    gain = "document.querySelector('.case select')"
    browser.js(f"{gain}.value = '16'; {gain}.dispatchEvent(new Event('change'))")
    browser.until(f"{label('difference')} === 'Difference at frame 0, 16 times'")
    preview, output, difference = (browser.js(pixels(side)) for side in ("preview", "output", "difference"))
    assert len(difference) == 96 * 64 * 4
    assert difference == [
        255 if place % 4 == 3 else min(255, 16 * abs(left - right))
        for place, (left, right) in enumerate(zip(preview, output, strict=True))
    ]


@pytest.mark.parametrize("width", [1280, 400])
def test_fits_the_window(run: Run, browse: Callable[[Run, str], Browser], width: int) -> None:
    browser = browse(run, "#case-t2v-guitar")
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    browser.until(f"innerWidth === {width} && {label('output')} === 'output, frame 6'")
    assert browser.js("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"asked": 100, "applied": 96}, "96 (asked 100)"),
        ({"asked": 96, "applied": 96}, "96"),
        (None, "none"),
        ((), "none"),
        ("", "(empty)"),
        (False, "no"),
        ([1.0, 0.5], "1.0, 0.5"),
        (0, "0"),
    ],
)
def test_values_read_as_a_person_writes_them(value: Any, words: str) -> None:
    assert view.text(value) == words


def test_recipe_rows_mark_what_differs(tmp_path: Path) -> None:
    rows = {row.name: row for row in view.recipe_rows(drifted_case(tmp_path).recipes)}
    assert {name for name, row in rows.items() if row.differs} == {
        "scheduler.family",
        "scheduler.settings.num_train_timesteps",
        "scheduler.settings.solver_order",
        "lora_application",
        "control_image.source",
        "control_image.sha256",
        "control_image.width",
        "control_image.height",
    }
    assert rows["width"].preview == "96 (asked 100)"
    assert rows["width"].inference == "96"
    assert not rows["lora_files[0].path"].differs  # the same file elsewhere
    assert "control_image" not in rows


def test_one_recipe_alone_marks_nothing() -> None:
    assert not [row for row in view.recipe_rows({"preview": recipe()}) if row.differs]


@pytest.mark.parametrize(
    ("statuses", "sentence"),
    [
        ((), "No case was run."),
        (("passed",), "1 of 1 case passed."),
        (("passed", "expected_drift", "passed"), "1 of 3 cases drifted exactly as expected, 2 passed."),
        (("drifted", "passed", "drifted"), "2 of 3 cases drifted beyond what they expect."),
        (("unpairable", "error"), "1 of 2 cases could not be run, 1 has a preview nobody can repeat."),
    ],
)
def test_verdict(statuses: tuple[Status, ...], sentence: str) -> None:
    assert view.verdict(run_of(*(replace(error_case(), status=status) for status in statuses))) == sentence


def test_the_worst_frame_follows_the_metric(tmp_path: Path) -> None:
    case = drifted_case(tmp_path)
    lpips = replace(NO_LPIPS, unavailable=None, per_frame=(0.1, 0.4, 0.2))
    assert view.worst_frame(case) == 6
    assert view.worst_frame(replace(case, metrics={"lpips": lpips})) == 1
    assert view.worst_frame(replace(case, metrics={"lpips": NO_LPIPS})) is None
    assert view.worst_frame(replace(case, metrics={"psnr": psnr([None, None])})) is None
