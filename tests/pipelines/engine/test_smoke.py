"""Smoke runs: what they load and compute is what a whole generation does, and each change shows in its stage."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from parity.baselines.smoke import first_difference
from parity.case.load import DEMO, load_case
from pipelines.engine import smoke, stages
from pipelines.engine.engine import Engine
from pipelines.engine.partial import first_of_decoder
from pipelines.engine.smoke import Smoked, SmokeEngine
from pipelines.engine.stages import Trace
from pipelines.errors import UsageError
from pipelines.quantization import Quantization
from pipelines.recipe import Recipe

pytestmark = pytest.mark.draws

TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"


def recipe_of(name: str = "t2v-guitar-faithful") -> Recipe:
    return load_case(DEMO / f"{name}.yaml").inference


def smoked(recipe: Recipe, *blocks: int) -> Smoked:
    return SmokeEngine(blocks or (0,), "cpu").smoke(recipe)


@pytest.fixture(scope="module")
def before() -> Mapping[str, str]:
    """The stages of the demo's first case."""
    return smoked(recipe_of()).stages


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A copy of its checkpoint."""
    return shutil.copytree(DEMO / "models" / "tiny-wan-t2v", tmp_path / "model")


@pytest.fixture
def of_copy(checkpoint: Path) -> Recipe:
    recipe = recipe_of()
    return dataclasses.replace(recipe, weights=dataclasses.replace(recipe.weights, checkpoint=str(checkpoint)))


def edit(path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = load_file(path)
    change(weights)
    save_file(weights, path)


def nudge(prefix: str) -> Callable[[dict[str, torch.Tensor]], None]:
    """Change one weight whose name begins so."""

    def change(weights: dict[str, torch.Tensor]) -> None:
        name = min(name for name in weights if name.startswith(prefix) and name.endswith("weight"))
        weights[name].reshape(-1)[0] += 1

    return change


@pytest.mark.parametrize("name", ["i2v-waving-faithful", "t2v-guitar-reference", "wan22-t2v-guitar-faithful"])
def test_with_all_blocks_it_is_the_whole_generation(name: str, engine: Engine) -> None:
    """A second source: the engine with whole weights, told the same embeddings."""
    engine.close()
    recipe = recipe_of(name)
    found = smoked(recipe, 0, 1)
    short = dataclasses.replace(recipe, num_frames=found.recipe.num_frames, steps=found.recipe.steps)
    engine.load(short)
    encoders = engine._encoders
    assert encoders is not None
    engine._encoders = smoke._Seeded(
        engine._pipe, encoders._found, encoders._encodings, engine.work, engine.device, "none"
    )
    try:
        trace = Trace()
        latents = engine.denoise(short, trace=trace)
        vae: Any = engine._pipe.vae
        with torch.no_grad():
            decoded = first_of_decoder(vae, stages.scaled(latents[:, :, :1, :16, :16], vae, short, engine.device))
        assert found.stages["latents"] == smoke._of_tensors(dict(zip("01", trace.latents, strict=True)))
        assert found.stages["first part of the VAE's decoder"] == smoke._of_tensors({"": decoded})
    finally:
        engine.close()


def test_it_repeats_and_one_block_is_not_two(before: Mapping[str, str]) -> None:
    assert smoked(recipe_of()).stages == before
    assert list(before) == [
        "noise",
        "schedule",
        "conditioning",
        "weights of the blocks",
        "weights with the LoRA",
        "first output of transformer",
        "first prediction",
        "latents",
        "first part of the VAE's decoder",
    ]
    assert first_difference(before, smoked(recipe_of(), 0, 1).stages) is not None


@pytest.mark.parametrize(
    ("change", "stage"),
    [
        ({"seed": 43}, "noise"),
        ({"prompt": "something else"}, "conditioning"),
        ({"lora_scales": (0.98,)}, "weights with the LoRA"),
        ({"lora_application": "side_path"}, "weights with the LoRA"),
        ({"guidance_scale": 4.5}, "first prediction"),
        ({"scheduler": recipe_of("t2v-guitar-reference").scheduler}, "schedule"),
        ({"precision": recipe_of("t2v-guitar-reference").precision}, "weights with the LoRA"),
    ],
)
def test_a_change_shows_in_its_stage(change: dict[str, Any], stage: str, before: Mapping[str, str]) -> None:
    after = smoked(dataclasses.replace(recipe_of(), **change)).stages
    said = first_difference(before, after)
    assert said is not None
    assert said.startswith(f"{stage} differs")


@pytest.mark.parametrize(
    ("file", "prefix", "stage"),
    [
        (TRANSFORMER, "blocks.0.", "weights of the blocks"),
        (TRANSFORMER, "proj_out", "weights of the blocks"),
        (TRANSFORMER, "blocks.1.", None),
        ("vae/diffusion_pytorch_model.safetensors", "decoder.mid_block", "first part of the VAE's decoder"),
    ],
)
def test_an_edited_weight_shows_in_its_stage(
    file: str, prefix: str, stage: str | None, before: Mapping[str, str], checkpoint: Path, of_copy: Recipe
) -> None:
    edit(checkpoint / file, nudge(prefix))
    said = first_difference(before, smoked(of_copy).stages)
    assert (said or "").partition(" differs")[0] == (stage or "")


def test_shards_give_the_same(before: Mapping[str, str], checkpoint: Path, of_copy: Recipe) -> None:
    whole = checkpoint / TRANSFORMER
    weights = load_file(whole)
    names = sorted(weights)
    files = {
        name: f"diffusion_pytorch_model-0000{1 + number % 2}-of-00002.safetensors" for number, name in enumerate(names)
    }
    for file in set(files.values()):
        save_file({name: weights[name] for name in names if files[name] == file}, whole.with_name(file))
    whole.with_name(f"{whole.name}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    whole.unlink()
    assert smoked(of_copy).stages == before


def test_both_experts_run() -> None:
    found = smoked(recipe_of("wan22-t2v-guitar-reference"))
    assert {"first output of transformer", "first output of transformer_2"} <= found.stages.keys()
    assert found.notes == ()


def test_a_request_without_a_seed_for_its_image_repeats_all_the_same() -> None:
    recipe = recipe_of("wan22-i2v-waving-reference")
    assert not recipe.repeats
    first, again = smoked(recipe), smoked(recipe)
    assert first.stages == again.stages
    assert first.notes == ("the request takes noise without a seed, which has one here",)


def test_quantized_blocks_run(before: Mapping[str, str]) -> None:
    engine = SmokeEngine((0,), "cpu")
    recipe = dataclasses.replace(recipe_of(), quantization=Quantization(transformer="qfloat8"))
    found = engine.smoke(recipe).stages
    assert str(first_difference(before, found)).startswith("weights of the blocks differs")
    assert engine.ran is not None
    assert engine.ran.quantized_layers["transformer"] > 0


def test_a_block_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--blocks 2: .*tiny-wan-t2v/transformer has blocks 0 to 1"):
        smoked(recipe_of(), 2)
