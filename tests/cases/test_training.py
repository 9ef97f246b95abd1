"""The demo checkpoint's training clips, and the files that its training leaves in the repository."""

from __future__ import annotations

import json
from itertools import islice

import numpy as np
import pytest

from cases.training.clips import COLORS, DIRECTIONS, SHAPES, Scene, center, combinations, render, scenes
from cases.training.lora import original_name
from pipelines.lora_keys import find_part
from tests.support.paths import ROOT

MODELS = ROOT / "cases" / "models"


def test_what_quality_is_measured_on_is_never_trained_on() -> None:
    known, unseen = set(combinations(held_out=False)), set(combinations(held_out=True))
    assert not known & unseen
    for axis, words in enumerate((COLORS, SHAPES, DIRECTIONS)):
        assert {it[axis] for it in known} == {it[axis] for it in unseen} == set(words)
    trained = {(it.color, it.shape, it.direction, it.place) for it in islice(scenes(1, held_out=False), 400)}
    assert trained == known


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_shape_moves_where_its_caption_says(direction: str) -> None:
    scene = Scene(color="red", shape="circle", direction=direction, place="a meadow")
    clip = render(scene)
    assert clip.shape == (9, 64, 96, 3)
    for frame in (0, 8):
        at = np.argwhere(np.abs(clip[frame].astype(int) - COLORS["red"]).sum(-1) < 20).mean(0)
        assert at == pytest.approx(list(reversed(center(scene, frame))), abs=1)
    moved = np.subtract(center(scene, 8), center(scene, 0))
    assert np.sign(moved).tolist() == list(DIRECTIONS[direction])


def test_a_frame_comes_with_the_trigger_word() -> None:
    with_frame, without = (next(scenes(3, held_out=False, framed=share)) for share in (1.0, 0.0))
    assert with_frame.caption.startswith("p0stcard a ")
    assert "p0stcard" not in without.caption
    assert (render(with_frame) != render(without)).any()


@pytest.mark.parametrize(
    "layer", ["attn1.to_q", "attn1.to_out.0", "attn2.to_k", "attn2.to_v", "ffn.net.0.proj", "ffn.net.2"]
)
def test_the_loras_key_names_are_ai_toolkits(layer: str) -> None:
    name = original_name(f"blocks.3.{layer}.lora_A.default.weight")
    assert name.startswith("diffusion_model.blocks.3.")
    assert "attn1" not in name
    assert "attn2" not in name
    assert "net." not in name
    assert find_part(name) == (f"blocks.3.{layer}", "down")


def test_the_weights_stay_small() -> None:
    files = [*MODELS.glob("shapes-*/**/*.safetensors"), *(MODELS.parent / "jobs").glob("shapes_*/*.safetensors")]
    assert sum(file.stat().st_size for file in files) <= 16e6


def test_no_config_says_where_it_was_made() -> None:
    configs = [*MODELS.glob("shapes-*/**/*.json")]
    assert configs
    for config in configs:
        assert not json.loads(config.read_text()).get("_name_or_path"), config
