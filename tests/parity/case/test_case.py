"""Case files: the meaning of a valid one, and one clear message for every mistake in an invalid one."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from parity.case.keys import DEFAULT_TOLERANCE, Expected
from parity.case.load import DEMO, Case, find_case_files, load_case, load_cases
from parity.factors.catalogue import PAGES
from pipelines.aitoolkit.quantization import recovery_adapter
from pipelines.catalog import find_model
from pipelines.drift import differing_factors
from pipelines.errors import CaseError
from pipelines.limits import MAX_STEPS
from pipelines.recipe import Precision, Resize
from pipelines.scheduler import flow_schedule

VIDEO = "1795289016732__000000500_0.webp"
LORA = f'path: "{DEMO}/jobs/t2v_basic/tiny_t2v.safetensors"'

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
    - {LORA}
      network_multiplier: 1.0
pipeline: reference
tolerance: {{psnr: 40}}
expect: [scheduler, lora_application, precision]
tags: [t2v]
"""

I2V_CASE = f"""\
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
      ctrl_img: "{DEMO}/jobs/i2v_basic/ctrl.png"
  loras:
    - path: "{DEMO}/jobs/i2v_basic/tiny_i2v.safetensors"
"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def without(text: str, *keys: str) -> str:
    """A case text less some top-level keys and all below them."""
    for key in keys:
        text = re.sub(rf"^{key}:.*\n(?: .*\n)*", "", text, flags=re.MULTILINE)
    return text


DERIVED = without(CASE, "request", "pipeline", "tolerance", "expect")
"""A case with required keys only."""
I2V_DERIVED = without(I2V_CASE, "request")
WAN22_DERIVED = f"""\
model: wan22_14b_t2v
checkpoint: {DEMO}/models/tiny-wan22-t2v
preview:
  config: {DEMO}/jobs/wan22_t2v/config.yaml
  sample: 0
  video: {DEMO}/jobs/wan22_t2v/samples/1795291041907__000000500_0.webp
  toolkit: "0.12.26"
"""


def load(folder: Path, text: str) -> Case:
    return load_case(write(folder / "case.yaml", text))


def refusal(path: Path) -> str:
    with pytest.raises(CaseError) as caught:
        load_case(path)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """The demo's jobs and requests, to be changed."""
    for name in ("jobs", "requests"):
        shutil.copytree(DEMO / name, tmp_path / name)
    return tmp_path


def in_copy(text: str, demo: Path) -> str:
    """A case text on the copied jobs and the original checkpoints."""
    return text.replace(f"{DEMO}/jobs", f"{demo}/jobs")


def edit_job(demo: Path, name: str, changes: Mapping[str, object]) -> None:
    """Set `section.key` entries of a copied job; None removes one."""
    path = demo / "jobs" / name / "config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    process: dict[str, Any] = config["config"]["process"][0]
    for place, value in changes.items():
        section, _, key = place.rpartition(".")
        target = process.setdefault(section, {}) if section else process
        target[key] = value
        if value is None:
            del target[key]
    write(path, yaml.safe_dump(config))


# Bad input: text to replace in CASE, replacement, line of the error, its key, words of its message.
Mistake = tuple[str, str, int, str, str]

UNKNOWN_KEYS: list[Mistake] = [
    ("pipeline:", "pipline:", 23, "pipline", "unknown key; did you mean pipeline?"),
    ("tags:", "tag:", 26, "tag", "unknown key; did you mean tags?"),
    ("tags:", "frobnicate:", 26, "frobnicate", "unknown key; known: id, model, checkpoint, preview"),
    ("  toolkit:", "  tolkit:", 8, "preview.tolkit", "unknown key; did you mean toolkit?"),
    ("  width:", "  widht:", 13, "request.prompts[0].widht", "unknown key; did you mean width?"),
    ("  sample_steps:", "  steps:", 16, "request.prompts[0].steps", "sample_steps"),
    ("  loras:", "  trigger_wrd: x\n  loras:", 20, "request.trigger_wrd", "did you mean trigger_word?"),
    ("  network_multiplier:", "  network_mult:", 22, "request.loras[0].network_mult", "mean network_multiplier?"),
    ("{psnr: 40}", "{psrn: 40}", 24, "tolerance.psrn", "unknown key; did you mean psnr?"),
    ("{psnr: 40}", "{psnr_max: 40}", 24, "tolerance.psnr_max", "unknown key; did you mean psnr"),
    ("pipeline: reference", "pipeline: {bse: faithful}", 23, "pipeline.bse", "did you mean base?"),
    ("pipeline: reference", "pipeline: {keys: 1}", 23, "pipeline.keys", "unknown key; known: base, scheduler"),
    ("pipeline: reference", "pipeline: {resize: {filtre: box}}", 23, "pipeline.resize.filtre", "did you mean filter?"),
    (
        "pipeline: reference",
        "pipeline: {precision: {dtype: float32, fp32: kept}}",
        23,
        "pipeline.precision.fp32",
        "unknown key; did you mean fp32_modules?",
    ),
]

