"""What a job config may hold: every key is read, harmless or named, and values are taken as ai-toolkit takes them."""

from __future__ import annotations

import json
import os
import re
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from parity.case.load import load_case
from parity.cli.main import main
from parity.comparison.verdict import findings_from_pixels
from pipelines.aitoolkit.config_keys import MODEL, SAMPLE, SAMPLE_ITEM, SECTIONS, TRAIN, Section, all_keys
from pipelines.aitoolkit.evidence import written_over
from pipelines.aitoolkit.job import Job, read_job
from pipelines.aitoolkit.job_folder import find_previews
from pipelines.aitoolkit.preview import preview_recipe
from pipelines.catalog import models_of_job
from pipelines.errors import CaseError
from pipelines.files.words import did_you_mean
from pipelines.hub import is_hub_id, why_not_found, why_offline, why_unusable
from pipelines.reference.request import MEANT, LoraItem, PromptItem, Request
from tests.support.paths import ROOT
from tests.support.ui_jobs import UI_JOBS, config_of_the_ui

TRAINED = 1_795_289_016_732
"""A time in a preview's name, in milliseconds."""


def config(**changes: dict[str, Any]) -> dict[str, Any]:
    """A job config, with keys of its sections added or replaced; `process` is the section around them."""
    process: dict[str, Any] = {
        "type": "diffusion_trainer",
        "network": {"type": "lora", "linear": 4},
        "train": {"dtype": "bf16"},
        "model": {"name_or_path": "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "arch": "wan21:1b"},
        "sample": {"prompts": ["a boat"], "neg": "", "width": 96, "height": 64, "num_frames": 9},
    }
    for section, keys in changes.items():
        (process if section == "process" else process[section]).update(keys)
    return {"job": "extension", "config": {"name": "mine", "process": [process]}}


def job(folder: Path, **changes: dict[str, Any]) -> Job:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config(**changes)))
    return read_job(path)


# ---- Keys ----


@pytest.mark.parametrize(
    ("section", "key", "value", "words"),
    [
        ("train", "attention_backend", "flash", "train.attention_backend is 'flash': another attention kernel"),
        ("model", "compile", True, "model.compile is True: the transformer ran under torch.compile"),
        ("model", "extras_name_or_path", "me/extras", "model.extras_name_or_path is 'me/extras': the VAE of Wan 2.1"),
        ("process", "adapter", {"type": "i2v"}, "adapter is {'type': 'i2v'}: previews were generated with the adapter"),
        ("sample", "guidence_scale", 3, "sample.guidence_scale is no key of ai-toolkit and is ignored (did you mean g"),
        ("sample", "shift", 8, "sample.shift is no key of ai-toolkit, which has no such setting for previews"),
        ("network", "rank_schedule", {"a": 1}, "network.rank_schedule is no key of ai-toolkit"),
        ("model", "sparse_attention", "on", "model.sparse_attention is no key of ai-toolkit"),
    ],
)
def test_a_key_that_may_reach_the_pixels_is_named(
    tmp_path: Path, section: str, key: str, value: object, words: str
) -> None:
    [note] = job(tmp_path, **{section: {key: value}}).notes
    assert note.startswith(words)


def test_keys_without_an_effect_are_not_named(tmp_path: Path) -> None:
    keys = {"compile": False, "block_compile": True, "vae_path": "elsewhere", "assistant_lora_path": None}
    train = {"attention_backend": "native", "lr": 1e-4, "weight_jitter": 0.1}
    assert job(tmp_path, model=keys, train=train).notes == ()


def test_a_second_process_is_named(tmp_path: Path) -> None:
    data = config()
    data["config"]["process"] *= 2
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(data))
    assert "has 2 processes" in read_job(tmp_path / "config.yaml").notes[0]


@pytest.mark.parametrize("section", [*SECTIONS.values(), SAMPLE_ITEM])
def test_no_key_has_two_readings(section: Section) -> None:
    assert len(set(all_keys(section))) == len(all_keys(section))


@pytest.mark.parametrize(("section", "count"), [(MODEL, 60), (TRAIN, 126), (SAMPLE, 21), (SAMPLE_ITEM, 16)])
def test_every_key_is_in_the_document(section: Section, count: int) -> None:
    """The counts are those of the kwargs that the trainer's classes look up at 27a03a91."""
    text = (ROOT / "docs" / "import.md").read_text()
    for group in section:
        keys = ", ".join(f"`{name}`" for name in group.names())
        assert f"| {keys} | {group.reading} | {group.why} |" in text
    assert len(all_keys(section)) == count


