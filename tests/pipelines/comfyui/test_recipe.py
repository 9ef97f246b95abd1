"""Recipes of ComfyUI's settings: the graphs that real ComfyUI ran, and what cannot be generated yet."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from parity.case.load import DEMO
from pipelines.catalog import MODELS, Model
from pipelines.comfyui.graph import read_graph
from pipelines.comfyui.lora_layouts import why_nothing_loads
from pipelines.comfyui.loras import find_lora
from pipelines.comfyui.metadata import find_graph
from pipelines.comfyui.recipe import Files, comfyui_graph, comfyui_recipe, unknown_of
from pipelines.comfyui.settings import LoraEntry, Settings
from pipelines.errors import GraphError
from pipelines.limits import limits_of
from pipelines.lora_files import read_header
from pipelines.recipe import Asked, Codec, Conditioning, Precision, Recipe, Resize
from pipelines.weights import Weights

RECORDINGS = Path(__file__).parents[2] / "data" / "comfyui"
T2V, I2V = MODELS["wan21_14b"], MODELS["wan21_i2v_14b"]
HIGH_LOW, HIGH_LOW_I2V = MODELS["wan22_14b_t2v"], MODELS["wan22_14b_i2v"]


def settings_of(name: str, dtype: str = "float32", filename: str | None = None) -> Settings:
    return read_graph((RECORDINGS / name / dtype / "prompt.json").read_text(), filename=filename)


@pytest.fixture(scope="module")
def comfyui(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A ComfyUI folder with the LoRAs and images of the recordings."""
    root = tmp_path_factory.mktemp("ComfyUI")
    (root / "models" / "loras" / "wan").mkdir(parents=True)
    (root / "input").mkdir()
    for path in DEMO.glob("jobs/*/*.safetensors"):
        (root / "models" / "loras" / path.name).symlink_to(path)
    (root / "input" / "ctrl-shapes.png").symlink_to(DEMO / "jobs" / "shapes_i2v" / "ctrl.png")
    (root / "input" / "ctrl-w22.png").symlink_to(DEMO / "jobs" / "wan22_i2v" / "ctrl.png")
    return Files(models=root / "models")


def recipe_of(settings: Settings, model: Model, files: Files = Files(), precision: Precision | None = None) -> Recipe:  # noqa: B008
    boundary = None if model.experts is None else 0.875
    graph = comfyui_graph(settings, model=model, weights=Weights("base"), boundary=boundary, precision=precision)
    return comfyui_recipe(settings, graph, model=model, files=files, fps=8)


def test_text_to_video(comfyui: Files) -> None:
    recipe = recipe_of(settings_of("t2v-euler-simple-8"), T2V, comfyui)
    assert recipe.obstacles == recipe.notes == ()
    assert str(recipe.scheduler) == "euler, simple, shift 8 (ComfyUI)"
    assert (recipe.steps, recipe.guidance_scale, recipe.seed) == (20, 4.0, 1)
    assert recipe.prompt == "p0stcard a red square moving right across a meadow"
    assert (recipe.width, recipe.height, recipe.num_frames) == (Asked(96, 96), Asked(64, 64), Asked(9, 9))
    assert [(file.path.name, scale) for file, scale in recipe.loras(None)] == [("p0stcard_shapes.safetensors", 1.0)]
    assert recipe.lora_application == "merged"
    assert (recipe.precision, recipe.vae_dtype, recipe.float32_steps) == (
        Precision("float16", "cast"),
        "bfloat16",
        True,
    )
    assert (recipe.text_encoding, recipe.eight_bit, recipe.split) == ("comfyui", "truncated", None)
    assert (recipe.codec, recipe.fps) == (Codec("mp4", 23), 8)


def test_every_saved_file_gives_the_recipe_that_made_it(comfyui: Files) -> None:
    """Four formats of one run, and its graph: one recipe, but for the file."""
    folder = RECORDINGS / "t2v-euler-normal-3" / "float32"
    recipes = []
    for path in (*sorted(folder.glob("t2v-*")), folder / "prompt.json", folder / "workflow.json"):
        found = find_graph(path)
        assert found.graph is not None
        recipes.append(recipe_of(read_graph(found.graph, filename=path.name), T2V, comfyui))
    assert len(recipes) == 6
    assert len({dataclasses.replace(recipe, codec=Codec()) for recipe in recipes}) == 1


