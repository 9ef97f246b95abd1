"""Case files: what a good one means, and one clear message for everything a bad one gets wrong."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from safetensors.numpy import load_file, save_file

from parity.case import DEFAULT_TOLERANCE, DEMO, Case, find_case_files, load_case, load_cases
from parity.case_file import Factor, ToleranceKeys
from pipelines.catalog import find_model
from pipelines.errors import CaseError
from pipelines.recipe import FACTORS, Precision, Resize, differing_factors
from pipelines.scheduler import flow_schedule

VIDEO = "1795289016732__000000500_0.webp"

CASE = f"""\
id: guitar
model: wan21_14b
checkpoint: "{DEMO}/models/tiny-wan-t2v"
preview:
  config: "{DEMO}/jobs/t2v_basic/config.yaml"
  sample: 0
  video: "{DEMO}/jobs/t2v_basic/samples/{VIDEO}"
  toolkit: "0.12.26"
request:
  model: wan21_14b
  prompts:
    - prompt: woman playing the guitar, on stage
      width: 96
      height: 64
      seed: 42
      sample_steps: 6
      guidance_scale: 5
      num_frames: 9
      fps: 15
  loras:
    - path: "{DEMO}/jobs/t2v_basic/tiny_t2v.safetensors"
      network_multiplier: 1.0
pipeline: reference
tolerance: {{psnr: 40}}
expect: [scheduler, lora_application, precision]
tags: [t2v]
"""

I2V = f"""\
model: wan21_i2v_14b
checkpoint: "{DEMO}/models/tiny-wan-i2v"
preview:
  config: "{DEMO}/jobs/i2v_basic/config.yaml"
  sample: 0
  video: "{DEMO}/jobs/i2v_basic/samples/1795289301080__000000500_0.webp"
  toolkit: "0.12.26"
request:
  model: wan21_i2v_14b
  prompts:
    - prompt: p3r5on waving
      width: 100
      ctrl_img: "{DEMO}/jobs/i2v_basic/ctrl.png"
  loras:
    - path: "{DEMO}/jobs/i2v_basic/tiny_i2v.safetensors"
"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def without(text: str, *keys: str) -> str:
    """The case text less some top-level keys and all below them."""
    for key in keys:
        text = re.sub(rf"^{key}:.*\n(?:[ -].*\n)*", "", text, flags=re.MULTILINE)
    return text


def refusal(path: Path) -> str:
    with pytest.raises(CaseError) as caught:
        load_case(path)
    assert caught.value.exit_code == 2
    return str(caught.value)


def load(tmp_path: Path, text: str) -> Case:
    return load_case(write(tmp_path / "case.yaml", text))


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """The demo's cases and jobs, to be changed; the checkpoints are left where they are."""
    folder = tmp_path / "demo"
    shutil.copytree(DEMO, folder, ignore=shutil.ignore_patterns("models", "*.yaml", "__pycache__"))
    for job in sorted(DEMO.glob("jobs/*/config.yaml")):
        shutil.copy(job, folder / job.relative_to(DEMO))
    return folder


def in_copy(text: str, demo: Path) -> str:
    """A case text on the copied jobs and the original checkpoints."""
    return text.replace(f"{DEMO}/jobs", f"{demo}/jobs")


def edit_job(demo: Path, name: str, **changes: object) -> dict[str, Any]:
    """Change keys of a copied job's sample section (or, with a dot, of another); returns the sections."""
    path = demo / "jobs" / name / "config.yaml"
    config = yaml.safe_load(path.read_text())
    process: dict[str, Any] = config["config"]["process"][0]
    for key, value in changes.items():
        section, _, word = key.rpartition("__")
        process.setdefault(section or "sample", {})[word] = value
    path.write_text(yaml.safe_dump(config))
    return process


# --- bad input: (text to replace, replacement, where the error is, key, words of the message)

