"""What a job config may hold: every key is read, harmless or named, and values are taken as ai-toolkit takes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from pipelines.aitoolkit.config_keys import MODEL, SAMPLE, SAMPLE_ITEM, SECTIONS, TRAIN, Section, all_keys
from pipelines.aitoolkit.job import read_job
from pipelines.aitoolkit.preview import preview_recipe
from pipelines.catalog import models_of_job
from pipelines.errors import CaseError
from tests.support.job_files import config, job
from tests.support.paths import ROOT
from tests.support.ui_jobs import UI_JOBS, config_of_the_ui

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