WRONG_TYPES: list[Mistake] = [
    ("id: guitar", "id: 7", 1, "id", "must be text, is 7"),
    ("id: guitar", "id: a/b", 1, "id", "is 'a/b'"),
    ("id: guitar", "id: ..", 1, "id", "is '..'"),
    ("id: guitar", 'id: ""', 1, "id", "is ''"),
    ("model: wan21_14b\nch", "model: [a]\nch", 2, "model", "must be text, is ['a']"),
    ("sample: 0", 'sample: "0"', 6, "preview.sample", "must be a whole number, is '0'"),
    ("sample: 0", "sample: 0.5", 6, "preview.sample", "must be a whole number, is 0.5"),
    ("sample: 0", "sample: true", 6, "preview.sample", "must be a whole number, is True"),
    ("sample: 0", "sample:", 6, "preview.sample", "is missing: which of the config's prompts"),
    ('toolkit: "0.12.26"', "toolkit: 0.12", 8, "preview.toolkit", "must be text, is 0.12"),
    ("width: 96", "width: 96.0", 13, "request.prompts[0].width", "must be a whole number, is 96.0"),
    ("width: 96", "width: wide", 13, "request.prompts[0].width", "must be a whole number, is 'wide'"),
    ("scale: 5", 'scale: "5"', 17, "request.prompts[0].guidance_scale", "must be a number, is '5'"),
    ("tolerance: {psnr: 40}", "tolerance: 40", 24, "tolerance", "is 40"),
    ("{psnr: 40}", "{psnr: high}", 24, "tolerance.psnr", "must be a number, is 'high'"),
    ("tags: [t2v]", "tags: t2v", 26, "tags", "must be a list, e.g. [t2v]"),
    ("tags: [t2v]", "tags: [1]", 26, "tags[0]", "must be text, is 1"),
    ("[scheduler, lora_application, precision]", "scheduler", 25, "expect", "must be a list, e.g. [scheduler]"),
    ("pipeline: reference", "pipeline: 3", 23, "pipeline", "is 3"),
    ("pipeline: reference", "pipeline: [faithful]", 23, "pipeline", "is ['faithful']"),
    (
        "pipeline: reference",
        "pipeline: fathful",
        23,
        "pipeline",
        "must be 'reference', 'faithful' or 'comfyui', is 'fathful'",
    ),
]

MISSING_KEYS: list[Mistake] = [
    ("model: wan21_14b\nch", "ch", 1, "model", "is missing"),
    ("  sample: 0\n", "", 4, "preview.sample", "is missing"),
    (f'  video: "{DEMO}/jobs/t2v_basic/samples/{VIDEO}"\n', "", 4, "preview.video", "is missing"),
    ("  model: wan21_14b\n  prompts", "  prompts", 9, "request.model", "is missing"),
    ("prompt: woman playing the guitar, on stage", "neg: a", 12, "request.prompts[0].prompt", "is missing"),
    (LORA, "transformer: low", 21, "request.loras[0].path", "is missing"),
    ("pipeline: reference", "pipeline: {scheduler: {shift: 3}}", 23, "pipeline.scheduler.family", "is missing"),
    ("pipeline: reference", "pipeline: {scheduler: {family: unipc}}", 23, "pipeline.scheduler.shift", "is missing"),
    ("pipeline: reference", "pipeline: {precision: {}}", 23, "pipeline.precision.dtype", "is missing"),
]

MISSING_FILES: list[Mistake] = [
    ("/config.yaml", "/konfig.yaml", 5, "preview.config", "konfig.yaml does not exist"),
    ("/config.yaml", f"/{'x' * 300}", 5, "preview.config", "xxx"),
    (VIDEO, "gone.webp", 7, "preview.video", "gone.webp does not exist"),
    (VIDEO, "x" * 300, 7, "preview.video", "xxx"),
    ("tiny_t2v.saf", "gone.saf", 21, "request.loras[0].path", "LORA_NOT_FOUND"),
    ("/models/tiny-wan-t2v", "/models/gone", 3, "checkpoint", "is a path, and no folder on this machine"),
    (f'"{DEMO}/models/tiny-wan-t2v"', "./gone", 3, "checkpoint", "./gone is a path, and no folder on this machine"),
]


def bounds(key: str, line: int, given: str, *values: object) -> list[Mistake]:
    """One mistake per value out of bounds."""
    name = key.rpartition(".")[2]
    return [(f"{name}: {given}", f"{name}: {value}", line, key, "must be ") for value in values]


OUT_OF_BOUNDS: list[Mistake] = [
    *bounds("preview.sample", 6, "0", -1),
    *bounds("request.prompts[0].width", 13, "96", 63, 4097, 0, -96),
    *bounds("request.prompts[0].height", 14, "64", 63, 4097),
    *bounds("request.prompts[0].seed", 15, "42", -2),
    *bounds("request.prompts[0].sample_steps", 16, "6", 0, 151, -1),
    *bounds("request.prompts[0].guidance_scale", 17, "5", -0.1, 20.1, ".nan", ".inf"),
    *bounds("request.prompts[0].num_frames", 18, "9", 0, 1001),
    *bounds("request.prompts[0].fps", 19, "15", 0, 121),
    *bounds("request.loras[0].network_multiplier", 22, "1.0", -2.1, 2.1, ".nan"),
    ("{psnr: 40}", "{psnr: -1}", 24, "tolerance.psnr", "must be greater than or equal to 0, is -1"),
    ("{psnr: 40}", "{seconds_ratio: 0.9}", 24, "tolerance.seconds_ratio", "must be greater than or equal to 1, is 0.9"),
    ("{psnr: 40}", "{psnr: .nan}", 24, "tolerance.psnr", "is nan"),
    ("{psnr: 40}", "{psnr: .inf}", 24, "tolerance.psnr", "is inf"),
    ("{psnr: 40}", "{ssim_min: 1.1}", 24, "tolerance.ssim_min", "must be less than or equal to 1, is 1.1"),
    ("{psnr: 40}", "{vmaf: 101}", 24, "tolerance.vmaf", "must be less than or equal to 100, is 101"),
    ("{psnr: 40}", "{lpips_max: -0.1}", 24, "tolerance.lpips_max", "must be greater than or equal to 0, is -0.1"),
    (f"- {LORA}\n      network_multiplier: 1.0", "[]", 20, "request.loras", "LORA_FILE_REQUIRED: at least one LoRA"),
    (f"- {LORA}", f"- {LORA}\n    - {LORA}", 20, "request.loras", "SINGLE_LORA_ONLY: wan21_14b takes one LoRA, not 2"),
    ("network_multiplier: 1.0", "transformer: low", 20, "request.loras", "MOE_FORMAT_NOT_SUPPORTED: wan21_14b has one"),
    (
        "model: wan21_14b\n  p",
        "model: wan21_1b\n  p",
        10,
        "request.model",
        "is wan21_1b, but the case is about wan21_14b",
    ),
    ("model: wan21_14b\nch", "model: wan21_14\nch", 2, "model", "did you mean wan21_14b?"),
    ("model: wan21_14b\nch", "model: flux\nch", 2, "model", "is not supported; known: wan21_14b, wan21_1b"),
]