UNKNOWN_KEYS = [
    ("pipeline:", "pipline:", "pipline:", "pipline", "unknown key; did you mean pipeline?"),
    ("tags:", "tag:", "tag:", "tag", "unknown key; did you mean tags?"),
    ("tags:", "frobnicate:", "frobnicate:", "frobnicate", "unknown key; known: id, model, checkpoint, preview"),
    ("toolkit:", "tolkit:", "tolkit:", "preview.tolkit", "unknown key; did you mean toolkit?"),
    ("      width:", "      widht:", "widht:", "request.prompts[0].widht", "unknown key; did you mean width?"),
    ("      sample_steps:", "      steps:", "steps:", "request.prompts[0].steps", "did you mean sample_steps?"),
    ("  loras:", "  trigger_wrd: x\n  loras:", "trigger_wrd", "request.trigger_wrd", "did you mean trigger_word?"),
    ("network_multiplier:", "network_mult:", "network_mult:", "request.loras[0].network_mult", "network_multiplier?"),
    ("{psnr: 40}", "{psrn: 40}", "tolerance:", "tolerance.psrn", "did you mean psnr?"),
    ("{psnr: 40}", "{psnr_max: 40}", "tolerance:", "tolerance.psnr_max", "unknown key; did you mean psnr"),
    ("reference", "{bse: faithful}", "pipeline:", "pipeline.bse", "did you mean base?"),
    ("reference", "{keys: 1}", "pipeline:", "pipeline.keys", "unknown key"),
    ("reference", "{precision: {dtype: float32, fp32: kept}}", "pipeline:", "pipeline.precision.fp32", "unknown key"),
    ("reference", "{resize: {filtre: box}}", "pipeline:", "pipeline.resize.filtre", "did you mean filter?"),
]

WRONG_TYPES = [
    ("id: guitar", "id: 7", "id:", "id", "is 7"),
    ("id: guitar", "id: a/b", "id:", "id", "is 'a/b'"),
    ("id: guitar", 'id: ""', "id:", "id", "is ''"),
    ("model: wan21_14b\nch", "model: [a]\nch", "model:", "model", "must be a valid string, is ['a']"),
    ("sample: 0", 'sample: "0"', "sample:", "preview.sample", "must be a valid integer, is '0'"),
    ("sample: 0", "sample: 0.5", "sample:", "preview.sample", "must be a valid integer, is 0.5"),
    ("sample: 0", "sample: true", "sample:", "preview.sample", "must be a valid integer, is True"),
    ("sample: 0", "sample:", "sample:", "preview.sample", "is None"),
    ('toolkit: "0.12.26"', "toolkit: 0.12", "toolkit:", "preview.toolkit", "must be a valid string, is 0.12"),
    ("width: 96", "width: 96.0", "width:", "request.prompts[0].width", "must be a valid integer, is 96.0"),
    ("width: 96", "width: wide", "width:", "request.prompts[0].width", "must be a valid integer, is 'wide'"),
    ("guidance_scale: 5", 'guidance_scale: "5"', "guidance", "request.prompts[0].guidance_scale", "valid number"),
    ("tolerance: {psnr: 40}", "tolerance: 40", "tolerance:", "tolerance", "is 40"),
    ("{psnr: 40}", "{psnr: high}", "tolerance:", "tolerance.psnr", "must be a valid number, is 'high'"),
    ("tags: [t2v]", "tags: t2v", "tags:", "tags", "must be a valid list, is 't2v'"),
    ("tags: [t2v]", "tags: [1]", "tags:", "tags[0]", "must be a valid string, is 1"),
    ("[scheduler, lora_application, precision]", "scheduler", "expect:", "expect", "must be a valid list"),
    ("pipeline: reference", "pipeline: 3", "pipeline:", "pipeline", "is 3"),
    ("pipeline: reference", "pipeline: [faithful]", "pipeline:", "pipeline", "is ['faithful']"),
    ("pipeline: reference", "pipeline: fathful", "pipeline:", "pipeline", "must be 'reference' or 'faithful'"),
]