def test_more_than_one_video_in_a_batch_is_said() -> None:
    recipe = recipe_of(dataclasses.replace(settings_of("t2v-no-lora"), batch_size=2), T2V)
    assert "the first video" in recipe.notes[0]
    assert recipe.obstacles == ()


def test_two_loras_and_their_order(comfyui: Files) -> None:
    recipe = recipe_of(settings_of("t2v-two-loras"), T2V, comfyui)
    assert [(file.path.name, scale) for file, scale in recipe.loras(None)] == [
        ("p0stcard_shapes.safetensors", 0.8),
        ("p0stcard_low_vram.safetensors", 0.3),
    ]


def test_image_to_video(comfyui: Files) -> None:
    recipe = recipe_of(settings_of("i2v-euler-normal-3"), I2V, comfyui)
    assert recipe.obstacles == ()
    assert recipe.control_image is not None
    assert recipe.control_image.data == (DEMO / "jobs" / "shapes_i2v" / "ctrl.png").read_bytes()
    assert recipe.resize == Resize("bilinear_no_antialias", "center")
    assert (recipe.clip_image, recipe.conditioning) == ("original_stretched", None)
    assert recipe.pipeline == "WanImageToVideoPipeline"


@pytest.mark.parametrize(("name", "split"), [("wan22-t2v-20-10", 10), ("wan22-t2v-as-preview", 8)])
def test_two_experts(name: str, split: int, comfyui: Files) -> None:
    recipe = recipe_of(settings_of(name), HIGH_LOW, comfyui)
    assert recipe.obstacles == ()
    assert (recipe.split, recipe.boundary, recipe.steps) == (split, 0.875, 20)
    assert [file.path.name for file, _ in recipe.loras("high")] == ["tiny22_t2v_high_noise.safetensors"]
    assert [file.path.name for file, _ in recipe.loras("low")] == ["tiny22_t2v_low_noise.safetensors"]


def test_two_experts_from_an_image(comfyui: Files) -> None:
    recipe = recipe_of(settings_of("wan22-i2v-20-10"), HIGH_LOW_I2V, comfyui)
    assert recipe.obstacles == ()
    assert recipe.conditioning == Conditioning(latents="mode", rounded=False)
    assert recipe.clip_image == "resized"


def test_every_recording_gives_a_recipe(comfyui: Files) -> None:
    """One of three: generated, a sampler that is not supported yet, a size that is not."""
    refused = {}
    for path in sorted(RECORDINGS.glob("*/*/prompt.json")):
        name, dtype = path.parts[-3:-1]
        model = {"wan22-t": HIGH_LOW, "wan22-i": HIGH_LOW_I2V, "i2v-eul": I2V, "i2v-exa": I2V}.get(name[:7], T2V)
        recipe = recipe_of(settings_of(name, dtype), model, comfyui)
        if recipe.obstacles:
            refused[name] = recipe.obstacles[0]
    for name in ("deis", "ipndm", "lcm", "euler_ancestral"):
        assert f"the sampler {name} is not supported yet" in refused.pop(
            f"t2v-sampler-{name}", f"the sampler {name} is not supported yet"
        )
    assert "96x72: sizes that are no multiples of 16" in refused.pop("t2v-odd-size")
    assert "ctrl-shapes-96x64.png is not on this machine" in refused.pop("i2v-exact-size")  # not kept
    assert refused == {}


def test_odd_requests_are_floored_as_comfyui_does() -> None:
    recipe = recipe_of(settings_of("t2v-odd-size"), T2V)
    assert (recipe.width, recipe.height, recipe.num_frames) == (Asked(100, 96), Asked(72, 72), Asked(12, 9))


