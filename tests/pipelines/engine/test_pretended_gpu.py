"""The engine on a pretended GPU: it moves whatever it has to, and generates what it generates on the CPU.

In float32 and a few steps: a forgotten `.to(device)` fails at once. See tests/support/pretended_gpu.py.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from parity.case.load import find_case_files, load_cases
from pipelines.engine import stages
from pipelines.engine.engine import Engine
from pipelines.offload import OFFLOADS, Offload
from pipelines.quantization import Quantization
from pipelines.recipe import Asked, Precision, Recipe
from tests.support.comfyui import recorded_recipe
from tests.support.pretended_gpu import CUDA, Pretended, pretended_gpu

pytestmark = pytest.mark.draws


def _of_demo(name: str, **changes: Any) -> Recipe:
    recipe = next(case.inference for case in load_cases(find_case_files([])) if case.id == name)
    return dataclasses.replace(recipe, precision=Precision("float32", "kept"), **changes)


def _engine(offload: Offload = "none") -> Engine:
    engine = Engine("cpu")
    engine.device, engine.offload = CUDA, offload
    return engine


RECIPES = {
    "quantized, side path": lambda: _of_demo(
        "shapes-faithful", quantization=Quantization("qfloat8", "qfloat8"), lora_application="side_path"
    ),
    "image, merged": lambda: _of_demo("i2v-waving-faithful"),
    "two experts, hotswap": lambda: _of_demo("wan22-t2v-guitar-reference"),
    "two experts, sampled image": lambda: _of_demo("wan22-i2v-waving-faithful"),
    "ComfyUI: float16 encoders, CLIP of its own": lambda: recorded_recipe("i2v-euler-normal-3"),
    "ComfyUI: weighted prompt": lambda: recorded_recipe("t2v-weighted-prompt"),
    "ComfyUI: sampler with noise": lambda: recorded_recipe("t2v-sampler-euler_ancestral"),
}


def _short(recipe: Recipe) -> Recipe:
    return dataclasses.replace(recipe, steps=2, num_frames=Asked(5, 5))


@pytest.mark.parametrize("name", RECIPES)
def test_every_way_of_generating_moves_what_it_needs(name: str, engine: Engine) -> None:
    recipe = _short(RECIPES[name]())
    expected = engine.generate(recipe)
    with pretended_gpu():
        frames = _engine().generate(recipe)
    assert np.array_equal(frames, expected)


@pytest.mark.parametrize("offload", OFFLOADS[1:])
def test_offloaded_weights_are_where_they_are_needed(offload: Offload, engine: Engine) -> None:
    merged, adapter = _short(_of_demo("t2v-guitar-faithful")), _short(_of_demo("wan22-t2v-guitar-reference"))
    pretending = _engine(offload)
    for recipe in (merged, adapter):
        expected = engine.generate(recipe)
        with pretended_gpu():
            assert np.array_equal(pretending.generate(recipe), expected)


def test_a_forgotten_move_is_found(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = _short(_of_demo("t2v-guitar-faithful"))
    latents = engine.denoise(recipe)
    check = stages._check_finite

    def with_a_tensor_of_the_cpu(values: torch.Tensor, name: str) -> None:
        assert isinstance(values, Pretended)
        check(values + torch.zeros(values.shape[-1]), name)

    monkeypatch.setattr(stages, "_check_finite", with_a_tensor_of_the_cpu)
    with pretended_gpu(), pytest.raises(RuntimeError, match="same device, but found cpu and cuda:0"):
        _engine().decode(latents, recipe)
