"""Prompts become embeddings as in real ComfyUI: its recorded weights, text that is neither cleaned nor cut."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from parity.case.load import DEMO
from pipelines.aitoolkit.job import read_job
from pipelines.aitoolkit.preview import preview_recipe
from pipelines.catalog import find_model
from pipelines.engine.engine import Engine
from pipelines.engine.stages import Trace
from pipelines.errors import UnreproducibleError
from pipelines.quantization import Quantization
from pipelines.recipe import Precision, Recipe
from tests.pipelines.engine.test_engine import encoders_hash
from tests.support.oracle import sample_recipe
from tests.support.paths import DATA

pytestmark = pytest.mark.draws

Array = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def own_engine() -> Engine:
    return Engine("cpu")


def recipe(prompt: str, **changes: Any) -> Recipe:
    """A preview of the demo in one step, its prompt encoded by ComfyUI."""
    job = read_job(DEMO / "jobs" / "shapes_t2v" / "config.yaml")
    base = preview_recipe(job, 0, model=find_model("wan21_14b"), toolkit="0.12.26")
    return dataclasses.replace(base, prompt=prompt, steps=1, text_encoding="comfyui", **changes)


def embeddings(engine: Engine, recipe: Recipe, which: str = "prompt") -> Array:
    """What the transformer is given for a prompt: (tokens or 512, width)."""
    trace = Trace()
    engine.denoise(recipe, trace=trace)
    rows: Array = trace.conditioning[which][0].float().numpy()
    return rows


def test_weighted_prompt(own_engine: Engine) -> None:
    """Negative and positive embeddings that ComfyUI made of `a (red square:1.4)`."""
    weighted = recipe("p0stcard a (red square:1.4) moving right across a meadow", negative_prompt="")
    with np.load(DATA / "comfyui" / "t2v-weighted-prompt" / "float32" / "latents.npz") as data:
        negative, positive = data["context"]
    assert np.abs(embeddings(own_engine, weighted) - positive).max() < 2e-6
    assert np.abs(embeddings(own_engine, weighted, "negative_prompt") - negative).max() < 2e-6
    plain = dataclasses.replace(weighted, prompt=weighted.prompt.replace("(", "").replace(":1.4)", ""))
    assert np.abs(embeddings(own_engine, plain) - positive).max() > 1


def test_a_plain_prompt_is_that_of_diffusers_where_the_weights_fit_float16(own_engine: Engine) -> None:
    plain = recipe("p0stcard a red square moving right across a meadow")
    assert plain.precision.dtype == "float32"
    diffusers = dataclasses.replace(plain, text_encoding="diffusers")
    ours, theirs = embeddings(own_engine, plain), embeddings(own_engine, diffusers)
    assert ours.shape == theirs.shape == (512, 64)
    assert np.abs(ours - theirs).max() < 2e-6


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (r"a \(red\) square", 9),
        ("a (red) square", 4),
        ("a &amp; b", 9),  # diffusers reads "a & b": 5 tokens
        ("red " * 800, 801),
    ],
)
def test_tokens(own_engine: Engine, text: str, tokens: int) -> None:
    rows = embeddings(own_engine, recipe(text))
    assert len(rows) == max(512, tokens)
    assert np.flatnonzero(np.abs(rows).max(axis=1)).tolist() == list(range(tokens))


def test_the_recipes_dtype_does_not_reach_the_text_encoder(own_engine: Engine) -> None:
    """It computes in float32; only its storage is float16, which is not bfloat16."""
    in_float32 = dataclasses.replace(
        sample_recipe("wan22_t2v", 0), steps=1, text_encoding="comfyui", precision=Precision("float32", "kept")
    )
    in_bfloat16 = dataclasses.replace(in_float32, precision=Precision("bfloat16", "cast"))
    expected = embeddings(own_engine, in_float32)
    assert embeddings(own_engine, in_bfloat16).tobytes() == expected.tobytes()
    by_diffusers = embeddings(own_engine, dataclasses.replace(in_float32, text_encoding="diffusers"))
    assert 0 < np.abs(by_diffusers - expected).max() < 1e-2  # weights of this checkpoint do not fit into float16


def test_the_encoder_is_put_back(own_engine: Engine) -> None:
    """One checkpoint, loaded once; the next recipe finds its own text encoder, bit for bit."""
    comfyui = recipe("red square", precision=Precision("bfloat16", "cast"))
    diffusers = dataclasses.replace(comfyui, text_encoding="diffusers")
    first = own_engine.denoise(diffusers)
    before, loads = encoders_hash(own_engine), own_engine.work.loads
    assert not own_engine.denoise(comfyui).equal(first)
    assert encoders_hash(own_engine) != before
    own_engine.forget()
    assert own_engine.denoise(diffusers).equal(first)
    assert encoders_hash(own_engine) == before
    assert own_engine.work.loads == loads


def test_a_quantized_text_encoder_stays_quantized(own_engine: Engine) -> None:
    plain = recipe("red square")
    quantized = dataclasses.replace(plain, quantization=Quantization(text_encoder="qfloat8"))
    ours, theirs = embeddings(own_engine, quantized), embeddings(own_engine, plain)
    assert 1e-4 < np.abs(ours - theirs).max() < 1


def test_what_is_not_known_is_refused_before_anything_is_loaded() -> None:
    engine = Engine("cpu")
    with pytest.raises(UnreproducibleError, match="nested parentheses with a number"):
        engine.denoise(recipe("a ((red:1.4)) square"))
    with pytest.raises(UnreproducibleError, match="none opens"):
        engine.denoise(recipe("red", negative_prompt="sad :)"))
    assert engine.work.loads == 0
    engine.denoise(recipe("red", negative_prompt="sad :)", guidance_scale=1.0))  # never read without guidance


def test_a_long_prompt_of_an_image_model_is_refused(own_engine: Engine) -> None:
    """Diffusers takes all but the last 512 rows for the image's."""
    long = dataclasses.replace(sample_recipe("i2v_basic", 0), text_encoding="comfyui", prompt="red " * 800, steps=1)
    with pytest.raises(UnreproducibleError, match="tokens, of which ComfyUI cuts none"):
        own_engine.denoise(long)
