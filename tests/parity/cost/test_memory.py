"""What weights take, against the real engine and against the classes of diffusers and transformers."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import pytest
import torch

from parity.cost.census import PartName, parts_of, published
from parity.cost.memory import KEPT_IN_FLOAT32, held
from pipelines.catalog import MODELS
from pipelines.engine.engine import Engine
from pipelines.engine.qtypes import rounding_of
from pipelines.quantization import QTYPES, Quantization, stored_bytes
from pipelines.recipe import Precision, Recipe
from pipelines.weights import Weights
from tests import census
from tests.pipelines.engine.test_quantized import ARA, UINT4, recorded_recipe
from tests.support.oracle import JOBS, JOBS_5B, sample_recipe

NO_LORA: dict[str, Any] = {"lora_files": (), "lora_scales": (), "earlier_merges": ()}
KEPT, CAST, HALF = Precision("bfloat16", "kept"), Precision("bfloat16", "cast"), Precision("float16", "kept")
HELD = [*((job, precision) for job in (*JOBS, *JOBS_5B) for precision in (KEPT, CAST)), ("t2v_basic", HALF)]


def in_memory(engine: Engine, recipe: Recipe) -> dict[PartName, int]:
    """The bytes of all parameters of each part, as the engine has them when it generates."""
    engine.forget()
    engine.load(recipe)
    with engine._ready(recipe, None) as pipe:
        assert engine._encoders is not None
        parts = {**pipe.components, **engine._encoders.held}
        models = {name: part for name, part in parts.items() if isinstance(part, torch.nn.Module)}
        buffers = sum(_bytes(list(model.buffers())) for model in models.values())
        assert buffers < 1 << 20  # computed tables, which held() leaves out
        return {name: _bytes(list(model.parameters())) for name, model in models.items()}


def _bytes(tensors: Sequence[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@pytest.mark.draws
@pytest.mark.parametrize(("job", "precision"), HELD, ids=str)
def test_weights_are_as_large_as_the_engine_has_them(engine: Engine, job: str, precision: Precision) -> None:
    recipe = dataclasses.replace(sample_recipe(job, 0), precision=precision, **NO_LORA)
    expected = held(recipe)
    assert expected.assumed == ()
    assert expected.parts == in_memory(engine, recipe)
    assert expected.loras == 0


@pytest.mark.draws
@pytest.mark.parametrize("qtype", ["qfloat8", "uint4", "convrot8"])
def test_quantized_weights_are_as_large_as_the_engine_has_them(engine: Engine, qtype: str) -> None:
    recipe = dataclasses.replace(recorded_recipe(UINT4), quantization=Quantization(qtype, qtype, ("proj_out",)))
    recipe = dataclasses.replace(recipe, **NO_LORA)
    assert held(recipe).parts == in_memory(engine, recipe)
    assert held(recipe).in_ram() > held(recipe).total
    plain = held(dataclasses.replace(recipe, quantization=Quantization()))
    assert sum(held(recipe).parts.values()) < sum(plain.parts.values())


@pytest.mark.draws
@pytest.mark.parametrize("qtype", [None, "qfloat8"])
def test_encoders_as_comfyui_stores_them_are_the_only_ones(engine: Engine, qtype: str | None) -> None:
    own = dataclasses.replace(sample_recipe("i2v_basic", 0), precision=CAST, **NO_LORA)
    own = dataclasses.replace(own, quantization=Quantization(text_encoder=qtype))
    recipe = dataclasses.replace(own, text_encoding="comfyui", clip_image="original_center", vae_dtype="float32")
    assert held(recipe).parts == in_memory(engine, recipe)
    assert held(recipe).originals == held(own).originals


@pytest.mark.draws
def test_the_layers_that_an_adapter_names(engine: Engine) -> None:
    recipe = dataclasses.replace(recorded_recipe(ARA), **NO_LORA)
    expected = held(recipe)
    assert expected.parts == in_memory(engine, recipe)
    assert expected.loras > 0


@pytest.mark.draws
def test_a_peft_adapter_comes_on_top(engine: Engine) -> None:
    recipe = dataclasses.replace(sample_recipe("t2v_basic", 0), lora_application="adapter")
    expected = held(recipe)
    found = sum(in_memory(engine, recipe).values())
    assert sum(expected.parts.values()) < found <= expected.total


@pytest.mark.draws
def test_a_merge_keeps_no_copy(engine: Engine) -> None:
    recipe = dataclasses.replace(sample_recipe("t2v_basic", 0), precision=KEPT)
    assert recipe.lora_application == "merged"
    assert held(recipe).parts == in_memory(engine, recipe)
    assert held(recipe).in_ram() == held(recipe).total
    assert not engine._originals.copied


@pytest.mark.parametrize("qtype", QTYPES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_stored_bytes_are_those_of_the_real_codes(qtype: str, dtype: torch.dtype) -> None:
    rounding = rounding_of(qtype)
    for rows, columns in ((16, 64), (24, 128), (64, 48), (8, 10), (48, 192)):
        found = stored_bytes(qtype, rows, columns, dtype.itemsize)
        if not rounding.takes(rows, columns):
            assert found is None
        else:
            codes = rounding.encode(torch.ones(rows, columns, dtype=dtype))
            assert found == _bytes(list(codes.values())), (rows, columns)


def test_census_is_that_of_the_classes() -> None:
    """If not: `python -m tests.census >parity/cost/census.json`."""
    kept = (files("parity.cost") / "census.json").read_text(encoding="utf-8")
    assert json.loads(kept) == census.census()


def test_kept_modules_are_those_of_diffusers() -> None:
    from diffusers import WanTransformer3DModel
    from transformers import UMT5EncoderModel

    assert tuple(WanTransformer3DModel._keep_in_fp32_modules) == KEPT_IN_FLOAT32
    assert UMT5EncoderModel._keep_in_fp32_modules == ["wo"]


PUBLISHED_FILES = {
    ("wan21_14b", "transformer", 2): 28_577_761_176,  # wan2.1_t2v_14B_fp16.safetensors
    ("wan21_i2v_14b", "transformer", 2): 32.8e9,  # wan2.1_i2v_720p_14B_bf16.safetensors
    ("wan21_1b", "transformer", 4): 5.68e9,  # Wan-AI/Wan2.1-T2V-1.3B-Diffusers, transformer/
    ("wan21_14b", "text_encoder", 4): 22.7e9,  # Wan-AI/Wan2.1-T2V-14B-Diffusers, text_encoder/
    ("wan22_5b", "text_encoder", 2): 11.4e9,  # Wan-AI/Wan2.2-TI2V-5B-Diffusers, text_encoder/
    ("wan21_14b", "vae", 4): 507_609_880,  # Wan2.1_VAE.pth
    ("wan22_5b", "vae", 4): 2.82e9,  # Wan-AI/Wan2.2-TI2V-5B-Diffusers, vae/
    ("wan21_i2v_14b", "image_encoder", 2): 1.26e9,  # wavespeed/Wan2.1-I2V-14B-720P-Diffusers-fp16, image_encoder/
}
"""Sizes of files on the Hub, as its pages show them."""


@pytest.mark.parametrize(("model", "part", "width"), PUBLISHED_FILES)
def test_published_files_have_this_many_numbers(model: str, part: str, width: int) -> None:
    numbers = sum(tensor.numbers for tensor in published(model)[part])
    assert math.isclose(numbers * width, PUBLISHED_FILES[model, part, width], rel_tol=0.005)


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.id)
def test_a_model_on_the_hub_has_its_published_size(model: Any) -> None:
    recipe = dataclasses.replace(
        sample_recipe("t2v_basic", 0),
        model=model.id,
        weights=Weights(model.base_checkpoint),
        boundary=0.9 if model.experts else None,
    )
    assert set(parts_of(recipe).assumed) == set(published(model.id))
    weights = held(recipe)
    assert weights.on_gpu("none") > weights.on_gpu("model") > weights.on_gpu("sequential") > 2e9
