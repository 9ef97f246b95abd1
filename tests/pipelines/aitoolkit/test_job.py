"""Reading ai-toolkit job configs, against ai-toolkit's own reading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from parity.case.load import DEMO
from pipelines.aitoolkit.job import Job, read_job, split_flags
from pipelines.errors import CaseError
from pipelines.graph import floor_size
from pipelines.quantization import Quantization
from tests.support.paths import DATA

PARSER: list[dict[str, Any]] = json.loads((DATA / "parser.json").read_text())


def job_of(folder: Path, process: dict[str, Any], name: str = "job") -> Job:
    path = folder / "config.yaml"
    path.write_text(json.dumps({"job": "extension", "config": {"name": name, "process": [process]}}))
    return read_job(path)


def minimal(**process: Any) -> dict[str, Any]:
    base = {"model": {"name_or_path": "x"}, "network": {"type": "lora"}, "sample": {"prompts": ["a"], "neg": ""}}
    return base | process


@pytest.mark.parametrize("entry", PARSER, ids=lambda entry: entry["note"][:60])
def test_samples_are_read_as_ai_toolkit_reads_them(tmp_path: Path, entry: dict[str, Any]) -> None:
    """Recorded from the real get_config, SampleConfig, sample() and GenerateImageConfig."""
    process = minimal(sample=entry["sample"])
    if entry["trigger_word"] is not None:
        process["trigger_word"] = entry["trigger_word"]
    if "expect_error" in entry:
        with pytest.raises(CaseError):
            job_of(tmp_path, process, entry["name"])
        return
    samples = job_of(tmp_path, process, entry["name"]).samples
    read = [
        {
            "prompt": sample.prompt,
            "negative_prompt": sample.neg,
            "width": floor_size(sample.width, 8),
            "height": floor_size(sample.height, 8),
            "seed": sample.seed,
            "guidance_scale": sample.guidance_scale,
            "num_inference_steps": sample.sample_steps,
            "num_frames": sample.num_frames,
            "fps": sample.fps,
            "network_multiplier": sample.network_multiplier,
            "ctrl_img": sample.ctrl_img,
        }
        for sample in samples
    ]
    expected = [dict(item) for item in entry["expect"]]
    for item in expected:
        if not isinstance(item["negative_prompt"], str):
            item["negative_prompt"] = None  # False: none given, on which Wan crashes later
    assert read == expected


def test_the_name_tag_is_the_jobs_name_even_with_a_trigger_word(tmp_path: Path) -> None:
    """ai-toolkit fills [name] when it loads the config, before the trigger word is looked at."""
    process = minimal(trigger_word="sks", sample={"prompts": ["[trigger] and [name]"], "neg": ""})
    assert job_of(tmp_path, process, "my_lora").samples[0].prompt == "sks and my_lora"


def test_a_stray_double_dash_cuts_the_prompt() -> None:
    assert split_flags("a man -- walking --seed 3 --w 64") == ("a man", {"seed": 3, "width": 64})


def test_defaults_and_dtypes(tmp_path: Path) -> None:
    job = job_of(tmp_path, minimal())
    assert (job.dtype, job.quantization, job.low_vram, job.arch) == ("float32", Quantization(), False, None)
    sample = job.samples[0]
    assert (sample.width, sample.sample_steps, sample.guidance_scale, sample.num_frames) == (512, 20, 7.0, 1)
    assert job_of(tmp_path, minimal(train={"dtype": "bf16"})).dtype == "bfloat16"


def test_arch_tags_are_dropped(tmp_path: Path) -> None:
    assert job_of(tmp_path, minimal(model={"name_or_path": "x", "arch": "wan21:14b"})).arch == "wan21"


def test_quantize_quantizes_the_text_encoder_too(tmp_path: Path) -> None:
    quantized = {"name_or_path": "x", "quantize": True}
    assert job_of(tmp_path, minimal(model=quantized)).quantization == Quantization("qfloat8", "qfloat8")
    only = job_of(tmp_path, minimal(model=quantized | {"quantize_te": False, "qtype": "uint4|some/ara"}))
    assert (only.quantization, only.recovery_adapter) == (Quantization("uint4"), "some/ara")


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"quantize": True, "qtype": "uint4", "qtype_te": "qfloat8"}, Quantization("uint4", "uint4")),
        ({"quantize_te": True}, Quantization(None, "qfloat8")),
        ({"quantize": True, "layer_offloading": True}, Quantization("float8", "float8")),
        ({"quantize": True, "auto_memory": True}, Quantization("float8", "float8")),
        ({"quantize": True, "auto_memory": True, "layer_offloading": False}, Quantization("qfloat8", "qfloat8")),
        ({"quantize": True, "layer_offloading": True, "qtype": "qint8"}, Quantization("qint8", "qint8")),
    ],
)
def test_qtype_counts_for_both_parts(tmp_path: Path, model: dict[str, Any], expected: Quantization) -> None:
    assert job_of(tmp_path, minimal(model={"name_or_path": "x"} | model)).quantization == expected


@pytest.mark.parametrize(
    ("process", "said"),
    [
        ({"sample": None}, "sample"),
        ({"model": {}}, "name_or_path"),
        ({"train": {"dtype": "int3"}}, "train.dtype"),
        ({"sample": {"prompts": ["a"], "width": "wide"}}, "sample.width: must be int"),
        ({"sample": {"prompts": [1]}}, r"prompts\[0\]"),
        ({"model": {"name_or_path": "${MODEL}"}}, "environment variable"),
    ],
)
def test_bad_configs_are_named(tmp_path: Path, process: dict[str, Any], said: str) -> None:
    with pytest.raises(CaseError, match=said) as caught:
        job_of(tmp_path, minimal(**process))
    assert "config.yaml" in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text", ["a: 1", "config: {name: x}", "config: {name: 3, process: [{}]}", "[]", "config: []"])
def test_what_is_no_job_config(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(CaseError, match=r"config\.yaml"):
        read_job(tmp_path / "config.yaml")


def test_the_demo_jobs() -> None:
    job = read_job(DEMO / "jobs" / "t2v_basic" / "config.yaml")
    assert [sample.seed for sample in job.samples] == [42, 7]
    assert job.samples[1].neg == "blue field"
