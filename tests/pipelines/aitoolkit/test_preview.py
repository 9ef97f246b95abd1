"""The preview recipe: every rule of the trainer that decides pixels."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from parity.case.load import DEMO
from pipelines.aitoolkit.job import read_job
from pipelines.aitoolkit.job_folder import VideoName, parse_video_name
from pipelines.aitoolkit.preview import preview_recipe
from pipelines.aitoolkit.rules import scheduler_of
from pipelines.aitoolkit.versions import Origin
from pipelines.catalog import find_model
from pipelines.errors import CaseError, WeightsError
from pipelines.graph import floor_size, frame_rule, low_vram_frame_rule
from pipelines.quantization import Quantization
from pipelines.recipe import Codec, Precision, Recipe
from pipelines.scheduler import flow_schedule

EULER, UNIPC = flow_schedule("flow_match_euler", 3.0), flow_schedule("unipc", 3.0)
STEP_500 = parse_video_name("1795289016732__000000500_0.webp")


@pytest.fixture
def job_folder(tmp_path: Path) -> Path:
    """A copy of a demo job whose config can be changed."""
    folder = tmp_path / "job"
    shutil.copytree(DEMO / "jobs" / "t2v_basic", folder)
    return folder


def recipe_of(folder: Path, index: int = 0, *, i2v: bool = False, **changes: dict[str, Any]) -> Recipe:
    """The recipe after changing sections of config.process[0]."""
    path = folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    process = config["config"]["process"][0]
    process["model"]["name_or_path"] = str(DEMO / "models" / ("tiny-wan-i2v" if i2v else "tiny-wan-t2v"))
    for section, keys in changes.items():
        process[section] = process.get(section, {}) | keys
    path.write_text(json.dumps(config))
    model = find_model("wan21_i2v_14b" if i2v else "wan21_14b")
    return preview_recipe(read_job(path), index, model=model, toolkit="0.12.26", video=STEP_500)


@pytest.mark.parametrize(("asked", "drawn"), [(40, 41), (42, 41), (10, 9), (12, 13), (41, 41), (1, 1), (3, 1), (2, 1)])
def test_frame_rule(asked: int, drawn: int) -> None:
    assert frame_rule(asked) == drawn


@pytest.mark.parametrize(("asked", "drawn"), [(40, 37), (12, 9), (41, 41), (1, 1), (5, 5), (4, 1)])
def test_low_vram_frame_rule(asked: int, drawn: int) -> None:
    assert low_vram_frame_rule(asked) == drawn


@pytest.mark.parametrize(("asked", "t2v", "i2v"), [(100, 96, 96), (72, 72, 64), (63, 64, 64), (1000, 1000, 992)])
def test_size_rule(asked: int, t2v: int, i2v: int) -> None:
    assert (floor_size(asked, 8), floor_size(asked, 16)) == (t2v, i2v)


@pytest.mark.parametrize(
    ("toolkit", "drawn", "expected", "assumed"),
    [
        ("0.12.26", None, EULER, False),
        ("0.9.4", None, EULER, False),
        ("0.9.2", None, UNIPC, False),
        ("0.7.21", None, UNIPC, False),
        ("v0.10.0", None, EULER, False),
        ("0.9.3", None, EULER, True),
        ("0.9.3", datetime(2026, 4, 1, tzinfo=UTC), UNIPC, False),
        ("0.9.3", datetime(2026, 4, 17, tzinfo=UTC), EULER, True),
        ("ab1ee4df", None, EULER, False),
        ("27a03a91f23eb1b757d5ec2e80ee3e129cfcc350", None, EULER, False),
        ("deadbeef", None, EULER, True),
        (None, None, EULER, True),
        (None, datetime(2026, 1, 1, tzinfo=UTC), UNIPC, True),
        (None, datetime(2026, 11, 21, tzinfo=UTC), EULER, True),
    ],
)
def test_scheduler_by_version(toolkit: str | None, drawn: datetime | None, expected: object, assumed: bool) -> None:
    origin = Origin(toolkit, drawn)
    assert scheduler_of(origin) == expected
    assert bool(origin.notes(["euler"])) == assumed


@pytest.mark.parametrize(
    ("name", "step", "index"),
    [("1795289016732__000000500_0.webp", 500, 0), ("1795289016732__000012000_11.webp", 12000, 11),
     ("1795289016732__2.webp", None, 2)],
)  # fmt: skip
def test_video_name(name: str, step: int | None, index: int) -> None:
    found = parse_video_name(name)
    assert found is not None
    assert (found.step, found.index, found.generated_at.year) == (step, index, 2026)


def test_renamed_video_has_no_name_to_read() -> None:
    assert parse_video_name("preview.webp") is None


def test_merged_when_all_scales_are_one(job_folder: Path) -> None:
    assert recipe_of(job_folder).lora_application == "merged"


@pytest.mark.parametrize(
    "changes",
    [
        {"sample": {"prompts": ["a", "b --m 0.5"]}},
        {"model": {"quantize": True}},
        {"model": {"layer_offloading": True}},
    ],
    ids=str,
)
def test_side_path_when_it_cannot_merge(job_folder: Path, changes: dict[str, Any]) -> None:
    assert recipe_of(job_folder, **changes).lora_application == "side_path"


def test_one_scale_other_than_one_is_merged_at_that_scale(job_folder: Path) -> None:
    recipe = recipe_of(job_folder, sample={"prompts": ["a --m 0.5", "b"], "network_multiplier": 0.5})
    assert (recipe.lora_application, recipe.lora_scales) == ("merged", (0.5,))


@pytest.mark.parametrize(("dtype", "expected"), [("bf16", "bfloat16"), ("fp16", "float16"), ("float32", "float32")])
def test_everything_is_cast_to_the_training_dtype(job_folder: Path, dtype: str, expected: Any) -> None:
    assert recipe_of(job_folder, train={"dtype": dtype}).precision == Precision(expected, "cast")


def test_training_dtype_defaults_to_float32(job_folder: Path) -> None:
    config = yaml.safe_load((job_folder / "config.yaml").read_text())
    del config["config"]["process"][0]["train"]
    (job_folder / "config.yaml").write_text(json.dumps(config))
    assert recipe_of(job_folder).precision == Precision("float32", "cast")


def test_low_vram_t2v_has_its_own_frames_and_tiles(job_folder: Path) -> None:
    recipe = recipe_of(job_folder, model={"low_vram": True}, sample={"num_frames": 40})
    assert (recipe.num_frames.asked, recipe.num_frames.applied, recipe.vae_tiling) == (40, 37, True)


def test_vae_tiling_by_model_kwargs(job_folder: Path) -> None:
    assert recipe_of(job_folder, model={"model_kwargs": {"vae_tiling": True}}).vae_tiling


def test_quantized_model_is_reported(job_folder: Path) -> None:
    recipe = recipe_of(job_folder, model={"quantize": True, "qtype": "uint4", "quantize_te": False})
    assert recipe.quantization == Quantization("uint4", None)


@pytest.mark.parametrize(
    ("changes", "codec"),
    [
        ({}, Codec("webp", 80)),
        ({"num_frames": 1}, Codec("jpeg", 75)),
        ({"num_frames": 1, "format": "png"}, Codec("png", None)),
        ({"num_frames": 1, "format": "webp"}, Codec("webp", 80)),
    ],
)
def test_codec(job_folder: Path, changes: dict[str, Any], codec: Codec) -> None:
    assert recipe_of(job_folder, sample=changes).codec == codec


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sample": {"seed": -1, "walk_seed": False}}, "seed -1"),
        ({"network": {"type": "dora"}}, "network.type dora"),
        ({"sample": {"neg": None}}, "negative prompt"),
        ({"sample": {"width": 104}}, "104x64 is not a multiple of 16"),
        ({"sample": {"fps": 0}}, "fps 0"),
        ({"sample": {"sample_steps": 0}}, "sample_steps 0"),
    ],
    ids=str,
)
def test_what_cannot_be_reproduced_is_reported(job_folder: Path, changes: dict[str, Any], said: str) -> None:
    assert [reason for reason in recipe_of(job_folder, **changes).obstacles if said in reason]


def test_low_vram_i2v_cannot_be_reproduced(tmp_path: Path) -> None:
    shutil.copytree(DEMO / "jobs" / "i2v_basic", tmp_path / "i2v")
    recipe = recipe_of(tmp_path / "i2v", i2v=True, model={"low_vram": True})
    assert "low_vram I2V" in recipe.obstacles[0]


def test_step_file_is_taken_before_the_final_one(job_folder: Path) -> None:
    other = job_folder / "tiny_t2v_000000500.safetensors"
    shutil.copy(DEMO / "jobs" / "t2v_mixed_scale" / "tiny_t2v_mm.safetensors", other)
    assert recipe_of(job_folder).lora_files[0].path == other


def test_pruned_lora_is_an_obstacle(job_folder: Path) -> None:
    (job_folder / "tiny_t2v.safetensors").unlink()
    recipe = recipe_of(job_folder)
    assert recipe.lora_files == ()
    assert "tiny_t2v_000000500.safetensors" in recipe.obstacles[0]


def test_final_lora_of_another_step_is_not_taken(job_folder: Path) -> None:
    from safetensors.numpy import load_file, save_file

    path = job_folder / "tiny_t2v.safetensors"
    save_file(load_file(path), path, metadata={"training_info": json.dumps({"step": 2000})})
    recipe = recipe_of(job_folder)
    assert "of step 500 was pruned" in recipe.obstacles[0]
    save_file(load_file(path), path, metadata={"training_info": json.dumps({"step": 500})})
    assert recipe_of(job_folder).obstacles == ()


def test_step_0_has_no_lora_to_speak_of(job_folder: Path) -> None:
    job = read_job(job_folder / "config.yaml")
    video = VideoName(generated_at=datetime.now(UTC), step=0, index=0)
    recipe = preview_recipe(job, 0, model=find_model("wan21_14b"), video=video, checkpoint=str(DEMO))
    assert (recipe.lora_files, recipe.obstacles) == ((), ())


def test_unreadable_lora_is_an_error(job_folder: Path) -> None:
    (job_folder / "tiny_t2v.safetensors").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(WeightsError, match="pickle"):
        recipe_of(job_folder)


def test_missing_index_and_other_arch(job_folder: Path) -> None:
    with pytest.raises(CaseError, match="2 samples"):
        recipe_of(job_folder, index=2)
    with pytest.raises(CaseError, match="trains wan21, but the model wan21_i2v_14b"):
        recipe_of(job_folder, i2v=True)


def test_checkpoint_that_is_not_here(job_folder: Path) -> None:
    config = yaml.safe_load((job_folder / "config.yaml").read_text())
    config["config"]["process"][0]["model"]["name_or_path"] = "/data/wan"
    (job_folder / "config.yaml").write_text(json.dumps(config))
    job = read_job(job_folder / "config.yaml")
    with pytest.raises(CaseError, match=r"name_or_path.*checkpoint:"):
        preview_recipe(job, 0, model=find_model("wan21_14b"))
    recipe = preview_recipe(job, 0, model=find_model("wan21_14b"), checkpoint=str(DEMO))
    assert recipe.weights.checkpoint == str(DEMO)
    assert any("/data/wan" in note for note in recipe.notes)


def test_hub_checkpoints_take_the_trainers_text_encoder(job_folder: Path) -> None:
    config = yaml.safe_load((job_folder / "config.yaml").read_text())
    config["config"]["process"][0]["model"]["name_or_path"] = "Wan-AI/Wan2.1-T2V-14B-Diffusers"
    (job_folder / "config.yaml").write_text(json.dumps(config))
    recipe = preview_recipe(read_job(job_folder / "config.yaml"), 0, model=find_model("wan21_14b"))
    assert recipe.weights.checkpoint == "Wan-AI/Wan2.1-T2V-14B-Diffusers"
    assert recipe.weights.text_encoder == "ai-toolkit/umt5_xxl_encoder"


def test_video_of_another_prompt_is_noted(job_folder: Path) -> None:
    assert any("name says prompt 0" in note for note in recipe_of(job_folder, index=1).notes)


def test_control_image_is_sought_beside_the_config(tmp_path: Path) -> None:
    folder = tmp_path / "i2v"
    shutil.copytree(DEMO / "jobs" / "i2v_basic", folder)
    recipe = recipe_of(folder, i2v=True)
    assert recipe.control_image is not None
    assert (recipe.control_image.width, recipe.control_image.height) == (512, 400)
    (folder / "ctrl.png").rename(tmp_path / "moved.png")
    with pytest.raises(CaseError, match=r"config\.yaml:\d+: .*ctrl\.png.*preview\.control_image"):
        recipe_of(folder, i2v=True)
    job = read_job(folder / "config.yaml")
    moved = preview_recipe(job, 0, model=find_model("wan21_i2v_14b"), control_image=tmp_path / "moved.png")
    assert moved.control_image == recipe.control_image
