"""Quantized weights against the real ai-toolkit and the libraries that it quantizes with."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from parity.comparison.compare import frames_sha256
from pipelines.aitoolkit.job import read_job
from pipelines.aitoolkit.job_folder import parse_video_name
from pipelines.aitoolkit.preview import preview_recipe
from pipelines.catalog import find_model
from pipelines.engine.engine import Engine
from pipelines.engine.qtypes import rounding_of
from pipelines.engine.quantized import QuantizedLinear
from pipelines.errors import UnreproducibleError
from pipelines.media.video import encode
from pipelines.quantization import QTYPES, Quantization, RecoveryAdapter, unsupported
from pipelines.recipe import LoraApplication, Recipe
from tests.support.oracle import ORACLE

QUANTIZED = ORACLE / "quantized"
FRAMES: dict[str, str] = json.loads((QUANTIZED / "frames.json").read_text())
LAYERS: dict[str, list[str | None]] = json.loads((QUANTIZED / "layers.json").read_text())
MODELS = {
    "wan21": "wan21_14b",
    "wan21_i2v": "wan21_i2v_14b480p",
    "wan22_14b": "wan22_14b_t2v",
    "wan22_14b_i2v": "wan22_14b_i2v",
}


def recorded_recipe(sample: str, toolkit: str = "0.12.26") -> Recipe:
    """The preview recipe of a recorded sample, `JOB/samples/FILE`."""
    path = QUANTIZED / "jobs" / sample
    job, video = read_job(path.parent.parent / "config.yaml"), parse_video_name(path.name)
    assert video is not None
    assert job.arch is not None
    whole = job.folder / f"{job.name}.safetensors"
    lora = whole if video.step and whole.is_file() else None
    return preview_recipe(job, video.index, model=find_model(MODELS[job.arch]), toolkit=toolkit, video=video, lora=lora)


@pytest.mark.parametrize("sample", FRAMES)
def test_quantized_previews_to_the_last_bit(engine: Engine, sample: str) -> None:
    recipe = recorded_recipe(sample)
    frames = engine.generate(recipe)
    assert frames_sha256(frames) == FRAMES[sample]
    assert encode(frames, recipe.codec, recipe.fps) == (QUANTIZED / "jobs" / sample).read_bytes()


UINT4 = "q_uint4_wan22/samples/1795580439416__000000500_0.webp"
ARA = "q_ara_wan22/samples/1795580454299__000000500_0.webp"


@pytest.mark.parametrize(
    "quantization",
    [
        Quantization("uint4", None, ("condition_embedder", "proj_out")),
        Quantization(None, "uint4"),
        Quantization("uint4", "uint4"),
    ],
)
def test_each_part_of_a_quantization_reaches_the_pixels(engine: Engine, quantization: Quantization) -> None:
    recipe = dataclasses.replace(recorded_recipe(UINT4), quantization=quantization)
    assert frames_sha256(engine.generate(recipe)) != FRAMES[UINT4]


def test_loras_on_quantized_layers_come_and_go(engine: Engine) -> None:
    recipe = dataclasses.replace(recorded_recipe(ARA), steps=2)
    found: dict[LoraApplication, str] = {}
    names: tuple[LoraApplication, ...] = ("side_path", "merged", "adapter", "side_path")
    for name in names:
        frames = engine.generate(dataclasses.replace(recipe, lora_application=name))
        assert found.setdefault(name, frames_sha256(frames)) == frames_sha256(frames)
    assert len(set(found.values())) == 3


def layer_case(dtype: str, out_features: int, in_features: int) -> tuple[torch.nn.Linear, torch.Tensor]:
    """The layer and input that a recorded hash is of: see tests/data/README.md."""
    source = torch.Generator().manual_seed(out_features * 1000 + in_features)
    weight = torch.randn(out_features, in_features, generator=source) * 0.05
    weight[1, 3] = 1.5  # an outlier
    bias = torch.randn(out_features, generator=source) * 0.1
    x = torch.randn(2, 7, in_features, generator=source)
    layer = torch.nn.Linear(in_features, out_features).to(getattr(torch, dtype)).requires_grad_(False)
    layer.weight.data, layer.bias.data = weight.to(layer.weight.dtype), bias.to(layer.weight.dtype)
    return layer, x.to(layer.weight.dtype)


def sha256(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_layers_round_as_the_real_libraries_do(name: str) -> None:
    qtype, dtype, size = name.split()
    out_features, in_features = map(int, size.split("x"))
    layer, x = layer_case(dtype, out_features, in_features)
    rounding, weight = rounding_of(qtype), None
    if rounding.takes(out_features, in_features):
        layer = QuantizedLinear(layer.weight, layer.bias, rounding, plain=False)
        weight = sha256(layer.weight)
    assert [weight, sha256(layer(x))] == LAYERS[name]


def test_every_qtype_has_a_recording() -> None:
    aliases = {"qfloat8_e4m3fn"}
    assert {name.split()[0] for name in LAYERS} == set(QTYPES) - aliases
    assert rounding_of("qfloat8_e4m3fn").encode(torch.ones(2, 16))["scale"].numel()


@pytest.mark.parametrize("qtype", ["qfloat8", "uint4", "convrotint3", "nvfp4"])
def test_quantized_weights_stay_small(qtype: str) -> None:
    layer = torch.nn.Linear(256, 256, bias=False, dtype=torch.bfloat16)
    quantized = QuantizedLinear(layer.weight, None, rounding_of(qtype), plain=False)
    size = sum(tensor.nbytes for tensor in quantized.parameters())
    assert size < layer.weight.nbytes * 0.6


MISSING = RecoveryAdapter(path=Path("owner/repo/file.safetensors"), sha256=None)
THERE = RecoveryAdapter(path=Path("ara.safetensors"), sha256="0" * 64)


@pytest.mark.parametrize(
    ("quantization", "words"),
    [
        (Quantization("qint4"), "transformer qint4: this quantization is not supported yet"),
        (Quantization(None, "orbit3"), "text encoder orbit3: this quantization is not supported yet"),
        (Quantization("orbitvq2"), "not supported yet"),
        (Quantization("convrotcomfyw4a4"), "not supported yet"),
        (Quantization("uint9"), "did you mean"),
        (Quantization("uint4", adapter=MISSING), "Copy file.safetensors into the job's folder"),
        (Quantization("qfloat8", adapter=THERE), "ai-toolkit itself crashes"),
        (Quantization("uint4", adapter=dataclasses.replace(THERE, network="lokr")), "LoKr"),
    ],
)
def test_what_cannot_be_generated_is_said_by_name(engine: Engine, quantization: Quantization, words: str) -> None:
    reason = unsupported(quantization)
    assert reason is not None
    assert words in reason
    with pytest.raises(UnreproducibleError, match=re.escape(words)):
        engine.load(dataclasses.replace(recorded_recipe(UINT4), quantization=quantization))


@pytest.mark.parametrize("qtype", QTYPES)
def test_what_can_be_generated(qtype: str) -> None:
    assert unsupported(Quantization(qtype, qtype)) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Quantization("qfloat8_e4m3fn"), Quantization("qfloat8")),
        (Quantization("convrotbitnet"), Quantization("convrotint2")),
        (Quantization("uint8", "uint8"), Quantization()),
    ],
)
def test_equal_numbers_are_no_drift(one: Quantization, other: Quantization) -> None:
    assert one.effective == other.effective
    assert Engine.load_key(_with(one)) == Engine.load_key(_with(other))


def test_names_of_the_same_numbers_give_the_same_codes() -> None:
    weight = layer_case("bfloat16", 48, 128)[0].weight
    codes: dict[str, Any] = {name: rounding_of(name).encode(weight)["code"] for name in ("convrotint8", "convrot8")}
    assert np.array_equal(codes["convrotint8"].numpy(), codes["convrot8"].numpy())


@pytest.mark.parametrize(
    ("toolkit", "kept"), [("883d60eb7176", ()), ("e7951ad29e61", ("condition_embedder", "proj_out"))]
)
def test_what_wan22_keeps_depends_on_the_version(toolkit: str, kept: tuple[str, ...]) -> None:
    assert recorded_recipe(UINT4, toolkit).quantization.kept == kept


def _with(quantization: Quantization) -> Recipe:
    return dataclasses.replace(recorded_recipe(UINT4), quantization=quantization)