def pipeline(override: str, key: str, words: str) -> Mistake:
    return ("pipeline: reference", f"pipeline: {override}", 23, f"pipeline.{key}", words)


FACTORS_AND_OVERRIDES: list[Mistake] = [
    ("[scheduler,", "[schedular,", 25, "expect[0]", "unknown factor 'schedular'; did you mean scheduler?"),
    (
        "lora_application, p",
        "lora_aplication, p",
        25,
        "expect[1]",
        "unknown factor 'lora_aplication'; did you mean lora_application?",
    ),
    ("[scheduler,", "[zzz,", 25, "expect[0]", "unknown factor 'zzz'; known: "),
    pipeline("{base: other}", "base", "must be 'reference', 'faithful' or 'comfyui', is 'other'"),
    pipeline(
        "{scheduler: {family: dpm, shift: 3}}", "scheduler.family", "'unipc', 'flow_match_euler' or 'comfyui', is 'dpm'"
    ),
    pipeline("{scheduler: {family: unipc, shift: 0}}", "scheduler.shift", "must be greater than 0, is 0"),
    pipeline("{scheduler: {family: unipc, shift: .inf}}", "scheduler.shift", "is inf"),
    pipeline("{scheduler: {family: unipc, shift: 3, zeta: 1}}", "scheduler", "UniPCMultistepScheduler"),
    pipeline(
        "{scheduler: {family: flow_match_euler, shift: 3, solver_order: 2}}", "scheduler", "no setting solver_order"
    ),
    pipeline("{lora_application: merge}", "lora_application", "'merged', 'side_path' or 'adapter', is 'merge'"),
    pipeline("{precision: {dtype: bf16}}", "precision.dtype", "'bfloat16', 'float16' or 'float32', is 'bf16'"),
    pipeline("{frame_rule: none}", "frame_rule", "must be 'diffusers' or 'low_vram', is 'none'"),
    pipeline("{vae_tiling: 1}", "vae_tiling", "must be true or false, is 1"),
    pipeline("{resize: {filter: LANCZOS}}", "resize.filter", "is 'LANCZOS'"),
    pipeline("{resize: {crop: fit}}", "resize.crop", "must be 'stretch' or 'center', is 'fit'"),
]


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "words"),
    [*UNKNOWN_KEYS, *WRONG_TYPES, *MISSING_KEYS, *MISSING_FILES, *OUT_OF_BOUNDS, *FACTORS_AND_OVERRIDES],
)
def test_mistake_is_one_line_with_file_line_and_key(
    tmp_path: Path, old: str, new: str, line: int, key: str, words: str
) -> None:
    assert CASE.count(old) == 1
    path = write(tmp_path / "case.yaml", CASE.replace(old, new))
    message = refusal(path)
    assert message.startswith(f"{path}:{line}: {key}: ")
    assert words in message
    assert "\n" not in message


def test_scheduler_setting_that_is_no_plain_value(tmp_path: Path) -> None:
    override = "pipeline: {scheduler: {family: unipc, shift: 3, disable_corrector: {a: [1]}}}"
    path = write(tmp_path / "case.yaml", CASE.replace("pipeline: reference", override))
    assert refusal(path).startswith(f"{path}:23: pipeline.scheduler")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("id: guitar", "id: a/b", "'a/b'"),
        ("prompts:\n    - prompt", "prompts: []\n  _:\n    - prompt", "prompts"),
    ],
)
def test_message_reads_as_a_sentence(tmp_path: Path, old: str, new: str, words: str) -> None:
    message = refusal(write(tmp_path / "case.yaml", CASE.replace(old, new)))
    assert words in message
    assert not re.search(r"must [A-Z]", message)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("preview", "3"),
        ("preview", "[]"),
        ("preview", ""),
        ("pipeline", "3"),
        ("pipeline", "[]"),
        ("tolerance", "3"),
        ("tolerance", "[]"),
        ("request", "3"),
        ("request", "[]"),
    ],
)
def test_section_of_a_wrong_kind_names_no_python_class(tmp_path: Path, key: str, value: str) -> None:
    message = refusal(write(tmp_path / "case.yaml", f"{without(CASE, key)}{key}: {value}\n"))
    assert f": {key}: " in message
    assert "instance of" not in message


@pytest.mark.parametrize("key", ["id", "request", "tolerance", "expect"])
def test_empty_optional_key_is_as_good_as_none(tmp_path: Path, key: str) -> None:
    assert load(tmp_path, f"{without(DERIVED, key)}{key}:\n").inference.steps == 6


@pytest.mark.parametrize(
    ("image", "key", "words"),
    [
        ("", "request.prompts[0]", "CONTROL_IMAGE_REQUIRED: wan21_i2v_14b needs ctrl_img"),
        ('ctrl_img: ""', "request.prompts[0]", "CONTROL_IMAGE_REQUIRED"),
        ('ctrl_img_1: "a.png"\n      ctrl_img_2: "b.png"', "request.prompts[0]", "takes one control image, not 2"),
    ],
)
def test_i2v_wants_one_control_image(tmp_path: Path, image: str, key: str, words: str) -> None:
    path = write(tmp_path / "case.yaml", I2V_CASE.replace(f'ctrl_img: "{DEMO}/jobs/i2v_basic/ctrl.png"', image))
    message = refusal(path)
    assert message.startswith(f"{path}:11: {key}: ")
    assert words in message


