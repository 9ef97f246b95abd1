"""Jobs of older and of newer versions: the rules of their time, by the version in the LoRA and the preview's name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from parity.case.load import DEMO, load_case
from parity.importing.folder import ImportOptions, read_job_folder
from pipelines.aitoolkit.job import read_job
from pipelines.aitoolkit.job_folder import parse_video_name, toolkit_version
from pipelines.aitoolkit.preview import preview_recipe
from pipelines.catalog import find_model
from pipelines.drift import differing_factors
from pipelines.recipe import Recipe

MODELS = {
    "t2v_basic": "wan21_1b",
    "i2v_basic": "wan21_i2v_14b",
    "wan22_t2v": "wan22_14b_t2v",
    "wan22_i2v": "wan22_14b_i2v",
}
JULY_10_EVENING, JULY_9 = 1783713600000, 1783600000000


def recipe_of(
    folder: Path,
    job: str,
    toolkit: str | None,
    ms: int,
    *,
    size: int = 320,
    frames: int = 12,
    low_vram: bool = True,
    model: dict[str, object] | None = None,
) -> Recipe:
    """The recipe of a preview of a demo job whose config has another size and number of frames."""
    shutil.copytree(DEMO / "jobs" / job, folder / job)
    config = folder / job / "config.yaml"
    document = yaml.safe_load(config.read_text().replace("../../models", str(DEMO / "models")))
    process = document["config"]["process"][0]
    process["sample"] |= {"width": size, "height": size, "num_frames": frames}
    process["model"] |= {"low_vram": low_vram} | (model or {})
    config.write_text(json.dumps(document))
    video = parse_video_name(f"{ms}__000000500_0.webp")
    return preview_recipe(read_job(config), 0, model=find_model(MODELS[job]), toolkit=toolkit, video=video)


@pytest.mark.parametrize(
    ("toolkit", "ms", "tiled", "open_question"),
    [
        ("0.9.5", 1776700000000, False, False),
        ("v0.10.21", 1783000000000, False, False),
        ("0.7.2", 1760000000000, False, False),
        ("0.10.22", JULY_9, False, False),
        ("0.10.22", JULY_10_EVENING, True, True),
        ("0.10.22.3", JULY_10_EVENING, True, True),
        ("0.10.23", 1784000000000, True, False),
        ("e7951ad2", JULY_10_EVENING, False, False),  # between the VAE's new norm and tiling
        ("886c2aec", JULY_10_EVENING, True, False),
        (None, JULY_9, False, False),
    ],
)
def test_tiles_under_low_vram(tmp_path: Path, toolkit: str | None, ms: int, tiled: bool, open_question: bool) -> None:
    recipe = recipe_of(tmp_path, "t2v_basic", toolkit, ms)
    assert recipe.tiles == tiled
    assert any("886c2aec" in note for note in recipe.notes) == open_question


@pytest.mark.parametrize("job", ["i2v_basic", "wan22_i2v"])
def test_i2v_never_tiles(tmp_path: Path, job: str) -> None:
    assert not recipe_of(tmp_path, job, "0.12.26", 1795289016732).vae_tiling


@pytest.mark.parametrize(
    ("toolkit", "ms", "frames"),
    [
        ("0.5.1", 1755500000000, 9),
        ("0.5.5", 1756000000000, 9),  # by its time before the change
        ("0.5.5", 1756200000000, 13),
        ("0.5.6", 1757000000000, 13),
        ("119653c3", 1757000000000, 13),
        ("ea01a1c7d0e2", 1757000000000, 9),
        (None, 1755500000000, 9),
    ],
)
def test_frames_of_wan22_t2v(tmp_path: Path, toolkit: str | None, ms: int, frames: int) -> None:
    recipe = recipe_of(tmp_path, "wan22_t2v", toolkit, ms, size=96)
    assert recipe.num_frames.applied == frames
    assert recipe.scheduler.family == "unipc"
    assert recipe.vae_norm == "vae_dtype"


@pytest.mark.parametrize(("toolkit", "said"), [("0.14.2", True), ("v0.12.27", True), ("0.12.26", False)])
def test_a_newer_version_is_said(tmp_path: Path, toolkit: str, said: bool) -> None:
    notes = recipe_of(tmp_path, "t2v_basic", toolkit, 1795289016732).notes
    assert any("newer than 0.12.26" in note for note in notes) == said


def test_the_version_in_the_lora_decides_both_sides_of_a_faithful_case(tmp_path: Path) -> None:
    """Import reads it off the file, the case carries it, and the faithful graph has the old frame rule as well."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "old22"
    shutil.copytree(DEMO / "jobs" / "wan22_t2v", folder)
    config = folder / "config.yaml"
    text = config.read_text().replace("../../models", str(DEMO / "models"))
    config.write_text(text.replace("num_frames: 9", "num_frames: 12"))
    for file in folder.glob("*.safetensors"):
        save_file(load_file(file), file, {"software": json.dumps({"name": "ai-toolkit", "version": "0.5.1"})})
    assert {toolkit_version(file) for file in folder.glob("*.safetensors")} == {"0.5.1"}
    for old in (folder / "samples").iterdir():
        index = old.stem[-1]
        old.rename(folder / "samples" / f"175550000000{index}__000000500_{index}.webp")
    found = read_job_folder(folder, ImportOptions())
    assert {pairing.toolkit for pairing in found.pairings} == {"0.5.1"}
    case_file = tmp_path / "case.yaml"
    preview = {"config": "old22/config.yaml", "sample": 0, "toolkit": "0.5.1",
               "video": "old22/samples/1755500000000__000000500_0.webp"}  # fmt: skip
    case_file.write_text(json.dumps({"model": "wan22_14b_t2v", "preview": preview, "pipeline": "faithful"}))
    case = load_case(case_file)
    assert (case.preview.num_frames.applied, case.inference.num_frames.applied) == (9, 9)
    assert differing_factors(case.preview, case.inference) == []


MARCH_15_2025, MARCH_25_2025 = 1742000000000, 1742900000000


@pytest.mark.parametrize(
    ("toolkit", "ms", "qtype"),
    [
        (None, MARCH_15_2025, "qfloat8"),
        ("3a6b24f4", MARCH_25_2025, "qfloat8"),
        ("f5aa4232", MARCH_25_2025, "uint4"),
        ("0.12.26", 1787400000000, "uint4"),
        ("0.1.0", MARCH_25_2025, "uint4"),
    ],
)
def test_the_qtype_counts_since_march_2025(tmp_path: Path, toolkit: str | None, ms: int, qtype: str) -> None:
    """Before f5aa4232 model and text encoder became qfloat8, whatever else the config named."""
    keys: dict[str, object] = {"quantize": True, "qtype": "uint4"}
    recipe = recipe_of(tmp_path, "t2v_basic", toolkit, ms, low_vram=False, model=keys)
    assert (recipe.quantization.transformer, recipe.quantization.text_encoder) == (qtype, qtype)
    assert not any("f5aa4232" in note for note in recipe.notes)  # nothing is left open


def test_metadata_of_a_stranger_name_no_version(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(DEMO / "jobs" / "t2v_basic" / "tiny_t2v.safetensors")
    for text in ("[" * 100_000, "{", '{"name": "ai-toolkit"}', "5"):
        save_file(weights, tmp_path / "a.safetensors", {"software": text})
        assert toolkit_version(tmp_path / "a.safetensors") is None
