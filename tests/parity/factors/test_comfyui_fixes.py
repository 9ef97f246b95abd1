"""Fixes where the inference side is a ComfyUI graph: they name nodes, and nothing that only a request has."""

from __future__ import annotations

import dataclasses

import pytest

from parity.case.load import DEMO, load_case
from parity.factors.findings import find_differences
from pipelines.recipe import Asked, Precision, Recipe


@pytest.fixture(scope="module")
def preview() -> Recipe:
    return load_case(DEMO / "t2v-guitar-faithful.yaml").preview


def graph(preview: Recipe, **changes: object) -> Recipe:
    """A recipe that a ComfyUI graph could have, with everything else as in the preview."""
    return dataclasses.replace(preview, text_encoding="comfyui", **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "factor", "fix"),
    [
        ({"steps": 4}, "steps", "set steps 6 in KSampler"),
        ({"seed": 7}, "seed", "set seed 42 in KSampler"),
        ({"guidance_scale": 1.0}, "guidance", "set cfg 5 in KSampler"),
        ({"num_frames": Asked(5, 5)}, "frame_count", "set length 9 in EmptyHunyuanLatentVideo"),
        ({"width": Asked(64, 64)}, "snapping", "set width 96 and height 64 in EmptyHunyuanLatentVideo"),
        ({"lora_scales": (0.5,)}, "lora_scale", "set strength_model 1 in LoraLoaderModelOnly"),
        ({"precision": Precision("float16", "cast")}, "precision", "start ComfyUI with --bf16-unet"),
        ({"prompt": "a cat"}, "prompt", "write into the positive CLIPTextEncode: 'woman playing"),
        ({"fps": 30}, "fps", "set fps 15 in CreateVideo"),
    ],
)
def test_a_fix_names_the_node(preview: Recipe, changes: dict[str, object], factor: str, fix: str) -> None:
    found = {finding.factor: finding.fix for finding in find_differences(preview, graph(preview, **changes))}
    assert found[factor].startswith(fix), found
    server = dataclasses.replace(preview, **changes)  # type: ignore[arg-type]
    other = {finding.factor: finding.fix for finding in find_differences(preview, server)}
    assert not other[factor].startswith(fix)  # beside a server it stays what a request sends


def test_no_fix_beside_a_graph_speaks_of_requests(preview: Recipe) -> None:
    text = dataclasses.replace(preview, prompt="a (red) square", negative_prompt="")
    everything = graph(
        text,
        prompt="a cat",
        negative_prompt="blurry",
        steps=4,
        seed=7,
        guidance_scale=2.0,
        num_frames=Asked(5, 5),
        width=Asked(64, 64),
        lora_files=(),
        lora_scales=(),
        precision=Precision("float16", "cast"),
        fps=30,
    )
    fixes = {finding.factor: finding.fix for finding in find_differences(text, everything)}
    assert fixes["prompt"] == r"write into the positive CLIPTextEncode: 'a \\(red\\) square'"
    assert fixes["negative_prompt"] == "leave the negative CLIPTextEncode empty"
    assert fixes["lora_file"].startswith("load tiny_t2v.safetensors")
    assert not [fix for fix in fixes.values() if "send " in fix or "request" in fix or "pipe." in fix]