@pytest.mark.parametrize("image", ["gone.png", "not base64!", "data:image/png,abc", "case.yaml"])
def test_unreadable_control_image_names_the_case(tmp_path: Path, image: str) -> None:
    path = write(tmp_path / "case.yaml", I2V_CASE.replace(f"{DEMO}/jobs/i2v_basic/ctrl.png", image))
    message = refusal(path)
    assert str(path) in message
    assert image in message or "data URL" in message


@pytest.mark.parametrize("content", ["", "# nothing yet\n", "- id: a\n", "just text\n", "3\n"])
def test_case_that_is_no_mapping(tmp_path: Path, content: str) -> None:
    path = write(tmp_path / "case.yaml", content)
    assert refusal(path).startswith(f"{path}:1: must be a mapping of keys, is ")


def test_several_mistakes_are_all_listed(tmp_path: Path) -> None:
    text = CASE.replace("width: 96", "widht: 96").replace("sample: 0", "sample: -1").replace("fps: 15", "fps: 0")
    path = write(tmp_path / "case.yaml", text.replace("psnr: 40", "psnr: x").replace("  model: wan21_14b\n", ""))
    keys = {line.split(": ")[1] for line in refusal(path).splitlines()}
    assert keys == {
        "preview.sample",
        "request.model",
        "request.prompts[0].widht",
        "request.prompts[0].fps",
        "tolerance.psnr",
    }


def test_of_very_many_mistakes_the_first_are_listed(tmp_path: Path) -> None:
    said = refusal(write(tmp_path / "case.yaml", "".join(f"k{number}: 1\n" for number in range(10_000)))).splitlines()
    assert len(said) == 51
    assert said[-1] == f"{tmp_path / 'case.yaml'}: and 9952 more mistakes"  # model and preview are missing, too


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({"width": 4096, "height": 4096, "num_frames": 16}, None),
        ({"width": 4096, "height": 4096, "num_frames": 17}, "prompts[0]: 17 frames of 4096x4096 need 3.4 GB"),
        ({"seed": 2**64 - 1}, None),
        ({"seed": 2**64}, "prompts[0].seed: does not fit into the 64 bits"),
    ],
)
def test_numbers_beyond_what_can_be_generated(demo: Path, numbers: dict[str, int], words: str | None) -> None:
    request = demo / "request.json"
    item = {"prompt": "a"} | numbers
    loras = [{"path": str(DEMO / "jobs/t2v_basic/tiny_t2v.safetensors")}]
    write(request, json.dumps({"model": "wan21_14b", "prompts": [item], "loras": loras}))
    path = write(demo / "case.yaml", without(CASE, "request") + f"request: {request}\n")
    if words is None:
        assert load_case(path).inference.prompt == "a"
    else:
        assert refusal(path).startswith(f"{request}:1: {words}")


def test_steps_beyond_what_can_be_generated(demo: Path) -> None:
    edit_job(demo, "t2v_basic", {"sample.sample_steps": MAX_STEPS})
    assert load(demo, in_copy(CASE, demo)).preview.steps == MAX_STEPS
    edit_job(demo, "t2v_basic", {"sample.sample_steps": MAX_STEPS + 1})
    with pytest.raises(CaseError, match=r"config\.yaml:\d+: .*sample_steps: 10001 steps: more than 10000"):
        load(demo, in_copy(CASE, demo))


def test_mistakes_of_all_files_are_listed(tmp_path: Path) -> None:
    good = write(tmp_path / "a.yaml", CASE)
    bad = [write(tmp_path / f"{name}.yaml", f"{name}: 1\n") for name in ("b", "c")]
    with pytest.raises(CaseError) as caught:
        load_cases([bad[0], good, bad[1]])
    assert all(str(path) in str(caught.value) for path in bad)
    assert str(good) not in str(caught.value)


def test_two_cases_with_one_id(tmp_path: Path) -> None:
    first, second = (write(tmp_path / name / "case.yaml", CASE) for name in ("one", "two"))
    with pytest.raises(CaseError, match="id guitar is also that of") as caught:
        load_cases([first, second])
    assert str(first) in str(caught.value)
    assert str(second) in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("sample: 0", "sample: 2", 4, "has 2 samples (0 to 1), not 2"),
        ("wan21_14b", "wan21_i2v_14b", 4, "trains wan21, but the model wan21_i2v_14b takes LoRAs of wan21_i2v"),
        ('toolkit: "0.12.26"', "lora: gone.safetensors", 4, "gone.safetensors"),
    ],
)
def test_preview_that_does_not_fit_its_job(tmp_path: Path, old: str, new: str, line: int, words: str) -> None:
    path = write(tmp_path / "case.yaml", DERIVED.replace(old, new))
    message = refusal(path)
    assert message.startswith(f"{path}:{line}: preview: ")
    assert words in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("config: {name: a, process: [{model: {name_or_path: x/y}}]}", "has no `sample` section"),
        ("config: {name: a, process: []}", "is not an ai-toolkit job config"),
        ("model: wan21_14b", "is not an ai-toolkit job config"),
        ("", "is not an ai-toolkit job config"),
        ("config: [", "not valid YAML"),
    ],
)
def test_bad_job_config_names_that_file(demo: Path, content: str, words: str) -> None:
    config = write(demo / "jobs/t2v_basic/config.yaml", content)
    message = refusal(write(demo / "case.yaml", in_copy(CASE, demo)))
    assert message.startswith(f"{config}:1: ")
    assert words in message


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"PK\x03\x04 a zip"])
def test_unreadable_lora_names_case_and_file(tmp_path: Path, content: bytes) -> None:
    lora = tmp_path / "broken.safetensors"
    lora.write_bytes(content)
    path = write(tmp_path / "case.yaml", CASE.replace(LORA, "path: broken.safetensors"))
    message = refusal(path)
    assert str(path) in message
    assert str(lora) in message


