"""Our recipes and engine against what the real ai-toolkit and the real server made."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from parity.case.load import DEMO
from parity.comparison.compare import frames_sha256
from pipelines.aitoolkit.job import read_job
from pipelines.aitoolkit.preview import preview_recipe
from pipelines.engine.engine import Engine
from pipelines.media.video import Frames, encode
from pipelines.recipe import Conditioning, Precision, Recipe
from pipelines.reference.inference import inference_recipe, reference_graph
from pipelines.reference.request import Request
from pipelines.scheduler import flow_schedule
from tests.support.drawn import Drawn
from tests.support.oracle import (
    JOBS,
    ORACLE,
    SAMPLES,
    assert_recorded,
    checkpoint_of,
    model_of,
    psnr,
    recorded,
    sample_recipe,
    seeded,
)


def reference_recipe(request: dict[str, Any], job: str, index: int, folder: Path) -> Recipe:
    model = model_of(job)
    graph = reference_graph(model, str(checkpoint_of(job)))
    return inference_recipe(Request.model_validate(request), index, graph, model=model, folder=folder)


@pytest.mark.parametrize(("job", "index"), SAMPLES)
def test_preview_recipe_draws_the_trainers_preview(drawn: Drawn, job: str, index: int) -> None:
    recipe = sample_recipe(job, index)
    frames = drawn(recipe)
    assert_recorded(frames, "preview", job, index)
    assert encode(frames, recipe.codec, recipe.fps) == recorded("preview", job, index)[1]


OLDER = [("before_ab1ee4df", "0c18b393462b", "t2v_basic"), ("before_ab1ee4df", "0c18b393462b", "i2v_basic"),
         ("before_883d60eb", "fed9357234f1", "wan22_i2v")]  # fmt: skip


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize(("side", "commit", "job"), OLDER)
def test_previews_of_older_versions(engine: Engine, side: str, commit: str, job: str, index: int) -> None:
    """UniPC, and the VAE's norm in its own dtype, for the encode of a control image as for the decode."""
    recipe = sample_recipe(job, index, toolkit=commit)
    frames = engine.generate(recipe)
    assert_recorded(frames, side, job, index)
    assert encode(frames, recipe.codec, recipe.fps) == recorded(side, job, index)[1]


@pytest.mark.parametrize(
    ("job", "index"), [("t2v_basic", 0), ("t2v_basic", 1), ("i2v_basic", 0), ("wan22_t2v", 0), ("wan22_t2v", 1)]
)
def test_reference_profile_draws_the_servers_video(drawn: Drawn, job: str, index: int) -> None:
    request = json.loads((DEMO / "requests" / f"{job}.json").read_text())
    recipe = reference_recipe(request, job, index, DEMO / "requests")
    frames = drawn(recipe)
    assert_recorded(frames, "inference", job, index)
    assert encode(frames, recipe.codec, recipe.fps) == recorded("inference", job, index)[1]


@pytest.mark.parametrize("index", [0, 1])
def test_reference_profile_of_wan22_i2v(engine: Engine, index: int) -> None:
    """The server samples with torch's global generator; recording it was seeded with 1000, which is done here too."""
    request = json.loads((DEMO / "requests" / "wan22_i2v.json").read_text())
    recipe = reference_recipe(request, "wan22_i2v", index, DEMO / "requests")
    frames = seeded(engine, recipe, 1000)
    assert_recorded(frames, "inference", "wan22_i2v", index)
    assert encode(frames, recipe.codec, recipe.fps) == recorded("inference", "wan22_i2v", index)[1]


def test_what_nobody_seeds_does_not_repeat(engine: Engine) -> None:
    request = json.loads((DEMO / "requests" / "wan22_i2v.json").read_text())
    recipe = dataclasses.replace(reference_recipe(request, "wan22_i2v", 1, DEMO / "requests"), steps=1)
    first, second = engine.generate(recipe), engine.generate(recipe)
    assert not recipe.repeats
    assert psnr(first, second) < 60


@pytest.mark.parametrize(("job", "index"), SAMPLES)
def test_float32_training(engine: Engine, tmp_path: Path, job: str, index: int) -> None:
    """`train.dtype: fp32`: CPUs agree so well in float32 that this tells right from wrong on any of them."""
    recipe = changed_job_recipe(tmp_path, job, index, ("dtype: bf16", "dtype: fp32"))
    frames = engine.generate(recipe)
    assert_recorded(frames, "float32", job, index)


def test_low_vram_frames_and_tiles(engine: Engine, tmp_path: Path) -> None:
    """12 frames asked, 9 drawn; 320 pixels wide, so that the VAE decodes in tiles."""
    changes = [("arch: wan21", "arch: wan21, low_vram: true"), ("num_frames: 9", "num_frames: 12")]
    recipe = changed_job_recipe(tmp_path, "t2v_basic", 0, *changes, ("width: 96", "width: 320"))
    assert recipe.tiles
    assert_recorded(engine.generate(recipe), "low_vram_320", "t2v_basic", 0)