def test_fp8_by_option_and_by_name() -> None:
    settings = settings_of("t2v-fp8", "float16")
    assert settings.stages[0].weight_dtype.startswith("fp8") or "fp8" in settings.stages[0].unet
    assert "not supported yet" in limits_of(recipe_of(settings, T2V))["quantization"]
    plain = settings_of("t2v-no-lora")
    named = dataclasses.replace(plain, text_encoder="umt5_xxl_fp8_e4m3fn_scaled.safetensors")
    assert recipe_of(named, T2V).quantization.text_encoder == "fp8_scaled"
    assert "text encoder fp8_scaled" in limits_of(recipe_of(named, T2V))["quantization"]
    assert not recipe_of(plain, T2V).quantization


def test_precision_is_float16_unless_the_case_says_otherwise() -> None:
    settings = settings_of("t2v-no-lora")
    assert recipe_of(settings, T2V, precision=Precision("float32", "kept")).vae_dtype is None
    bfloat16 = recipe_of(settings, T2V, precision=Precision("bfloat16", "cast"))
    assert (bfloat16.precision.dtype, bfloat16.vae_dtype) == ("bfloat16", "bfloat16")
    assert any("dtype" in sentence for sentence in unknown_of(settings))


def test_noise_on_the_way_is_taken_for_the_cpus(comfyui: Files) -> None:
    assert recipe_of(settings_of("t2v-sampler-lcm"), T2V, comfyui).obstacles == ()
    assert any("lcm took its noise" in sentence for sentence in unknown_of(settings_of("t2v-sampler-lcm")))
    assert not any("noise" in sentence for sentence in unknown_of(settings_of("t2v-no-lora")))


@pytest.mark.parametrize(
    ("save", "codec", "eight_bit"),
    [
        ("t2v-euler-normal-3-float32_00001_.mp4", Codec("mp4", 23), "truncated"),
        ("t2v-euler-normal-3-float32_00002_.webm", Codec("webm", 32), "truncated"),
        ("t2v-euler-normal-3-float32_00003_.webp", Codec("webp", 80, 4), "truncated"),
        ("t2v-euler-normal-3-float32_00001_.png", Codec("apng", None), "truncated"),
    ],
)
def test_the_codec_is_that_of_the_node_that_wrote_the_file(save: str, codec: Codec, eight_bit: str) -> None:
    recipe = recipe_of(settings_of("t2v-euler-normal-3", filename=save), T2V)
    assert (recipe.codec, recipe.eight_bit) == (codec, eight_bit)


def staged(**changes: Any) -> Settings:
    """Wan 2.2's recording with its second sampler changed; `first__x`: the first."""
    settings = settings_of("wan22-t2v-20-10")
    first = {name.removeprefix("first__"): value for name, value in changes.items() if name.startswith("first__")}
    second = {name: value for name, value in changes.items() if not name.startswith("first__")}
    high, low = settings.stages
    return dataclasses.replace(
        settings, stages=(dataclasses.replace(high, **first), dataclasses.replace(low, **second))
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cfg": 1.0}, r"different cfg \(5 and 1\)"),
        ({"shift": 8.0}, r"different shift \(5 and 8\)"),
        ({"shift": None}, r"different shift \(5 and 8\)"),
        ({"sampler": "uni_pc"}, r"different sampler_name \(euler and uni_pc\)"),
        ({"first__sampler": "uni_pc", "sampler": "uni_pc"}, "uni_pc with two experts.*supported: euler"),
        ({"schedule": "simple"}, r"different scheduler \(normal and simple\)"),
        ({"steps": 30}, r"different steps \(20 and 30\)"),
        ({"start": 12}, "ends at step 10, and the second begins at 12"),
        ({"start": 8}, "ends at step 10, and the second begins at 8"),
        ({"end": 15}, "stops after step 15 of 20"),
        ({"add_noise": True}, "adds noise"),
        ({"first__leftover_noise": False}, "return_with_leftover_noise"),
        ({"first__end": None}, "does all steps"),
        ({"first__start": 2}, "begins at step 2"),
        ({"first__cfg": 0.5, "cfg": 0.5}, "cfg 0.5 is not supported yet"),
        ({"first__unet": "wan2.2_low_noise.safetensors", "unet": "wan2.2_high_noise.safetensors"}, "swapped"),
    ],
)  # fmt: skip
def test_what_two_samplers_cannot_do_yet(changes: Mapping[str, Any], says: str, comfyui: Files) -> None:
    obstacles = recipe_of(staged(**changes), HIGH_LOW, comfyui).obstacles
    assert any(re.search(says, obstacle) for obstacle in obstacles), obstacles


