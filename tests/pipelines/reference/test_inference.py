"""The inference recipe: the server's defaults and rules, and the profiles."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from parity.case.load import DEMO
from pipelines.catalog import MODELS, find_model
from pipelines.drift import differing_factors
from pipelines.errors import CaseError
from pipelines.graph import Graph, graph_of
from pipelines.recipe import Conditioning, Recipe
from pipelines.reference.inference import inference_recipe, reference_graph, request_of_preview
from pipelines.reference.request import PromptItem, Request, check_request
from pipelines.weights import Weights
from tests.support.oracle import JOBS, model_of, sample_recipe

LORA = "jobs/t2v_basic/tiny_t2v.safetensors"
T2V, I2V = find_model("wan21_14b"), find_model("wan21_i2v_14b")
T2V22, I2V22 = find_model("wan22_14b_t2v"), find_model("wan22_14b_i2v")


def graph(**changes: Any) -> Graph:
    return dataclasses.replace(reference_graph(T2V, str(DEMO / "models" / "tiny-wan-t2v")), **changes)


def recipe_of(item: dict[str, Any], index: int = 0, **request: Any) -> Recipe:
    body = {"model": "wan21_14b", "loras": [{"path": LORA}], "prompts": [{"prompt": "a"}] * index + [item]}
    return inference_recipe(Request.model_validate(body | request), index, graph(), model=T2V, folder=DEMO)


def test_what_is_left_out_gets_the_servers_defaults() -> None:
    recipe = recipe_of({"prompt": "a"})
    assert (recipe.steps, recipe.guidance_scale, recipe.seed, recipe.fps) == (25, 4.0, 42, 16)
    assert (recipe.width.applied, recipe.height.applied, recipe.num_frames.applied) == (1024, 1024, 41)
    assert (recipe.negative_prompt, recipe.lora_scales) == ("", (1.0,))


@pytest.mark.parametrize(("index", "seed"), [(0, 42), (1, 43), (3, 45)])
def test_seed_of_prompt_i(index: int, seed: int) -> None:
    assert recipe_of({"prompt": "a"}, index).seed == seed
    assert recipe_of({"prompt": "a", "seed": 7}, index).seed == 7


def test_seed_minus_one_is_random() -> None:
    assert recipe_of({"prompt": "a", "seed": -1}).seed is None


@pytest.mark.parametrize(
    ("item", "request_trigger", "prompt"),
    [
        ({"prompt": "[trigger] waves"}, None, "[trigger] waves"),
        ({"prompt": "[trigger] waves"}, "sks", "sks waves"),
        ({"prompt": "[trigger] waves", "trigger_word": "own"}, "sks", "own waves"),
        ({"prompt": "[trigger] waves", "trigger_word": ""}, "sks", "sks waves"),
        ({"prompt": "[name] waves"}, "sks", "[name] waves"),
        ({"prompt": "a --seed 3"}, "sks", "a --seed 3"),
    ],
)
def test_trigger_word(item: dict[str, Any], request_trigger: str | None, prompt: str) -> None:
    assert recipe_of(item, trigger_word=request_trigger).prompt == prompt


@pytest.mark.parametrize(("asked", "applied"), [(100, 96), (720, 720), (1080, 1072), (64, 64)])
def test_sizes_are_floored_to_16(asked: int, applied: int) -> None:
    recipe = recipe_of({"prompt": "a", "width": asked})
    assert (recipe.width.asked, recipe.width.applied) == (asked, applied)


@pytest.mark.parametrize(("asked", "applied"), [(40, 41), (10, 9), (1, 1)])
def test_frames_follow_the_frame_rule(asked: int, applied: int) -> None:
    assert recipe_of({"prompt": "a", "num_frames": asked}).num_frames.applied == applied


@pytest.mark.parametrize(
    ("key", "bad"),
    [
        ("width", 63), ("width", 4097), ("height", 63), ("height", 4097), ("width", 96.5), ("width", "96"),
        ("guidance_scale", -0.1), ("guidance_scale", 20.1), ("sample_steps", 0), ("sample_steps", 151), ("seed", -2),
        ("num_frames", 0), ("num_frames", 1001), ("fps", 0), ("fps", 121), ("fps", True), ("prompt", None),
        ("promt", "a"),
    ],
)  # fmt: skip
def test_bounds_of_a_prompt(key: str, bad: Any) -> None:
    with pytest.raises(ValidationError):
        PromptItem.model_validate({"prompt": "a", key: bad})


@pytest.mark.parametrize(
    ("key", "good"),
    [("width", 64), ("width", 4096), ("guidance_scale", 0), ("guidance_scale", 20), ("sample_steps", 150),
     ("seed", -1), ("num_frames", 1000), ("fps", 120), ("guidance_scale", 5)],
)  # fmt: skip
def test_bounds_are_inclusive(key: str, good: Any) -> None:
    assert getattr(PromptItem.model_validate({"prompt": "a", key: good}), key) == good


@pytest.mark.parametrize("scale", [-2.1, 2.1])
def test_lora_scale_bounds(scale: float) -> None:
    with pytest.raises(ValidationError):
        recipe_of({"prompt": "a"}, loras=[{"path": LORA, "network_multiplier": scale}])


def test_a_numbered_control_image_wins() -> None:
    assert PromptItem(prompt="a", ctrl_img="x", ctrl_img_1="y").control_images() == ["y"]
    assert PromptItem(prompt="a", ctrl_img="x").control_images() == ["x"]


@pytest.mark.parametrize(
    ("model", "loras", "item", "code"),
    [
        (T2V, [], {}, "LORA_FILE_REQUIRED"),
        (T2V, [{"path": "a"}, {"path": "b"}], {}, "SINGLE_LORA_ONLY"),
        (T2V, [{"path": "a", "transformer": "low"}], {}, "MOE_FORMAT_NOT_SUPPORTED"),
        (I2V, [{"path": "a"}], {}, "CONTROL_IMAGE_REQUIRED"),
        (T2V22, [], {}, "LORA_FILE_REQUIRED"),
        (T2V22, [{"path": "a"}], {}, "MOE_FORMAT_REQUIRED"),
        (T2V22, [{"path": "a", "transformer": "low"}, {"path": "b"}], {}, "MOE_FORMAT_REQUIRED"),
        (T2V22, [{"path": "a", "transformer": "low"}] * 2, {}, "SINGLE_MOE_CONFIG_ONLY"),
        (I2V22, [{"path": "a", "transformer": "low"}, {"path": "a", "transformer": "high"}], {}, "CONTROL_IMAGE"),
        (I2V, [{"path": "a"}], {"ctrl_img_1": "x", "ctrl_img_2": "y"}, "one control image"),
    ],
)
def test_the_servers_error_codes(model: Any, loras: list[Any], item: dict[str, Any], code: str) -> None:
    request = Request.model_validate({"model": model.id, "loras": loras, "prompts": [{"prompt": "a"} | item]})
    problem = check_request(request, model)
    assert problem is not None
    assert code in problem[1]


@pytest.mark.parametrize("sides", [["low", "high"], ["high"], ["low"]])
def test_wan22_takes_a_pair_or_one_side(sides: list[str]) -> None:
    loras = [{"path": f"jobs/wan22_t2v/tiny22_t2v_{side}_noise.safetensors", "transformer": side} for side in sides]
    request = Request.model_validate({"model": T2V22.id, "loras": loras, "prompts": [{"prompt": "a"}]})
    assert check_request(request, T2V22) is None
    reference = reference_graph(T2V22, str(DEMO / "models" / "tiny-wan22-t2v"))
    recipe = inference_recipe(request, 0, reference, model=T2V22, folder=DEMO)
    assert [file.expert for file in recipe.lora_files] == sorted(sides)


def test_the_servers_wan22_graphs() -> None:
    """Facts of wan22_t2v.py and wan22_i2v.py: which of a checkpoint's settings count, sizes, frames, conditioning."""
    t2v = reference_graph(T2V22, str(DEMO / "models" / "tiny-wan22-t2v"))
    i2v = reference_graph(I2V22)  # needs no checkpoint: its schedule and boundary are its own
    assert (t2v.boundary, t2v.scheduler.shift, t2v.frame_rule, t2v.conditioning) == (0.875, 3.0, "diffusers", None)
    assert (i2v.boundary, i2v.scheduler.shift, i2v.frame_rule) == (0.9, 3.0, "low_vram")
    assert i2v.conditioning == Conditioning(latents="sample", noise="unseeded")
    assert i2v.weights == Weights(
        I2V22.base_checkpoint, text_encoder="ai-toolkit/umt5_xxl_encoder", vae="ai-toolkit/wan2.1-vae"
    )
    item = {"prompt": "a", "width": 1280, "height": 720, "num_frames": 40}
    loras = [{"path": "jobs/wan22_t2v/tiny22_t2v_low_noise.safetensors", "transformer": "low"}]
    request = Request.model_validate({"model": T2V22.id, "loras": loras, "prompts": [item]})
    recipe = inference_recipe(request, 0, t2v, model=T2V22, folder=DEMO)
    assert (recipe.width.applied, recipe.height.applied, recipe.num_frames.applied) == (1280, 704, 41)
    image = {"ctrl_img": "jobs/wan22_i2v/ctrl.png"}
    request = Request.model_validate({"model": I2V22.id, "loras": loras, "prompts": [item | image]})
    recipe = inference_recipe(request, 0, i2v, model=I2V22, folder=DEMO)
    assert (recipe.width.applied, recipe.height.applied, recipe.num_frames.applied) == (1280, 720, 37)