# ---- Values ----


def test_switches_are_read_as_ai_toolkit_reads_them(tmp_path: Path) -> None:
    assert not job(tmp_path, model={"low_vram": None, "quantize": None, "quantize_te": 0}).low_vram
    assert job(tmp_path, model={"low_vram": 1}).low_vram
    surprising = job(tmp_path, model={"low_vram": "false"})
    assert surprising.low_vram
    assert "takes any text as true" in surprising.notes[0]
    assert job(tmp_path, network={"type": "LoRA"}).network_type == "lora"
    assert job(tmp_path, process={"network": None}).network_type is None
    assert [sample.seed for sample in job(tmp_path, sample={"seed": "42"}).samples] == [42]
    with pytest.raises(CaseError, match="width"):
        job(tmp_path, sample={"width": "96"})


@pytest.mark.parametrize(("keys", "application"), [({}, "merged"), ({"auto_memory": True}, "side_path")])
def test_auto_memory_is_the_older_name_of_layer_offloading(
    tmp_path: Path, keys: dict[str, Any], application: str
) -> None:
    read = job(tmp_path, model=keys)
    [model] = models_of_job(read.arch, read.variant, read.checkpoint)
    assert preview_recipe(read, 0, model=model).lora_application == application
    assert not job(tmp_path, model={"auto_memory": True, "layer_offloading": False}).layer_offloading


def test_json_with_tabs_is_read_under_any_name(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(json.dumps(config(), indent="\t"))
    assert read_job(tmp_path / "config.yaml").name == "mine"


def test_a_prompt_that_a_stray_flag_cut_is_noted(tmp_path: Path) -> None:
    read = job(tmp_path, sample={"prompts": ["a boat -- at dawn --seed 7", "a boat --n fog --p2 x"]})
    assert [sample.lost for sample in read.samples] == ["-- at dawn --seed 7", None]
    [model] = models_of_job(read.arch, read.variant, read.checkpoint)
    assert any("stray `--`" in note for note in preview_recipe(read, 0, model=model).notes)


# ---- The trainer's own UI ----


@pytest.mark.parametrize("arch", UI_JOBS)
def test_the_uis_default_jobs_have_no_unknown_key(tmp_path: Path, arch: str) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "start.png")
    whole = config_of_the_ui(arch, tmp_path / "start.png")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(whole))
    read = read_job(tmp_path / "config.yaml")
    assert read.notes == ()
    assert read.save_dtype == "bf16"
    for model in models_of_job(read.arch, read.variant, read.checkpoint)[:1]:
        assert not [note for note in preview_recipe(read, 0, model=model).notes if "no key of ai-toolkit" in note]


# ---- Where weights are ----


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("models/wan", "is a path, and no folder"),
        ("./wan", "is a path, and no folder"),
        ("~/models/wan", "is a path, and no folder"),
        ("C:/models/wan", "on a Windows machine"),
        ("models\\wan", "on a Windows machine"),
        ("Wan-AI/wan2.1.safetensors", "is a single file"),
        ("Wan2.1-T2V-1.3B-Diffusers", "is neither a folder on this machine nor a Hub id"),
    ],
)
def test_a_path_is_not_taken_for_a_hub_id(given: str, words: str) -> None:
    assert not is_hub_id(given)
    assert words in why_not_found(given)