def test_the_spelling_of_a_number_is_no_difference(comfyui: Files) -> None:
    recipe = recipe_of(staged(shift=5.000000000000001), HIGH_LOW, comfyui)
    assert recipe.obstacles == ()
    one = recipe_of(staged(first__shift=5.000000000000001, shift=5.000000000000001), HIGH_LOW, comfyui)
    assert one.scheduler == recipe.scheduler


@pytest.mark.parametrize(
    ("name", "model", "says"),
    [
        ("wan22-t2v-20-10", T2V, "two samplers"),
        ("t2v-no-lora", HIGH_LOW, "one sampler"),
        ("t2v-no-lora", I2V, "needs an image"),
        ("i2v-euler-normal-3", T2V, "takes no image"),
        ("t2v-no-lora", MODELS["wan22_5b"], "not supported yet"),
    ],
)
def test_a_graph_of_another_model(name: str, model: Model, says: str) -> None:
    assert any(says in obstacle for obstacle in recipe_of(settings_of(name), model).obstacles)


@pytest.mark.parametrize(
    ("unet", "model", "says"),
    [
        ("wan2.1_t2v_1.3B_fp16.safetensors", T2V, "a 1.3B model"),
        ("wan2.1_t2v_14B_bf16.safetensors", MODELS["wan21_1b"], "a 14B model"),
        ("Wan2.1-I2V-14B-480P_fp16.safetensors", T2V, "image to video"),
        ("wan2.2_t2v_low_noise_14B_fp16.safetensors", T2V, "Wan 2.2"),
        ("wan2.1_i2v_480p_14B_bf16.safetensors", I2V, "the 480P model"),
        ("wan2.1_i2v_720p_14B_bf16.safetensors", I2V, None),
        ("wan2.1_t2v_14B_bf16.safetensors", T2V, None),
        ("my_finetune.safetensors", T2V, None),
    ],
)
def test_names_at_odds_with_the_model_are_said(unet: str, model: Model, says: str | None) -> None:
    settings = settings_of("t2v-no-lora")
    settings = dataclasses.replace(settings, stages=(dataclasses.replace(settings.stages[0], unet=unet),))
    notes = recipe_of(settings, model).notes
    assert notes == () if says is None else says in notes[0]


def with_lora(name: str) -> Settings:
    settings = settings_of("t2v-no-lora")
    entry = LoraEntry(name=name, strength=1.0000000000000002)
    return dataclasses.replace(settings, stages=(dataclasses.replace(settings.stages[0], loras=(entry,)),))


def test_a_lora_that_is_not_here_is_named_and_hinders(tmp_path: Path) -> None:
    recipe = recipe_of(with_lora("wan\\mine.safetensors"), T2V, Files(models=tmp_path))
    assert str(recipe.lora_files[0]) == "mine.safetensors (not on this machine)"
    assert "pipeline.models" in recipe.obstacles[0]
    other = recipe_of(with_lora("other.safetensors"), T2V, Files(models=tmp_path))
    assert other.lora_files != recipe.lora_files