def test_what_nobody_reads_names_case_and_file(tmp_path: Path) -> None:
    save_file({"diffusion_model.blocks.0.ffn.0.hada_w1_a": np.zeros((2, 2), np.float32)}, tmp_path / "k.safetensors")
    path = write(tmp_path / "case.yaml", CASE.replace(LORA, "path: k.safetensors"))
    message = refusal(path)
    assert str(path) in message
    assert "k.safetensors: is a LoHa network" in message


# --- the request


@pytest.mark.parametrize("name", ["gone.json", "", "nul\\0byte"], ids=["missing", "empty", "nul"])
def test_missing_request_file_names_case_line_and_key(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "case.yaml", f'{DERIVED}request: "{name}"\n')
    line = len(DERIVED.splitlines()) + 1
    assert refusal(path).startswith(f"{path}:{line}: request: ")


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ('"width": 96', '"widht": 96', 7, "prompts[0].widht: unknown key; did you mean width?"),
        ('"width": 96', '"width": 8', 7, "prompts[0].width: must be greater than or equal to 64, is 8"),
        ('"model": "wan21_14b"', '"model": "wan21_1b"', 2, "model: is wan21_1b, but the case is about wan21_14b"),
        ("tiny_t2v.saf", "gone.saf", 30, "loras[0].path: LORA_NOT_FOUND"),
        ('"network_multiplier": 1.0', '"transformer": "high"', 28, "loras: MOE_FORMAT_NOT_SUPPORTED"),
        ('"seed": 42', '"seed": ]', 9, "not valid "),
    ],
)
def test_mistake_in_a_request_file(demo: Path, old: str, new: str, line: int, words: str) -> None:
    request = demo / "requests/t2v_basic.json"
    write(request, request.read_text(encoding="utf-8").replace(old, new, 1))
    message = refusal(write(demo / "case.yaml", f"{DERIVED}request: requests/t2v_basic.json\n"))
    assert message.startswith(f"{request}:{line}: ")
    assert words in message


@pytest.mark.parametrize("content", ["", "[]", '"text"'])
def test_request_file_that_is_no_mapping(tmp_path: Path, content: str) -> None:
    request = write(tmp_path / "r.json", content)
    message = refusal(write(tmp_path / "case.yaml", f"{DERIVED}request: r.json\n"))
    assert message.startswith(f"{request}:1: must be a mapping of keys, is ")


def test_request_file_paths_are_relative_to_it(demo: Path) -> None:
    case = load(demo, f"{in_copy(DERIVED, demo)}request: requests/t2v_basic.json\n")
    assert [file.path.resolve() for file in case.inference.lora_files] == [demo / "jobs/t2v_basic/tiny_t2v.safetensors"]


@pytest.mark.parametrize(
    ("sample", "prompt", "seed"),
    [(0, "woman playing the guitar, on stage", 42), (1, "p3r5on a photo of a person", 7)],
)
def test_several_prompts_pair_by_sample_index(demo: Path, sample: int, prompt: str, seed: int) -> None:
    text = DERIVED.replace("sample: 0", f"sample: {sample}")
    case = load(demo, f"{text}request: requests/t2v_basic.json\n")
    assert (case.inference.prompt, case.inference.seed) == (prompt, seed)
    assert (case.preview.prompt, case.preview.seed) == (prompt, seed)


def test_one_prompt_pairs_with_any_sample(tmp_path: Path) -> None:
    case = load(tmp_path, CASE.replace("sample: 0", "sample: 1"))
    assert case.preview.prompt == "p3r5on a photo of a person"
    assert case.inference.prompt == "woman playing the guitar, on stage"
    assert "prompt" in differing_factors(case.preview, case.inference)


@pytest.mark.parametrize("inline", [True, False])
def test_sample_beyond_the_requests_prompts(demo: Path, inline: bool) -> None:
    edit_job(demo, "t2v_basic", {"sample.prompts": ["a", "b", "c"]})
    text = in_copy(CASE, demo).replace("sample: 0", "sample: 2").replace("fps: 15", "fps: 15\n    - prompt: b")
    where = f"{demo}/case.yaml:11: request.prompts"
    if not inline:
        text = f"{without(text, 'request')}request: requests/t2v_basic.json\n"
        where = f"{demo}/requests/t2v_basic.json:4: prompts"
    assert refusal(write(demo / "case.yaml", text)) == f"{where}: has 2 prompts, none for sample 2"


@pytest.mark.parametrize("sample", [0, 1])
@pytest.mark.parametrize("text", [DERIVED, I2V_DERIVED], ids=["t2v", "i2v"])
def test_derived_request_asks_for_the_sample(tmp_path: Path, text: str, sample: int) -> None:
    case = load(tmp_path, f"{text.replace('sample: 0', f'sample: {sample}')}pipeline: faithful\n")
    assert differing_factors(case.preview, case.inference) == []
    assert case.inference.width.asked == case.preview.width.asked


def test_derived_request_keeps_flags_trigger_and_scale(tmp_path: Path) -> None:
    text = DERIVED.replace("t2v_basic", "t2v_mixed_scale").replace(VIDEO, "1795289350007__000000500_1.webp")
    recipe = load(tmp_path, text.replace("sample: 0", "sample: 1")).inference
    assert recipe.prompt == "p3r5on a photo of a person"
    assert (recipe.seed, recipe.lora_scales, recipe.steps, recipe.guidance_scale) == (43, (0.5,), 6, 5.0)


