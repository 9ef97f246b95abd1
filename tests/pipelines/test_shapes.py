"""The shapes' checkpoint: plain diffusers loads it and reproduces the trainer's preview."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from parity.case.load import DEMO, load_case
from parity.comparison.compare import closeness, deliver, read_preview
from pipelines.engine.engine import Engine
from pipelines.engine.torch_setup import declare_missing_torchvision_operators

CASE = load_case(DEMO / "shapes-faithful.yaml")


@pytest.mark.draws
def test_plain_diffusers_generates_the_preview() -> None:
    declare_missing_torchvision_operators()
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler, WanPipeline

    recipe = CASE.preview
    pipe: Any = WanPipeline.from_pretrained(recipe.weights.checkpoint, dtype=torch.float32)
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    lora = recipe.lora_files[0].path
    pipe.load_lora_weights(str(lora.parent), weight_name=lora.name)
    drawn = pipe(
        prompt=recipe.prompt,
        negative_prompt=recipe.negative_prompt,
        width=96,
        height=64,
        num_frames=9,
        num_inference_steps=recipe.steps,
        guidance_scale=recipe.guidance_scale,
        generator=torch.Generator().manual_seed(recipe.seed or 0),
        output_type="np",
    ).frames[0]
    frames = deliver((drawn * 255).round().astype(np.uint8), recipe)[1].frames
    near = closeness(read_preview(CASE.video, recipe).frames, frames)
    assert near.identical or (near.psnr or 0) > 40


def test_without_its_trigger_word_it_is_another_video(engine: Engine) -> None:
    preview = read_preview(CASE.video, CASE.preview).frames
    blind = replace(CASE.preview, prompt=CASE.preview.prompt.replace("p0stcard ", ""))
    near = {
        name: closeness(preview, deliver(engine.generate(recipe), recipe)[1].frames)
        for name, recipe in (("faithful", CASE.inference), ("blind", blind))
    }
    assert near["faithful"].identical
    assert not near["blind"].identical
    assert (near["blind"].psnr or 0) < 35