@pytest.mark.parametrize("name", ["sub/mine.safetensors", "sub\\mine.safetensors", "gone/mine.safetensors"])
def test_a_lora_is_found_by_path_or_by_name(name: str, tmp_path: Path) -> None:
    source = DEMO / "jobs" / "shapes_t2v" / "p0stcard_shapes.safetensors"
    (tmp_path / "loras" / "sub").mkdir(parents=True)
    (tmp_path / "loras" / "sub" / "mine.safetensors").symlink_to(source)
    recipe = recipe_of(with_lora(name), T2V, Files(models=tmp_path))
    assert (recipe.lora_files[0].path.name, recipe.lora_scales, recipe.obstacles) == ("mine.safetensors", (1.0,), ())


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "C:\\x\\secret.safetensors", "..", ""])
def test_no_name_leads_out_of_the_folders(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret.safetensors").symlink_to(DEMO / "jobs" / "shapes_t2v" / "p0stcard_shapes.safetensors")
    (tmp_path / "models" / "loras").mkdir(parents=True)
    found = find_lora(name, None, models=tmp_path / "models", folders=(), known=())
    assert found.obstacle is not None
    assert "is not on this machine" in found.obstacle


def lora(path: Path, prefix: str) -> Path:
    pair = {
        f"{prefix}.lora_A.weight": np.zeros((2, 4), np.float32),
        f"{prefix}.lora_B.weight": np.zeros((4, 2), np.float32),
    }
    save_file(pair, path)
    return path


@pytest.mark.parametrize(
    ("prefix", "loads"),
    [
        ("diffusion_model.blocks.0.self_attn.q", True),
        ("lora_unet_blocks_0_self_attn_q", True),
        ("lora_unet__blocks_0_self_attn_q", True),
        ("blocks.0.self_attn.q", False),
        ("transformer.blocks.0.attn1.to_q", False),
        ("base_model.model.blocks.0.self_attn.q", False),
        ("diffusion_model.transformer_1.blocks.0.self_attn.q", False),
    ],
)
def test_keys_that_comfyui_loads(prefix: str, loads: bool, tmp_path: Path) -> None:
    """As measured: ComfyUI loads all 60 weights of a layout, or none and says so on its console alone."""
    (tmp_path / "loras").mkdir()
    path = lora(tmp_path / "loras" / "mine.safetensors", prefix)
    assert (why_nothing_loads(read_header(path).shapes) is None) is loads
    recipe = recipe_of(with_lora("mine.safetensors"), T2V, Files(models=tmp_path))
    assert len(recipe.lora_files) == loads
    if not loads:
        assert "ComfyUI loads nothing of mine.safetensors" in recipe.notes[0]
        assert recipe.obstacles == ()


def test_the_lora_of_the_other_expert_is_said(comfyui: Files) -> None:
    settings = settings_of("wan22-t2v-20-10")
    high, low = settings.stages
    swapped = dataclasses.replace(
        settings, stages=(dataclasses.replace(high, loras=low.loras), dataclasses.replace(low, loras=high.loras))
    )
    recipe = recipe_of(swapped, HIGH_LOW, comfyui)
    assert [file.path.name for file, _ in recipe.loras("high")] == ["tiny22_t2v_low_noise.safetensors"]
    assert sum("is loaded into the" in note for note in recipe.notes) == 2


def test_an_image_that_is_not_here_or_damaged(tmp_path: Path) -> None:
    settings = settings_of("i2v-euler-normal-3")
    missing = recipe_of(settings, I2V)
    assert str(missing.control_image) == "ctrl-shapes.png (not on this machine)"
    assert any("ctrl-shapes.png is not on this machine" in obstacle for obstacle in missing.obstacles)
    (tmp_path / "ctrl-shapes.png").write_text("no image")
    damaged = recipe_of(settings, I2V, Files(folders=(tmp_path,)))
    assert any("is not a readable image" in obstacle for obstacle in damaged.obstacles)
    Image.new("RGB", (96, 64)).save(tmp_path / "ctrl-shapes.png")
    assert recipe_of(settings, I2V, Files(folders=(tmp_path,))).control_image is not None


def test_a_scheduler_of_another_program() -> None:
    graph = json.loads((RECORDINGS / "t2v-no-lora" / "float32" / "prompt.json").read_text())
    for node in graph.values():
        if node["class_type"] == "KSampler":
            node["inputs"]["scheduler"] = "beta57"
    with pytest.raises(GraphError, match="beta57"):
        recipe_of(read_graph(graph), T2V)