def test_derived_request_asks_sizes_before_snapping(demo: Path) -> None:
    edit_job(demo, "t2v_basic", {"sample.width": 111, "sample.num_frames": 10})
    case = load(demo, in_copy(DERIVED, demo))
    assert (case.inference.width.asked, case.inference.width.applied) == (111, 96)
    assert (case.preview.width.asked, case.preview.width.applied) == (111, 104)
    assert (case.inference.num_frames.asked, case.inference.num_frames.applied) == (10, 9)


@pytest.mark.parametrize(
    ("key", "value"), [("width", 5000), ("guidance_scale", 25), ("sample_steps", 200), ("num_frames", 1001)]
)
def test_sample_the_api_cannot_express(demo: Path, key: str, value: int) -> None:
    edit_job(demo, "t2v_basic", {f"sample.{key}": value})
    path = write(demo / "case.yaml", in_copy(DERIVED, demo))
    message = refusal(path)
    assert message.startswith(f"{path}:4: preview: ")
    assert key in message
    assert str(value) in message
    assert "write a `request:`" in message


def test_request_defaults_are_the_servers(tmp_path: Path) -> None:
    text = re.sub(r"on stage\n(?:      \w+: \d+\n)+", "on stage\n", CASE).replace("      network_multiplier: 1.0\n", "")
    recipe = load(tmp_path, text).inference
    assert (recipe.width.asked, recipe.height.asked, recipe.num_frames.asked, recipe.fps) == (1024, 1024, 41, 16)
    assert (recipe.steps, recipe.guidance_scale, recipe.seed, recipe.lora_scales) == (25, 4.0, 42, (1.0,))


@pytest.mark.parametrize(
    ("line", "replacement", "factor"),
    [
        ("sample_steps: 6", "sample_steps: 7", "steps"),
        ("guidance_scale: 5", "guidance_scale: 4.5", "guidance"),
        ("seed: 42", "seed: 43", "seed"),
        ("seed: 42", "neg: blurry", "negative_prompt"),
        ("on stage", "on a stage", "prompt"),
        ("width: 96", "width: 112", "snapping"),
        ("num_frames: 9", "num_frames: 13", "frame_count"),
        ("fps: 15", "fps: 16", "fps"),
        ("network_multiplier: 1.0", "network_multiplier: 0.9", "lora_scale"),
        ("tiny_t2v.saf", "../t2v_mixed_scale/tiny_t2v_mm.saf", "lora_file"),
    ],
)
def test_request_that_asks_for_something_else(tmp_path: Path, line: str, replacement: str, factor: str) -> None:
    case = load(tmp_path, CASE.replace(line, replacement).replace("pipeline: reference", "pipeline: faithful"))
    assert differing_factors(case.preview, case.inference) == [factor]


def test_token_is_kept_out_of_sight(tmp_path: Path) -> None:
    case = load(tmp_path, CASE.replace("  loras:", "  hf_token: hf_secret\n  loras:"))
    assert case.token == "hf_secret"
    assert "hf_secret" not in repr(case)


# --- which pipeline is under test

REFERENCE_DRIFT = ["scheduler", "lora_application", "precision"]
EULER = "scheduler: {family: flow_match_euler, shift: 3.0}"
CAST = "precision: {dtype: bfloat16, fp32_modules: cast}"


@pytest.mark.parametrize(
    ("pipeline", "factors"),
    [
        ("reference", REFERENCE_DRIFT),
        ("faithful", []),
        ("{}", REFERENCE_DRIFT),
        ("{base: reference}", REFERENCE_DRIFT),
        ("{base: faithful}", []),
        (f"{{base: reference, {EULER}}}", ["lora_application", "precision"]),
        ("{base: reference, lora_application: merged}", ["scheduler", "precision"]),
        (f"{{base: reference, {CAST}}}", ["scheduler", "lora_application"]),
        (f"{{{EULER}, lora_application: merged}}", ["precision"]),
        (f"{{base: reference, {EULER}, lora_application: merged, {CAST}}}", []),
        ("{base: faithful, scheduler: {family: unipc, shift: 3.0}}", ["scheduler"]),
        ("{base: faithful, scheduler: {family: flow_match_euler, shift: 5}}", ["scheduler"]),
        (f"{{base: faithful, {EULER}}}", []),
        ("{base: faithful, scheduler: {family: flow_match_euler, shift: 3, invert_sigmas: false}}", []),
        ("{base: faithful, scheduler: {family: flow_match_euler, shift: 3, use_karras_sigmas: true}}", ["scheduler"]),
        ("{base: faithful, lora_application: side_path}", ["lora_application"]),
        ("{base: faithful, lora_application: adapter}", ["lora_application"]),
        ("{base: faithful, precision: {dtype: bfloat16}}", ["precision"]),
        ("{base: faithful, precision: {dtype: float32}}", ["precision"]),
        ("{base: faithful, resize: {filter: box}}", []),  # text to video resizes nothing
        ("{base: faithful, vae_tiling: true}", []),  # 96x64 is one tile
        ("{base: faithful, frame_rule: low_vram}", []),  # 9 frames are 9 under both rules
    ],
)
def test_override_changes_exactly_its_factors(tmp_path: Path, pipeline: str, factors: list[str]) -> None:
    case = load(tmp_path, f"{DERIVED}pipeline: {pipeline}\n")
    assert differing_factors(case.preview, case.inference) == factors


def test_a_quantized_server_with_an_adapter(tmp_path: Path) -> None:
    adapter = tmp_path / "ara.safetensors"
    adapter.write_bytes((DEMO / "jobs" / "t2v_basic" / "tiny_t2v.safetensors").read_bytes())
    quantization = "quantization: {transformer: uint4, adapter: ara.safetensors}"
    case = load(tmp_path, f"{DERIVED}pipeline: {{base: faithful, {quantization}}}\n")
    assert differing_factors(case.preview, case.inference) == ["quantization"]
    assert case.inference.quantization.adapter == recovery_adapter(adapter)
    adapter.unlink()
    assert "pipeline.quantization.adapter: ara.safetensors does not exist" in refusal(tmp_path / "case.yaml")


