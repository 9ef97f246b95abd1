"""The time `parity report` takes for many cases, the size of the page, and how soon a browser shows it.

    python -m benchmarks.report [--cases N]

Writes results.json and stills as the runner does, for 100 cases of 41 frames of 416x240: Wan's 832x480 at half size,
smooth shapes with grain that move. Four videos are made and encoded; every case uses a copy of one of them, and every
fifth has a diagnosis with stills of its trials. Renders with the command itself and prints its time, the page's size
and the command's peak memory. With Chromium and playwright installed it opens the page from disk three times and prints
how long it takes until the filter has answered its first key, until all is loaded, and until a case shows its frames.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from parity.results.case import CaseResult, FindingResult, MetricResult, Run, Status, VideoResult
from parity.results.diagnosis import Closeness, Cost, Diagnosis, FactorCost, Trial, WaterfallStep
from parity.results.json_text import to_json

if TYPE_CHECKING:
    from playwright.sync_api import Page

WIDTH, HEIGHT = 416, 240
VIDEOS = 4
STATUSES: tuple[Status, ...] = ("drifted", "expected_drift", "expected_drift", "passed", "passed")
"""The statuses of every five cases."""
FACTORS = ("scheduler", "lora_application", "precision")
KEPT = 3
"""Stills of each trial of a diagnosis."""
TIMES = 3
TYPE_A_KEY = """
new MutationObserver((_, observer) => {
    const found = document.getElementById("found");
    if (!found?.textContent) return; // the filter does not work yet
    observer.disconnect();
    const filter = document.getElementById("filter");
    filter.value = "1";
    filter.dispatchEvent(new Event("input", { bubbles: true }));
    requestAnimationFrame(() => setTimeout(() => { globalThis.answered = performance.now(); }));
}).observe(document, { subtree: true, childList: true });
"""
OPEN_A_CASE = """() => new Promise((done) => {
    const start = performance.now();
    document.querySelector("tr[data-row]:not([hidden]) th a").click();
    (function look() {
        const shown = document.querySelector("section.case.shown [data-side=preview] canvas:not([hidden])");
        if (shown) requestAnimationFrame(() => done(performance.now() - start));
        else setTimeout(look);
    })();
})"""


def main() -> None:
    """Build, render and open a report; print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--frames", type=int, default=41)
    parser.add_argument("--max-size", default="25", metavar="MB")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="build into DIR and keep it, or use what an earlier run left there"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        if not (folder / "results.json").exists():
            build(folder, options.cases, options.frames)
        render(folder, options.max_size)
        open_in_browser(folder / "report.html")


def build(folder: Path, cases: int, frames: int) -> None:
    """Write results.json and its stills."""
    generator = np.random.default_rng(7)
    made = [make_pair(folder / "made" / str(number), frames, generator) for number in range(min(VIDEOS, cases))]
    results = []
    for number in range(cases):
        result = make_case(number, frames, generator)
        for side, source in zip(("preview", "output"), made[number % len(made)], strict=True):
            target = folder / result.artifacts[f"{side}_frames"]
            shutil.copytree(source, target)
        if result.diagnosis is not None:
            copy_trials(result.diagnosis, folder, made[number % len(made)])
        results.append(result)
    shutil.rmtree(folder / "made")
    run = Run(
        started="2026-11-20T10:00:00+00:00",
        finished="2026-11-20T11:00:00+00:00",
        command=("parity", "run", "cases"),
        environment={"device": "cpu", "versions": {"torch": "2.13.0", "diffusers": "0.42.1"}},
        cases=tuple(results),
    )
    (folder / "results.json").write_text(to_json(run), encoding="utf-8")


def copy_trials(diagnosis: Diagnosis, folder: Path, pair: tuple[Path, Path]) -> None:
    """A few stills for each trial, some nearer to the preview and some to the output."""
    for number, trial in enumerate(diagnosis.trials().values()):
        assert trial.stills is not None
        target = folder / trial.stills
        target.mkdir(parents=True, exist_ok=True)
        for still in sorted(pair[number % 2].iterdir())[number : number + KEPT]:
            shutil.copy(still, target)


def make_pair(folder: Path, frames: int, generator: np.random.Generator) -> tuple[Path, Path]:
    """Make a preview and an output: moving shapes with grain, and a slight change. WebP at 90, as in a run."""
    ground = smooth(generator, 10)
    figure = smooth(generator, 5)
    for side, off in (("preview", 0), ("output", 3)):
        (folder / side).mkdir(parents=True)
        for frame in range(frames):
            moved = np.roll(figure, (frame + off, 3 * frame + off), axis=(0, 1))
            picture = 0.6 * ground + 0.4 * moved + generator.normal(0, 3, ground.shape)
            pixels = np.clip(picture, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / side / f"{frame:04d}.webp", quality=90)
    return folder / "preview", folder / "output"


def smooth(generator: np.random.Generator, cells: int) -> NDArray[np.float64]:
    """Make a background of colour gradients."""
    small = generator.integers(0, 256, (cells, 2 * cells, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), dtype=np.float64)


