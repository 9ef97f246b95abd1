"""ComfyUI's euler with its scheduler normal is the trainer's Euler: one recipe, one video."""

from __future__ import annotations

import dataclasses

import pytest

from pipelines.engine.engine import Engine
from pipelines.scheduler import comfyui_schedule
from tests.support.oracle import sample_recipe


@pytest.mark.draws
def test_comfyuis_euler_and_normal_are_the_trainers_to_the_bit(engine: Engine) -> None:
    import torch

    recipe = dataclasses.replace(sample_recipe("t2v_basic", 0), steps=2)
    named = dataclasses.replace(recipe, scheduler=comfyui_schedule("euler", "normal", recipe.scheduler.shift))
    assert torch.equal(engine.denoise(named), engine.denoise(recipe))
