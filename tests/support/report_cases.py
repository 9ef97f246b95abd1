"""Handmade runs with every kind of case a report knows, and the page as a parser sees it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from parity.results.case import CaseResult, FindingResult, MetricResult, Run, VideoResult
from parity.results.comfyui import ComfyAdvice, ComfySetting
from parity.results.diagnosis import Closeness, Diagnosis, FactorCost, Trial, WaterfallStep

HOSTILE = "</script><img src=x onerror=document.title='owned'>\u2028&amp;"


class Page(HTMLParser):
    """Elements and text of a page, as a browser's parser sees them: script content is no markup."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.explained = ""
        """The text of the pages about factors, which is the same for every run."""
        self._explains = False
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        self._explains |= tag == "dialog" and dict(attrs).get("class") == "explain"
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""
        self._explains &= tag != "dialog"
        self.text += " " if tag in ("dt", "dd", "td", "th", "p", "li") else ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._explains:
            self.explained += data
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


def draw_stills(
    folder: Path, frames: int, size: tuple[int, int] = (96, 64), shift: int = 0, kept: Sequence[int] | None = None
) -> None:
    """A ball that rolls over a gradient, `shift` pixels further than it should: all frames, or those `kept`."""
    folder.mkdir(parents=True)
    for frame in range(frames) if kept is None else kept:
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
        "lora_files": [{"path": "/data/tiny_t2v.safetensors", "sha256": "ab" * 32, "expert": None}],
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
                lora_files=[{"path": "/srv/lora.safetensors", "sha256": "ab" * 32, "expert": None}],
                lora_application="adapter",
                width={"asked": 96, "applied": 96},
                control_image={"source": "base64", "sha256": "cd" * 32, "width": 96, "height": 64},
            ),
        },
        notes=("The toolkit version is assumed from the file's date.",),
        timings={"preview": 3.2, "inference": 4.0, "compare": 0.4},
        artifacts={"preview_frames": "artifacts/t2v-guitar/preview", "output_frames": "artifacts/t2v-guitar/output"},
    )


def diagnosed_case(folder: Path) -> CaseResult:
    """A drifted case with pictures of its diagnosis: its scheduler explains everything, another factor nothing."""
    case = drifted_case(folder)
    trials = folder / "artifacts/t2v-guitar/trials"
    kept = (0, 4, 6, 9, 10)
    draw_stills(trials / "1-only-scheduler-fixed", 11, kept=kept)
    draw_stills(trials / "2-only-scheduler-broken", 11, shift=2, kept=kept)

    def trial(psnr: float | None, file: str, stills: str | None = None) -> Trial:
        near = Closeness(identical=psnr is None, psnr=psnr, ssim=None if psnr is None else 0.91)
        place = None if stills is None else f"artifacts/t2v-guitar/{stills}"
        return Trial(
            to_preview=near, to_recipe=near, raw_sha256=file, file_sha256=file, denoising_steps=4, stills=place
        )

    as_is = trial(30.0, "9f" * 32, "output")
    fixed = trial(None, "01" * 32, "trials/1-only-scheduler-fixed")
    diagnosis = Diagnosis(
        mode="full",
        sentence="fully explained: scheduler",
        explained=True,
        factors=(
            FactorCost(
                factor="scheduler",
                preview="FlowMatchEulerDiscreteScheduler, shift 3.0",
                inference="UniPCMultistepScheduler, shift 3.0",
                fix="pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)",
                level="visible",
                rank=1,
                gain=fixed,
                loss=trial(31.2, "02" * 32, "trials/2-only-scheduler-broken"),
            ),
            FactorCost(
                factor="lora_application",
                preview="merged",
                inference="adapter",
                fix="pipe.fuse_lora()",
                not_measured="gain and loss: the budget was spent",
            ),
        ),
        smallest_set=("scheduler",),
        smallest_set_evidence="fixing only scheduler generates the same file, byte for byte",
        as_is=as_is,
        preview_recipe=fixed,
        waterfall=(
            WaterfallStep(taken=None, trial=as_is),
            WaterfallStep(taken="scheduler", trial=fixed),
            WaterfallStep(taken="lora_application", trial=None),
        ),
        stills=5,
    )
    return replace(case, diagnosis=diagnosis)


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
        comfyui=ComfyAdvice(
            answer="The graph differs from the preview in 1 setting: scheduler.",
            settings=(
                ComfySetting(node="KSampler", kind="KSampler", name="steps", value="20"),
                ComfySetting(node="KSampler", kind="KSampler", name="scheduler", value="normal"),
                ComfySetting(node="Load LoRA", kind="LoraLoaderModelOnly", name="lora_name", value="lora_" * 30),
            ),
            changes=(ComfySetting(node="KSampler 3", kind="KSampler", name="scheduler", value="normal", now="simple"),),
            first=("resize the control image: Image.open(…).convert('RGB').resize((96, 64)).save('ctrl-96x64.png')",),
            rounding=("pixels are cut to 8 bit where ai-toolkit rounds",),
        ),
        artifacts={"preview_frames": "artifacts/i2v/preview", "output_frames": "artifacts/i2v/output"},
    )


def error_case() -> CaseResult:
    return CaseResult(
        id="broken",
        status="error",
        model="wan22_14b",
        verdict="The LoRA file cannot be read.",
        case_file="cases/broken.yaml",
        error="WeightsError: models/lora.safetensors: is not a complete safetensors file; copy it again",
    )


def run_of(*cases: CaseResult) -> Run:
    return Run(
        started="2026-11-20T10:00:00Z",
        finished="2026-11-20T10:01:00Z",
        command=("parity", "run", "cases/with space"),
        environment={"versions": {"torch": "2.13.0", "diffusers": "0.42.1"}, "device": "cpu", "flags": {"tf32": False}},
        cases=cases,
    )


def every_status(folder: Path) -> Run:
    """A run with every status: two cases that failed, one drifted as expected, two passed."""
    drifted = drifted_case(folder)
    expected = replace(
        drifted,
        id="t2v-night",
        status="expected_drift",
        model="wan21_1b",
        tags=("night run",),
        findings=(FindingResult(factor="seed", preview="42", inference="7", note="other noise"),),
        metrics={"psnr": psnr([20.0, 21.0, 22.0])},
    )
    passed = passed_case(folder)
    near = replace(passed, id="i2v-near", bit_identical=False, metrics={"psnr": psnr([44.0, 45.0])})
    return run_of(passed, expected, near, error_case(), drifted)


def hostile_run(folder: Path) -> Run:
    case = drifted_case(folder)
    recipes = {"preview": recipe(prompt=HOSTILE), "inference": recipe(prompt=HOSTILE + "!")}
    return run_of(replace(case, id=HOSTILE, model=HOSTILE, recipes=recipes), replace(error_case(), error=HOSTILE))