@pytest.mark.parametrize(
    ("resize", "factors"),
    [
        ("{filter: bicubic}", ["resize"]),
        ("{crop: center}", ["resize"]),
        ("{filter: lanczos, crop: stretch}", []),
    ],
)
def test_resize_override_of_an_i2v_case(tmp_path: Path, resize: str, factors: list[str]) -> None:
    case = load(tmp_path, f"{I2V_DERIVED}pipeline: {{base: faithful, resize: {resize}}}\n")
    assert differing_factors(case.preview, case.inference) == factors


@pytest.mark.parametrize(
    ("override", "changes", "factor"),
    [
        ("frame_rule: low_vram", {"sample.num_frames": 40}, "frame_count"),
        ("vae_tiling: true", {"sample.width": 512}, "vae_tiling"),
    ],
)
def test_an_override_that_matters_for_other_jobs(
    demo: Path, override: str, changes: dict[str, object], factor: str
) -> None:
    edit_job(demo, "t2v_basic", changes)
    text = in_copy(DERIVED, demo)
    assert differing_factors(*both(load(demo, f"{text}pipeline: faithful\n"))) == []
    assert differing_factors(*both(load(demo, f"{text}pipeline: {{base: faithful, {override}}}\n"))) == [factor]


@pytest.mark.parametrize(
    ("pipeline", "asked", "width"),
    [
        ("faithful", (112, 80), "112x80"),
        ("reference", (112, 80), "96x64"),
        ("{base: faithful, size_rule: reference}", (112, 80), "96x64"),
        ("{base: reference, size_rule: trainer}", (112, 80), "112x80"),
        ("faithful", (125, 87), "112x80"),
    ],
)
def test_faithful_rounds_sizes_as_the_trainer_does(
    demo: Path, pipeline: str, asked: tuple[int, int], width: str
) -> None:
    """Wan 2.2 T2V: the trainer rounds to multiples of 16, the server to multiples of 32."""
    edit_job(demo, "wan22_t2v", {"sample.width": asked[0], "sample.height": asked[1]})
    case = load(demo, f"{in_copy(WAN22_DERIVED, demo)}pipeline: {pipeline}\n")
    sizes = [f"{recipe.width.applied}x{recipe.height.applied}" for recipe in both(case)]
    assert sizes == ["112x80", width]


def both(case: Case) -> tuple[Any, Any]:
    return case.preview, case.inference


def test_override_values_arrive_in_the_recipe(tmp_path: Path) -> None:
    override = (
        "{base: reference, scheduler: {family: flow_match_euler, shift: 7, stochastic_sampling: true}, "
        "lora_application: side_path, precision: {dtype: float16, fp32_modules: cast}, "
        "resize: {filter: nearest, crop: center}, vae_tiling: true}"
    )
    recipe = load(tmp_path, f"{I2V_DERIVED}pipeline: {override}\n").inference
    assert recipe.scheduler == flow_schedule("flow_match_euler", 7.0, stochastic_sampling=True)
    assert recipe.lora_application == "side_path"
    assert recipe.precision == Precision("float16", "cast")
    assert recipe.resize == Resize("nearest", "center")
    assert recipe.vae_tiling is True


def test_case_checkpoint_stands_in_for_a_missing_one(demo: Path) -> None:
    edit_job(demo, "t2v_basic", {"model.name_or_path": "/somewhere/else/wan"})
    case = load(demo, in_copy(DERIVED, demo))
    assert {case.preview.weights.checkpoint, case.inference.weights.checkpoint} == {
        str((DEMO / "models/tiny-wan-t2v").resolve())
    }
    assert any("/somewhere/else/wan" in note for note in case.preview.notes)


def test_moved_lora_and_control_image(demo: Path) -> None:
    job = demo / "jobs/i2v_basic"
    (demo / "moved").mkdir()
    for name in ("tiny_i2v.safetensors", "ctrl.png"):
        (job / name).rename(demo / "moved" / name)
    moved = '  lora: moved/tiny_i2v.safetensors\n  control_image: moved/ctrl.png\n  toolkit: "0.12.26"'
    text = in_copy(I2V_DERIVED, demo).replace('  toolkit: "0.12.26"', moved)
    here, there = load(demo, text).preview, load_case(write(demo / "original.yaml", I2V_DERIVED)).preview
    assert here.lora_files == there.lora_files
    assert here.control_image == there.control_image
    assert here.obstacles == ()


# --- the rest of a case


def test_id_defaults_to_the_file_name(tmp_path: Path) -> None:
    assert load_case(write(tmp_path / "my-case.v2.yaml", without(CASE, "id"))).id == "my-case.v2"


def test_whole_case(tmp_path: Path) -> None:
    case = load(tmp_path, CASE)
    assert (case.id, case.path, case.tags) == ("guitar", tmp_path / "case.yaml", ("t2v",))
    assert case.video == DEMO / "jobs/t2v_basic/samples" / VIDEO
    assert case.expect == ("scheduler", "lora_application", "precision")
    assert case.inference.model == find_model("wan21_14b").id


@pytest.mark.parametrize(
    ("extra", "tolerance", "expect"),
    [
        ("", DEFAULT_TOLERANCE, None),
        ("expect: []\n", DEFAULT_TOLERANCE, ()),
        ("expect: [scheduler]\n", {}, ("scheduler",)),
        ("tolerance: {psnr: 30}\n", {"psnr": 30.0}, None),
        ("tolerance: {lpips_max: 0.2, ssim_min: 0.9}\n", {"lpips_max": 0.2, "ssim_min": 0.9}, None),
        ("tolerance: {psnr: 30}\nexpect: [scheduler]\n", {"psnr": 30.0}, ("scheduler",)),
        ("tolerance: {psnr: 0}\n", {"psnr": 0.0}, None),
    ],
)
def test_gates(tmp_path: Path, extra: str, tolerance: dict[str, float], expect: tuple[str, ...] | None) -> None:
    case = load(tmp_path, DERIVED + extra)
    assert case.tolerance == tolerance
    assert case.expect == expect


