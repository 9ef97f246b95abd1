"""Recipes read from recorded graphs are those that were made from them by hand, which the engine's tests generate."""

from __future__ import annotations

import pytest

from pipelines.catalog import MODELS
from pipelines.comfyui.graph import read_graph
from pipelines.comfyui.recipe import Files, comfyui_graph, comfyui_recipe
from pipelines.drift import differing_factors
from pipelines.lora_files import lora_file
from pipelines.recipe import Dtype
from tests.support.comfyui import COMFYUI, LORAS, t2v_recipe

RECORDED = [
    (path.parent.parent.name, path.parent.name)
    for path in sorted(COMFYUI.glob("*t2v-*/*/prompt.json"))
    if path.parent.parent.name not in ("t2v-fp8", "t2v-odd-size")  # quantized, and of a size that diffusers refuses
]


@pytest.mark.parametrize(("name", "dtype"), RECORDED)
def test_the_reader_and_the_hand_agree(name: str, dtype: Dtype) -> None:
    by_hand = t2v_recipe(name, dtype)
    settings = read_graph((COMFYUI / name / dtype / "prompt.json").read_text())
    model = MODELS[by_hand.model]
    graph = comfyui_graph(
        settings, model=model, weights=by_hand.weights, boundary=by_hand.boundary, precision=by_hand.precision
    )
    files = Files(loras=tuple(lora_file(path) for path in LORAS.values()))
    read = comfyui_recipe(settings, graph, model=model, files=files, fps=8)
    assert read.obstacles == ()
    assert set(differing_factors(by_hand, read)) <= {"fps", "codec"}