MISSING = [
    ("model: wan21_14b\nch", "ch", "id:", "model", "is missing"),
    (f'  config: "{DEMO}/jobs/t2v_basic/config.yaml"\n', "", "preview:", "preview.config", "is missing"),
    ("  sample: 0\n", "", "preview:", "preview.sample", "is missing"),
    (f'  video: "{DEMO}/jobs/t2v_basic/samples/{VIDEO}"\n', "", "preview:", "preview.video", "is missing"),
    ("  model: wan21_14b\n  prompts", "  prompts", "request:", "request.model", "is missing"),
    ("prompt: woman playing the guitar, on stage", "neg: a", "- neg", "request.prompts[0].prompt", "is missing"),
    ('path: "', 'transformer: low\n      "x": "', "- transformer", "request.loras[0].path", "is missing"),
    ("pipeline: reference", "pipeline: {scheduler: {shift: 3.0}}", "pipeline:", "pipeline.scheduler.family", "missing"),
    ("pipeline: reference", "pipeline: {scheduler: {family: unipc}}", "pipeline:", "pipeline.scheduler.shift", "missing"),
    ("pipeline: reference", "pipeline: {precision: {fp32_modules: cast}}", "pipeline:", "pipeline.precision.dtype", "m"),
]

MISSING_FILES = [
    ("/config.yaml", "/konfig.yaml", "config:", "preview.config", "konfig.yaml does not exist"),
    (VIDEO, "gone.webp", "video:", "preview.video", "gone.webp does not exist"),
    ("tiny_t2v.saf", "other.saf", "path:", "request.loras[0].path", "LORA_NOT_FOUND"),
    ("/models/tiny-wan-t2v", "/models/none", "checkpoint:", "checkpoint", "is neither a folder nor a Hub id"),
    (f'"{DEMO}/models/tiny-wan-t2v"', "./here", "checkpoint:", "checkpoint", "is neither a folder nor a Hub id"),
    ("/config.yaml", "/" + "x" * 300, "config:", "preview.config", "xxx"),
    (VIDEO, "x" * 300, "video:", "preview.video", "xxx"),
]


def bound(key: str, old: str, *values: object) -> list[tuple[str, str, str, str, str]]:
    """One mistake per value out of bounds."""
    name = key.rpartition(".")[2]
    return [(f"{name}: {old}", f"{name}: {value}", f"{name}: {value}", key, "must be ") for value in values]


OUT_OF_BOUNDS = [
    *bound("request.prompts[0].width", "96", 63, 4097, 0, -96),
    *bound("request.prompts[0].height", "64", 63, 4097),
    *bound("request.prompts[0].sample_steps", "6", 0, 151, -1),
    *bound("request.prompts[0].seed", "42", -2),
    *bound("request.prompts[0].fps", "15", 0, 121),
    *bound("request.prompts[0].num_frames", "9", 0, 1001),
    *bound("request.prompts[0].guidance_scale", "5", -0.1, 20.1, ".nan", ".inf"),
    *bound("request.loras[0].network_multiplier", "1.0", -2.1, 2.1, ".nan"),
    *bound("preview.sample", "0", -1),
    ("{psnr: 40}", "{psnr: -1}", "tolerance:", "tolerance.psnr", "greater than or equal to 0"),
    ("{psnr: 40}", "{psnr: .nan}", "tolerance:", "tolerance.psnr", "is nan"),
    ("{psnr: 40}", "{psnr: .inf}", "tolerance:", "tolerance.psnr", "is inf"),
    ("{psnr: 40}", "{ssim_min: 1.1}", "tolerance:", "tolerance.ssim_min", "less than or equal to 1"),
    ("{psnr: 40}", "{lpips_max: -0.1}", "tolerance:", "tolerance.lpips_max", "greater than or equal to 0"),
]