@pytest.mark.parametrize(
    ("extra", "asked"),
    [
        ("", {"psnr", "ssim"}),
        ("expect: []\nmetrics: [vmaf]\n", {"psnr", "ssim", "vmaf"}),
        ("tolerance: {lpips_max: 0.2, vmaf_min: 80}\n", {"lpips", "vmaf"}),
    ],
)
def test_metrics_are_asked_for_by_name_or_by_a_limit(tmp_path: Path, extra: str, asked: set[str]) -> None:
    assert load(tmp_path, DERIVED + extra).asked_metrics == asked


def test_default_gate_is_not_shared(tmp_path: Path) -> None:
    load(tmp_path, DERIVED).tolerance["psnr"] = 0.0
    assert load(tmp_path, DERIVED).tolerance == {"psnr": 40.0, "ssim": 0.98}


@pytest.mark.parametrize("factor", get_args(Expected))
def test_every_factor_can_be_expected(tmp_path: Path, factor: str) -> None:
    assert load(tmp_path, f"{DERIVED}expect: [{factor}]\n").expect == (factor,)


def test_every_factor_that_can_be_found_can_be_expected() -> None:
    assert sorted(get_args(Expected)) == sorted(PAGES)


# --- finding cases


def test_demo_cases_are_found_and_read() -> None:
    files = find_case_files([])
    assert files == sorted(DEMO.glob("*.yaml"))
    assert [case.id for case in load_cases(files)] == [path.stem for path in files]


def test_folder_is_searched_below_and_job_configs_skipped(demo: Path) -> None:
    wanted = [
        write(demo / name, CASE) for name in ("a.yaml", "jobs/t2v_basic/b.yaml", "z/config.yaml", "z/deep/c.yaml")
    ]
    write(demo / "notes.yml", "")
    write(demo / "new" / "config.yaml", "---\njob: extension\n")  # of a job that drew nothing yet
    assert sorted(find_case_files([demo])) == sorted(wanted)


def test_file_named_is_taken_whatever_it_is_called(tmp_path: Path) -> None:
    path = write(tmp_path / "case.txt", CASE)
    assert find_case_files([path]) == [path]


def test_file_named_twice_is_one_case(tmp_path: Path) -> None:
    path = write(tmp_path / "case.yaml", CASE)
    assert find_case_files([path, tmp_path, path]) == [path]


def test_files_come_in_the_order_named(tmp_path: Path) -> None:
    first, second = (write(tmp_path / name, CASE) for name in ("b.yaml", "a.yaml"))
    assert find_case_files([first, second]) == [first, second]


@pytest.mark.parametrize("content", [[], ["jobs"]], ids=["empty", "job configs only"])
def test_folder_without_cases(tmp_path: Path, content: list[str]) -> None:
    folder = tmp_path / "none"
    folder.mkdir()
    for name in content:
        shutil.copytree(DEMO / name, folder / name)
    with pytest.raises(CaseError, match=r"no \*\.yaml case below") as caught:
        find_case_files([folder])
    assert str(folder) in str(caught.value)


def test_argument_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="no such case file or folder"):
        find_case_files([tmp_path / "gone.yaml"])


def test_request_file_is_read_like_an_inline_one(demo: Path) -> None:
    request = yaml.safe_load(CASE)["request"]
    write(demo / "r.json", json.dumps(request))
    inline, file = load(demo, CASE), load(demo, f"{without(CASE, 'request')}request: r.json\n")
    assert inline.inference == file.inference


# --- previews that cannot be reproduced


def test_an_unpairable_case_needs_neither_lora_nor_image_nor_prompt(demo: Path) -> None:
    job = demo / "jobs/i2v_basic"
    for name in ("tiny_i2v.safetensors", "ctrl.png"):
        (job / name).unlink()
    text = in_copy(I2V_DERIVED, demo).replace('  toolkit: "0.12.26"', '  unpairable: "lost in a move"')
    assert load(demo, text).preview.obstacles == ("lost in a move",)
    other = load(demo, re.sub(r"sample: \d", "sample: 9", text))
    assert (other.preview.prompt, other.preview.width.asked, other.preview.obstacles) == ("", 100, ("lost in a move",))
    with pytest.raises(CaseError, match=r"ctrl\.png"):
        load(demo, text.replace('  unpairable: "lost in a move"\n', ""))


def test_an_unpairable_case_says_the_configs_obstacles_too(demo: Path) -> None:
    edit_job(demo, "t2v_basic", {"sample.seed": -1, "sample.walk_seed": False})
    case = load(demo, in_copy(CASE, demo).replace('  toolkit: "0.12.26"', '  unpairable: "lost in a move"'))
    assert case.preview.obstacles[0] == "lost in a move"
    assert case.preview.obstacles[1].startswith("seed -1")
    assert case.inference == case.preview


def test_an_unpairable_case_without_a_config(tmp_path: Path) -> None:
    text = re.sub(r"  (config|sample): .*\n", "", CASE).replace('  toolkit: "0.12.26"', "  unpairable: config lost")
    case = load(tmp_path, text)
    assert case.preview.obstacles == ("config lost",)
    assert case.inference.obstacles == ()


def test_unpairable_wants_a_reason(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match=r"preview\.unpairable: "):
        load(tmp_path, CASE.replace('  toolkit: "0.12.26"', '  unpairable: ""'))
