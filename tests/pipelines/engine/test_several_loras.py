"""Several LoRAs on one transformer, as ComfyUI stacks them: added up in float32, rounded once, undone to the bit."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from parity.case.load import DEMO
from pipelines.engine import lora
from pipelines.engine.checkpoint import load_pipeline
from pipelines.lora_files import lora_file
from pipelines.recipe import LoraApplication, Recipe
from tests.support.oracle import sample_recipe

pytestmark = pytest.mark.draws

ONE, OTHER = (
    lora_file(DEMO / "jobs" / job / f"{name}.safetensors")
    for job, name in (("t2v_basic", "tiny_t2v"), ("t2v_mixed_scale", "tiny_t2v_mm"))
)


@pytest.fixture(scope="module")
def pipe() -> Any:
    return load_pipeline(sample_recipe("t2v_basic", 0))


def with_loras(application: LoraApplication, *loras: tuple[Any, float]) -> Recipe:
    return dataclasses.replace(
        sample_recipe("t2v_basic", 0),
        lora_files=tuple(file for file, _ in loras),
        lora_scales=tuple(scale for _, scale in loras),
        lora_application=application,
    )


def layer(pipe: Any) -> Any:
    return pipe.transformer.blocks[0].attn1.to_q


def weight(pipe: Any) -> Any:
    return layer(pipe).weight.detach().clone()


def delta(file: Any) -> Any:
    from safetensors.torch import load_file

    weights, name = load_file(file.path), "diffusion_model.blocks.0.self_attn.q"
    return weights[f"{name}.lora_B.weight"].float() @ weights[f"{name}.lora_A.weight"].float()


def test_merged_ones_are_added_in_float32_and_rounded_once(pipe: Any) -> None:
    import torch

    before = weight(pipe)
    assert before.dtype == torch.bfloat16
    undo = lora.apply(pipe, with_loras("merged", (ONE, 1.0), (OTHER, 0.5)))
    expected = before.float() + delta(ONE) + 0.5 * delta(OTHER)
    assert torch.equal(weight(pipe), expected.to(torch.bfloat16))
    twice = ((before.float() + delta(ONE)).bfloat16().float() + 0.5 * delta(OTHER)).bfloat16()
    assert not torch.equal(weight(pipe), twice)
    undo()
    assert torch.equal(weight(pipe), before)


@pytest.mark.parametrize("application", ["side_path", "adapter"])
def test_both_reach_the_output_and_leave_nothing(pipe: Any, application: LoraApplication) -> None:
    import torch

    x = torch.randn(2, layer(pipe).weight.shape[1], generator=torch.Generator().manual_seed(0)).bfloat16()

    def output(*loras: tuple[Any, float]) -> Any:
        undo = lora.apply(pipe, with_loras(application, *loras))
        made = layer(pipe)(x).detach().float()
        undo()
        return made

    with torch.no_grad():
        plain, one, other, both = output(), output((ONE, 1.0)), output((OTHER, 0.5)), output((ONE, 1.0), (OTHER, 0.5))
        assert torch.equal(output(), plain)
    assert torch.allclose(both - plain, (one - plain) + (other - plain), atol=0.05)
    assert min((one - plain).abs().max(), (other - plain).abs().max()) > 0.1