SERVER_RULES = [
    (
        "  loras:\n",
        f'  loras:\n    - path: "{DEMO}/jobs/t2v_basic/tiny_t2v.safetensors"\n',
        "loras:",
        "request.loras",
        "SINGLE_LORA_ONLY: wan21_14b takes one LoRA, not 2",
    ),
    (
        "network_multiplier: 1.0",
        "transformer: low",
        "loras:",
        "request.loras",
        "MOE_FORMAT_NOT_SUPPORTED: wan21_14b has one transformer",
    ),
    ("  model: wan21_14b\n  p", "  model: wan21_1b\n  p", "model: wan21_1b", "request.model", "the case is about wan21_14b"),
    ("model: wan21_14b\nch", "model: wan21_14\nch", "model:", "model", "did you mean wan21_14b?"),
    ("model: wan21_14b\nch", "model: flux\nch", "model:", "model", "is not supported; known: wan21_14b, wan21_1b"),
]

FACTORS_AND_OVERRIDES = [
    ("expect: [scheduler,", "expect: [schedular,", "expect:", "expect[0]", "is no factor; did you mean scheduler?"),
    ("lora_application, p", "lora_aplication, p", "expect:", "expect[1]", "did you mean lora_application?"),
    ("expect: [scheduler,", "expect: [zzz,", "expect:", "expect[0]", "'zzz' is no factor; known: boundary, checkpoint"),
    ("reference", "{base: other}", "pipeline:", "pipeline.base", "must be 'reference' or 'faithful'"),
    ("reference", "{scheduler: {family: dpm, shift: 3}}", "pipeline:", "pipeline.scheduler.family", "is 'dpm'"),
    ("reference", "{scheduler: {family: unipc, shift: 0}}", "pipeline:", "pipeline.scheduler.shift", "greater than 0"),
    ("reference", "{scheduler: {family: unipc, shift: .inf}}", "pipeline:", "pipeline.scheduler.shift", "is inf"),
    ("reference", "{scheduler: {family: unipc, shift: 3, zeta: 1}}", "pipeline:", "pipeline.scheduler", "no setting zeta"),
    ("reference", "{scheduler: {family: unipc, shift: 3, solver_type: [a]}}", "pipeline:", "pipeline.scheduler", "['a']"),
    ("reference", "{lora_application: merge}", "pipeline:", "pipeline.lora_application", "'side_path' or 'adapter'"),
    ("reference", "{precision: {dtype: bf16}}", "pipeline:", "pipeline.precision.dtype", "is 'bf16'"),
    ("reference", "{frame_rule: none}", "pipeline:", "pipeline.frame_rule", "must be 'diffusers' or 'low_vram'"),
    ("reference", "{vae_tiling: 1}", "pipeline:", "pipeline.vae_tiling", "must be a valid boolean, is 1"),
    ("reference", "{resize: {filter: LANCZOS}}", "pipeline:", "pipeline.resize.filter", "is 'LANCZOS'"),
    ("reference", "{resize: {crop: fit}}", "pipeline:", "pipeline.resize.crop", "must be 'stretch' or 'center'"),
]

MISTAKES = [
    *UNKNOWN_KEYS,
    *WRONG_TYPES,
    *MISSING,
    *MISSING_FILES,
    *OUT_OF_BOUNDS,
    *SERVER_RULES,
    *FACTORS_AND_OVERRIDES,
]


def line_of(text: str, marker: str) -> int:
    """1-based line of the last line with the marker: request keys stand below the case's own."""
    return max(number for number, line in enumerate(text.splitlines(), 1) if marker in line)


@pytest.mark.parametrize(
    ("old", "new", "at", "key", "words"), MISTAKES, ids=[f"{key}-{new[:24]!r}" for _, new, _, key, _ in MISTAKES]
)
def test_mistake_is_one_line_with_file_line_and_key(
    tmp_path: Path, old: str, new: str, at: str, key: str, words: str
) -> None:
    assert CASE.count(old) >= 1
    text = CASE.replace(old, new, 1)
    path = write(tmp_path / "case.yaml", text)
    lines = refusal(path).splitlines()
    place = [line for line in lines if line.startswith(f"{path}:") and f": {key}: " in line]
    assert len(place) == 1, lines
    assert words in place[0]
    line = 1 + text[: text.index(new)].count("\n") if new else line_of(text, at)
    assert place[0].startswith(f"{path}:{line_of(text, at)}: {key}: ") or place[0].startswith(f"{path}:{line}: {key}: ")