@pytest.mark.parametrize("job", JOBS)
def test_a_graph_becomes_a_recipe_and_a_graph_again(job: str) -> None:
    """Every field but the frame rule, which leaves only its result in a recipe."""
    preview, model = sample_recipe(job, 0), model_of(job)
    served = reference_graph(model, preview.weights.checkpoint)
    recipe = inference_recipe(request_of_preview(preview), 0, served, model=model, folder=Path())
    assert graph_of(recipe, served.frame_rule, served.size_rule) == served


def test_a_token_is_never_shown() -> None:
    request = Request.model_validate({"model": "m", "loras": [], "prompts": [{"prompt": "a"}], "hf_token": "secret"})
    assert "secret" not in repr(request)


@pytest.mark.parametrize(("job", "index"), [(job, index) for job in JOBS for index in (0, 1)])
def test_a_preview_as_a_request_differs_only_in_the_graph(job: str, index: int) -> None:
    """The derived request asks for what the trainer drew: flags, seeds and sizes included."""
    preview = sample_recipe(job, index)
    model = model_of(job)
    reference = reference_graph(model, preview.weights.checkpoint)
    recipe = inference_recipe(request_of_preview(preview), 0, reference, model=model, folder=Path())
    expected = {"scheduler", "lora_application", "precision"}
    if job == "wan22_i2v":
        expected |= {"boundary", "conditioning"}
    assert set(differing_factors(preview, recipe)) == expected


def test_a_sample_the_api_cannot_express_is_refused() -> None:
    with pytest.raises(ValidationError):
        request_of_preview(dataclasses.replace(sample_recipe("t2v_basic", 0), guidance_scale=25))


def test_catalogue_has_every_quick_fact() -> None:
    rows = {"Pipeline", "Base checkpoint", "Defaults", "Resolution snapping", "Control image", "Video",
            "LoRA scale behavior", "Needs AI Toolkit"}  # fmt: skip
    assert all(set(model.quick_facts()) == rows for model in MODELS.values())
    assert MODELS["wan21_i2v_14b480p"].quick_facts()["Base checkpoint"] == "Wan-AI/Wan2.1-I2V-14B-480P-Diffusers"
    assert MODELS["wan21_i2v_14b"].quick_facts()["Control image"] == "required (ctrl_img)"


def test_unknown_model_names_the_nearest() -> None:
    with pytest.raises(CaseError, match="did you mean wan21_14b"):
        find_model("wan2114b")