def make_case(number: int, frames: int, generator: np.random.Generator) -> CaseResult:
    """Make a case with every part that a run writes."""
    status = STATUSES[number % len(STATUSES)]
    name = f"case-{number:03d}"
    psnr = generator.uniform(30, 38, frames)
    video = VideoResult(frames=frames, width=WIDTH, height=HEIGHT, fps=16.129, sha256=f"{number:064x}")
    findings = [
        FindingResult(factor=factor, preview="as the trainer", inference="as the server", note="What it means.")
        for factor in FACTORS
    ]
    return CaseResult(
        id=name,
        status=status,
        model=("wan21_14b", "wan21_1b", "wan21_i2v_14b")[number % 3],
        verdict=f"PSNR {psnr.mean():.2f} dB, worst {psnr.min():.2f}",
        case_file=f"cases/{name}.yaml",
        tags=("t2v", "nightly"),
        expect=FACTORS if status == "expected_drift" else None,
        tolerance={"psnr": 35.0, "psnr_min": 30.0},
        preview=video,
        output=video,
        bit_identical=False,
        compared_as="decoded webp with decoded webp",
        metrics={"psnr": metric(psnr, True), "ssim": metric(psnr / 40, True), "lpips": metric(1 - psnr / 40, False)},
        codec_floor={"psnr": 38.4, "ssim": 0.97},
        findings=() if status == "passed" else tuple(findings),
        diagnosis=make_diagnosis(name) if status == "drifted" else None,
        recipes={"preview": recipe("flow_match_euler"), "inference": recipe("unipc")},
        sigmas={"preview": tuple(np.linspace(1, 0, 26)), "inference": tuple(np.linspace(1, 0, 26))},
        case_yaml="model: wan21_14b\npreview: {config: job.yaml, sample: 0}\n" * 5,
        timings={"load": 5.0, "generate": 20.0, "compare": 0.5, "total": 25.5},
        artifacts={f"{side}_frames": f"artifacts/{name}/{side}_frames" for side in ("preview", "output")},
    )


def make_diagnosis(name: str) -> Diagnosis:
    """Make a full diagnosis, with both trials of every factor."""

    def trial(label: str, psnr: float) -> Trial:
        return Trial(
            to_preview=Closeness(identical=False, psnr=psnr, ssim=psnr / 40),
            to_recipe=Closeness(identical=False, psnr=psnr + 1, ssim=psnr / 40),
            raw_sha256=f"{hash(label):064x}"[-64:],
            file_sha256=f"{hash(label):064x}"[-64:],
            denoising_steps=20,
            stills=f"artifacts/{name}/trials/{label}",
        )

    return Diagnosis(
        mode="full",
        sentence="fully explained: fixing scheduler, lora_application, precision reproduces the preview bit for bit",
        explained=True,
        factors=tuple(
            FactorCost(
                factor=factor,
                preview="as the trainer",
                inference="as the server",
                fix="pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)",
                level="visible",
                rank=place + 1,
                gain=trial(f"gain-{factor}", 35.0 + place),
                loss=trial(f"loss-{factor}", 36.0 + place),
            )
            for place, factor in enumerate(FACTORS)
        ),
        smallest_set=FACTORS,
        as_is=trial("as-is", 34.0),
        preview_recipe=trial("recipe", 39.0),
        waterfall=tuple(
            WaterfallStep(taken=taken, trial=trial(f"step-{place}", 34.0 + place))
            for place, taken in enumerate((None, *FACTORS))
        ),
        stills=KEPT,
        cost=Cost(planned=8, spent=8, denoising_steps=160, decodes=9, encodings=4, reused=4, loads=7, seconds=90.0),
    )


def metric(values: NDArray[np.float64], higher_is_better: bool) -> MetricResult:
    """Make one metric over all frames."""
    return MetricResult(
        variant="as measured",
        higher_is_better=higher_is_better,
        mean=float(values.mean()),
        min=float(values.min()),
        max=float(values.max()),
        per_frame=tuple(values.tolist()),
    )


def recipe(scheduler: str) -> dict[str, Any]:
    """Make a recipe with about as many fields as a real one."""
    fields: dict[str, Any] = {f"setting_{number}": {"asked": number, "applied": number} for number in range(25)}
    return fields | {
        "prompt": "woman playing the guitar, on stage " * 5,
        "scheduler": {"family": scheduler, "shift": 3.0},
    }


def render(folder: Path, max_size: str) -> None:
    """Run the command in a process of its own."""
    page = folder / "report.html"
    command = [sys.executable, "-m", "parity", "report", str(folder), "--out", str(page), "--max-size", max_size]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=Path(__file__).parent.parent)
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    stills = [path.stat().st_size for path in folder.rglob("artifacts/**/*.webp")]
    cases = len(json.loads((folder / "results.json").read_text(encoding="utf-8"))["cases"])
    print(f"{cases} cases, {len(stills)} stills of {WIDTH}x{HEIGHT}, {sum(stills) / 2**20:.0f} MiB")
    busy, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
    size = page.stat().st_size / 2**20
    print(f"render: {seconds:.1f} s ({busy:.1f} s of CPU), {size:.2f} MiB, peak {peak:.0f} MiB of memory")


def open_in_browser(page: Path) -> None:
    """Measure a reader's first steps, each time in a new window, and print the medians."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        executable = None
    if executable is None:
        print("open: not measured, Chromium or playwright is missing")
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        steps = [first_steps(browser.new_page(), page.resolve().as_uri()) for _ in range(TIMES)]
        browser.close()
    filtered, loaded, opened = (statistics.median(times) for times in zip(*steps, strict=True))
    print(f"open: {filtered:.0f} ms until the filter has answered a key, {loaded:.0f} ms until all is loaded")
    print(f"open a case: {opened:.0f} ms until it shows its frames (medians of {TIMES})")


def first_steps(window: Page, address: str) -> tuple[float, float, float]:
    """Milliseconds until the filter has answered, until all is loaded, and that it takes to open a case."""
    window.add_init_script(TYPE_A_KEY)
    window.goto(address, wait_until="load")
    filtered, loaded = window.evaluate("() => [answered, performance.getEntriesByType('navigation')[0].loadEventStart]")
    opened: float = window.evaluate(OPEN_A_CASE)
    window.close()
    return filtered, loaded, opened


if __name__ == "__main__":
    main()