@pytest.mark.parametrize(
    ("name", "index"),
    [("scale05", 1), ("neg1", 0), ("cfg1", 0), ("text", 0), ("i2v16", 1), ("i2vsize", 0), ("one", 0), ("zero", 1),
     ("fp16", 0),
     ("combined", 0), ("high", 0), ("low", 1), ("pairmixed", 0), ("pairmixed", 1), ("unipc22", 0), ("unipc22i", 0),
     ("low_vram_untiled", 0), ("norm22", 0), ("norm_i2v", 0), ("still22", 1), ("scale22", 1)],
)  # fmt: skip
def test_variations_of_the_jobs(engine: Engine, tmp_path: Path, name: str, index: int) -> None:
    """Other scales, dtypes, sizes, frame counts and texts, drawn by the real ai-toolkit."""
    variation = json.loads((ORACLE / "variations.json").read_text())[name]
    job = DEMO / "jobs" / variation["job"]
    config = yaml.safe_load((job / "config.yaml").read_text().replace("../../models", str(DEMO / "models")))
    process = config["config"]["process"][0]
    for item in process["sample"].get("samples", []):
        item["ctrl_img"] = str(job / "ctrl.png")
    for key, value in variation["set"].items():
        section, last = key.split(".")
        process[section][last] = value
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    recipe = preview_recipe(
        read_job(tmp_path / "config.yaml"),
        index,
        model=model_of(variation["job"]),
        lora=lora_of(job, variation.get("lora"), tmp_path),
        toolkit=variation.get("toolkit", "0.12.26"),
    )
    assert frames_sha256(engine.generate(recipe)) == variation["frames_sha256"][str(index)]


def lora_of(job: Path, which: str | None, folder: Path) -> Path:
    """A job's LoRA file; of a pair either one. combined: both experts' weights in one, as ai-toolkit writes them."""
    if which != "combined":
        return next(job.glob(f"*{which}_noise.safetensors" if which else "*.safetensors"))
    from safetensors.torch import load_file, save_file

    both: dict[str, Any] = {}
    for number, expert in ((1, "high"), (2, "low")):
        weights = load_file(next(job.glob(f"*{expert}_noise.safetensors")))
        both |= {key.replace(".", f".transformer_{number}.", 1): value for key, value in weights.items()}
    save_file(both, folder / "combined.safetensors")
    return folder / "combined.safetensors"


@pytest.mark.parametrize(
    ("job", "index"),
    [("t2v_basic", 0), ("t2v_basic", 1), ("i2v_basic", 0), ("i2v_basic", 1), ("wan22_t2v_high_only", 0),
     ("wan22_t2v_scales", 0), ("wan22_i2v_low_only", 0)],
)  # fmt: skip
def test_more_requests_to_the_server(engine: Engine, job: str, index: int) -> None:
    """Defaults, floored sizes, odd frame counts, trigger words and another LoRA scale, as the real server drew them."""
    entry = json.loads((ORACLE / "requests.json").read_text())[job]
    recipe = reference_recipe(entry["request"], next(name for name in JOBS if job.startswith(name)), index, DEMO)
    frames = engine.generate(recipe) if recipe.repeats else seeded(engine, recipe, 1000)
    assert frames_sha256(frames) == entry["frames_sha256"][index]


def changed_job_recipe(folder: Path, name: str, index: int, *changes: tuple[str, str]) -> Recipe:
    """The preview recipe after replacing text in the config of a job."""
    job = DEMO / "jobs" / name
    text = (job / "config.yaml").read_text().replace("../../models", str(DEMO / "models"))
    for old, new in (*changes, ("./ctrl.png", str(job / "ctrl.png"))):
        assert old in text or old == "./ctrl.png"
        text = text.replace(old, new)
    (folder / "config.yaml").write_text(text)
    lora = next(job.glob("*.safetensors"))
    return preview_recipe(read_job(folder / "config.yaml"), index, model=model_of(name), lora=lora)


@pytest.mark.parametrize(("job", "index"), SAMPLES)
def test_webp_bytes_are_the_trainers(job: str, index: int) -> None:
    """The encoder alone, on any CPU."""
    recipe = sample_recipe(job, index)
    frames, file = recorded("preview", job, index)
    assert encode(frames, recipe.codec, recipe.fps) == file


@pytest.fixture(scope="module")
def right(drawn: Drawn) -> Frames:
    return drawn(sample_recipe("t2v_basic", 0))


@pytest.mark.parametrize(
    "wrong",
    [
        {"scheduler": flow_schedule("unipc", 3.0)},
        {"seed": 43},
        {"lora_application": "adapter"},
        {"lora_application": "side_path"},
        {"precision": Precision("bfloat16", "kept")},
        {"vae_norm": "vae_dtype"},
    ],
    ids=str,
)
def test_one_wrong_field_is_seen(engine: Engine, right: Frames, wrong: dict[str, object]) -> None:
    """Must-fail: equality would not hold for just any recipe."""
    recipe = dataclasses.replace(sample_recipe("t2v_basic", 0), **wrong)  # type: ignore[arg-type]
    assert psnr(right, engine.generate(recipe)) < 60


def test_models_of_the_jobs_are_in_the_catalogue() -> None:
    assert {sample_recipe(job, 0).pipeline for job in JOBS} == {"WanPipeline", "WanImageToVideoPipeline"}


def test_what_is_particular_to_wan22_is_seen(engine: Engine, drawn: Drawn) -> None:
    """Must-fail: as measured on the recordings' own CPU, 35.6 dB for the boundary and 31.9 for the conditioning."""
    recipe = sample_recipe("wan22_i2v", 0)
    right = drawn(recipe)
    for wrong, most in (
        ({"boundary": 0.9}, 37),
        ({"conditioning": Conditioning(latents="mode", rounded=False)}, 33),
        ({"lora_files": recipe.lora_files[:1], "lora_scales": recipe.lora_scales[:1]}, 60),
    ):
        assert psnr(right, engine.generate(dataclasses.replace(recipe, **wrong))) < most