def test_what_a_run_would_refuse_is_known_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no model_index.json" in (why_unusable(str(tmp_path)) or "")
    assert "single files for ComfyUI" in (why_unusable("somebody/Wan_ComfyUI_repackaged") or "")
    assert (why_unusable("somebody/wan-diffusers"), why_offline("somebody/wan-diffusers")) == (None, None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE is set" in (why_offline("somebody/wan-diffusers") or "")
    assert why_offline(str(tmp_path)) is None
    (tmp_path / "transformer").mkdir()
    assert why_unusable(str(tmp_path)) is None


def test_a_repository_without_a_config_gets_a_case_to_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preview(tmp_path, 0, 500, 0)
    (tmp_path / "lora.safetensors").touch()
    assert main(["import", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"parity diagnose {tmp_path}/case.yaml --search" in said
    case = yaml.safe_load(said[said.index("  model: MODEL_ID") :])
    assert case["request"]["loras"] == [{"path": "lora.safetensors"}]
    assert (tmp_path / case["preview"]["video"]).is_file()


# ---- Files that were written over ----


def preview(folder: Path, minute: int, step: int, index: int, *, kept: bool = True) -> None:
    """An empty file with a preview's name; `kept`: with the time of its name, as the trainer left it."""
    (folder / "samples").mkdir(exist_ok=True)
    ms = TRAINED + minute * 60_000
    path = folder / "samples" / f"{ms}__{step:09d}_{index}.webp"
    path.touch()
    if kept:
        os.utime(path, (ms / 1000, ms / 1000))


@pytest.mark.parametrize("kept", [True, False])
def test_a_config_younger_than_previews_is_evidence_unless_all_was_copied(tmp_path: Path, kept: bool) -> None:
    read = job(tmp_path)
    preview(tmp_path, 0, 250, 0, kept=kept)
    preview(tmp_path, 60, 500, 0, kept=kept)
    previews, _ = find_previews(tmp_path)
    at = datetime.fromtimestamp(TRAINED / 1000).timestamp() + 1800
    os.utime(tmp_path / "config.yaml", (at, at))
    doubts = written_over(read, previews)
    assert [("after 1 of 2" in doubt) for doubt in doubts] == ([True] if kept else [])
    os.utime(tmp_path / "config.yaml", (TRAINED / 1000 - 60, TRAINED / 1000 - 60))
    assert written_over(read, previews) == ()


def test_steps_that_go_back_and_other_prompts_are_evidence(tmp_path: Path) -> None:
    read = job(tmp_path)
    for minute, step, index in ((0, 500, 0), (1, 250, 0), (2, 500, 0), (2, 500, 1)):
        preview(tmp_path, minute, step, index, kept=False)
    doubts = written_over(read, find_previews(tmp_path)[0])
    assert "steps go back from 500 to 250" in doubts[0]
    assert "lists 1 prompts" in doubts[1]


# ---- Words ----


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("negative_prompt", "neg"),
        ("num_inference_steps", "sample_steps"),
        ("image", "ctrl_img"),
        ("cfg", "guidance_sc"),
    ],
)
def test_suggestions_are_by_meaning(word: str, meant: str) -> None:
    assert did_you_mean(word, list(PromptItem.model_fields), MEANT).startswith(f"; did you mean {meant}")


@pytest.mark.parametrize(
    ("where", "key", "words"),
    [
        ("prompts", "negative_prompt", "unknown key; did you mean neg?"),
        ("request", "strength", "unknown key; did you mean network_multiplier in request.loras?"),
        ("case", "num_inference_steps", "unknown key; did you mean sample_steps in request.prompts?"),
        ("case", "width", "unknown key; did you mean width in request.prompts?"),
    ],
)
def test_a_case_is_answered_by_meaning_and_place(tmp_path: Path, where: str, key: str, words: str) -> None:
    case: dict[str, Any] = {"model": "wan21_14b", "preview": {"video": "a.webp"}}
    case["request"] = {"model": "wan21_14b", "loras": [{"path": "a"}], "prompts": [{"prompt": "a boat"}]}
    {"case": case, "request": case["request"], "prompts": case["request"]["prompts"][0]}[where][key] = 1
    (tmp_path / "case.yaml").write_text(yaml.safe_dump(case))
    with pytest.raises(CaseError, match=re.escape(words)):
        load_case(tmp_path / "case.yaml")


def test_every_meaning_is_a_key_of_the_request() -> None:
    keys = {key for schema in (Request, PromptItem, LoraItem) for key in schema.model_fields}
    assert set(MEANT.values()) <= keys


# ---- A broken preview ----


@pytest.mark.parametrize(("broken", "value"), [("preview", "black in every frame"), ("both", None), ("output", None)])
def test_a_black_preview_is_a_finding(broken: str, value: str | None) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (3, 16, 16, 3), dtype=np.uint8)
    black = np.zeros_like(noise)
    video = SimpleNamespace(frames=3, width=16, height=16)
    comparison: Any = SimpleNamespace(
        preview=video,
        output=video,
        encoded_again=None,
        bit_identical=False,
        preview_frames=noise if broken == "output" else black,
        output_frames=noise if broken == "preview" else black,
    )
    found = {finding.factor: finding.preview for finding in findings_from_pixels(comparison, ())}
    assert found.get("broken_output") == (value or ("a video" if broken == "output" else None))
