"""What to set in ComfyUI for a preview, against graphs that real ComfyUI ran; and what cannot be had there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from parity.case.load import DEMO, load_case
from pipelines.catalog import MODELS
from pipelines.comfyui.advice import Advice, advise
from pipelines.comfyui.changes import changes, node_settings
from pipelines.comfyui.graph import read_graph
from pipelines.comfyui.lora_layouts import why_not_loaded
from pipelines.comfyui.preview import comfyui_text, split_of
from pipelines.comfyui.recipe import Files, comfyui_graph, comfyui_recipe
from pipelines.comfyui.settings import Save, Settings
from pipelines.comfyui.write import api_graph
from pipelines.comfyui_text import unescaped, weighted
from pipelines.engine.engine import Engine
from pipelines.engine.torch_setup import declare_missing_torchvision_operators
from pipelines.media.control_image import from_bytes, resized
from pipelines.quantization import Quantization
from pipelines.recipe import Codec, LoraFile, Precision, Recipe
from pipelines.scheduler import flow_schedule
from pipelines.weights import Weights
from tests.pipelines.comfyui.test_write import preview, recorded
from tests.support.oracle import SAMPLES_5B, sample_recipe

SHAPES = load_case(DEMO / "shapes-faithful.yaml").preview
SHAPES_I2V = load_case(DEMO / "shapes-i2v-faithful.yaml").preview


def settings_of(recipe: Recipe) -> Settings:
    settings = advise(recipe).settings
    assert settings is not None
    return settings


def missing(advice: Advice) -> list[str]:
    return [each.what for each in advice.missing]


def test_a_preview_needs_the_graph_that_gave_it_at_146_db() -> None:
    wanted = recorded("t2v-euler-normal-3", "t2v-euler-normal-3-float32_00003_.webp")
    assert settings_of(SHAPES) == wanted


def test_a_preview_of_wan_22_needs_the_graph_that_gave_it_at_118_db() -> None:
    recipe = replace(sample_recipe("wan22_t2v", 0), steps=20)
    assert settings_of(recipe) == recorded("wan22-t2v-as-preview", "wan22-t2v-as-preview-float32_00001_.webp")


def test_a_preview_with_an_image_needs_the_graph_with_the_resized_image() -> None:
    made = settings_of(SHAPES_I2V)
    assert made.image == "ctrl-96x64.png"
    theirs = recorded("i2v-exact-size")
    assert replace(made, image=theirs.image, save=theirs.save) == theirs


@pytest.mark.parametrize(("steps", "split"), [(4, 2), (8, 3), (10, 4), (20, 8), (25, 11), (30, 13), (40, 17), (50, 21)])
def test_the_split_is_that_of_the_trainers_boundary(steps: int, split: int) -> None:
    assert split_of(replace(sample_recipe("wan22_t2v", 0), steps=steps)) == split


def test_what_can_be_had_is_said_first() -> None:
    advice = advise(sample_recipe("t2v_basic", 0))
    assert advice.answer == "ComfyUI can give this preview up to rounding."
    assert advice.short == "In short: sampler euler, scheduler normal, shift 3, 6 steps, cfg 5, seed 42."
    assert any("--bf16-unet" in sentence for sentence in advice.first)
    advice = advise(sample_recipe("wan22_t2v", 0))
    assert advice.short is not None
    assert "shift 5 on both models, 6 steps, split at step 3" in advice.short


@pytest.mark.draws
def test_the_written_graph_generates_the_preview(engine: Engine) -> None:
    """Generated as ComfyUI does, which recordings of it prove elsewhere: 140 dB, 85 with CLIP's own scaling."""
    for preview_recipe, least in ((SHAPES, 140.0), (SHAPES_I2V, 85.0)):
        wanted = replace(preview_recipe, steps=2)
        settings = read_graph(api_graph(settings_of(wanted)))
        model, image = MODELS[wanted.model], wanted.control_image
        if image is not None and wanted.resize is not None:  # by hand, as the advice says
            stored = BytesIO()
            resized(image, wanted.resize, wanted.width.applied, wanted.height.applied).save(stored, "PNG")
            image = from_bytes(stored.getvalue(), str(settings.image))
        graph = comfyui_graph(
            settings, model=model, weights=wanted.weights, boundary=None, precision=Precision("float32", "kept")
        )
        files = Files(loras=wanted.lora_files, image=image)
        made = comfyui_recipe(settings, graph, model=model, files=files, fps=wanted.fps)
        theirs, ours = (np.asarray(engine.denoise(recipe)) for recipe in (wanted, made))
        error = float(np.mean((theirs - ours) ** 2))
        assert error < float(np.ptp(theirs)) ** 2 / 10 ** (least / 10)  # in decibels, of the latents' range


UNIPC, QUANTIZED, SAMPLED = (
    "its UniPC schedule",
    "its quantized weights (transformer qfloat8)",
    "the noise in its control",
)


def test_what_cannot_be_had_is_named() -> None:
    recipe = sample_recipe("t2v_basic", 0)
    old = replace(recipe, scheduler=flow_schedule("unipc", 3.0))
    assert missing(advise(old)) == [UNIPC]
    assert advise(old).answer == "ComfyUI can give this preview up to rounding, except for its UniPC schedule."
    assert missing(advise(replace(recipe, quantization=Quantization(transformer="qfloat8")))) == [QUANTIZED]
    assert missing(advise(sample_recipe("wan22_i2v", 0)))[0].startswith(SAMPLED)
    assert missing(advise(replace(recipe, codec=Codec("jpeg", 75)))) == ["its JPEG"]
    large = replace(recipe.width, applied=512)
    assert missing(advise(replace(recipe, vae_tiling=True, width=large))) == ["the tiles of its VAE"]
    assert missing(advise(replace(recipe, prompt=r"a \(b\)"))) == ["a parenthesis of its prompt"]


@pytest.mark.parametrize(("job", "index"), SAMPLES_5B[:1])
def test_wan_22_5b_is_refused_by_its_node(job: str, index: int) -> None:
    advice = advise(sample_recipe(job, index))
    assert advice.settings is None
    assert advice.short is None
    assert "Wan22ImageToVideoLatent" in advice.answer


def test_a_preview_that_nobody_can_reproduce_gets_no_settings() -> None:
    recipe = sample_recipe("t2v_basic", 0)
    advice = advise(replace(recipe, obstacles=("the LoRA of step 250 was pruned",)))
    assert advice.settings is None
    assert advice.answer.endswith("the LoRA of step 250 was pruned")
    assert advise(replace(recipe, seed=None)).settings is None


BLOCK = "blocks.0.self_attn.q"


@pytest.mark.parametrize(
    "keys",
    [
        [f"diffusion_model.{BLOCK}.lora_A.weight", f"diffusion_model.{BLOCK}.lora_B.weight"],
        [f"diffusion_model.{BLOCK}.lora_down.weight", f"diffusion_model.{BLOCK}.alpha"],
        [f"diffusion_model.{BLOCK}.lora_A.default.weight"],
        ["lora_unet_blocks_0_self_attn_q.lora_down.weight", "lora_unet__blocks_0_self_attn_q.alpha"],
        [f"diffusion_model.{BLOCK}.lokr_w1", f"diffusion_model.{BLOCK}.lokr_w2_a"],
    ],
)
def test_layouts_that_comfyui_loads(keys: Sequence[str]) -> None:
    assert why_not_loaded(tuple(keys)) is None


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (f"{BLOCK}.lora_A.weight", "loads nothing of keys like"),
        (f"transformer.{BLOCK}.lora_A.weight", "loads nothing of keys like transformer.blocks"),
        (f"base_model.model.{BLOCK}.lora_A.weight", "loads nothing of keys like base_model"),
        (f"diffusion_model.transformer_1.{BLOCK}.lora_A.weight", "split_multistage_loras: true"),
        ("diffusion_model.condition_embedder.time_proj.lora_A.weight", "is not known"),
    ],
)
def test_layouts_that_it_does_not_load(key: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    save_file({key: np.zeros((4, 4), dtype=np.float32)}, path)
    file = LoraFile(path=path, sha256="0" * 64)
    advice = advise(replace(sample_recipe("t2v_basic", 0), lora_files=(file,), lora_scales=(1.0,)))
    assert missing(advice) == ["the LoRA mine.safetensors as it is"]
    assert reason in advice.missing[0].why


@pytest.mark.parametrize(
    "text", ["a (red) square", "((x)) [y]: (z:1.4)", ")(", "plain", "“curly”  and\nlines", "&lt;b&gt;"]
)
def test_a_prompt_reaches_comfyui_as_the_trainer_reads_it(text: str) -> None:
    declare_missing_torchvision_operators()
    from diffusers.pipelines.wan.pipeline_wan import prompt_clean

    written = comfyui_text(text)
    assert not weighted(written)
    assert unescaped(written) == prompt_clean(text)


def test_numbers_are_comfyuis() -> None:
    recipe = sample_recipe("t2v_basic", 0)
    (stage,) = settings_of(replace(recipe, seed=-2, guidance_scale=0.5)).stages
    assert (stage.seed, stage.cfg) == (2**64 - 2, 1.0)  # guidance below 1 is none there, and some in ComfyUI
    still = settings_of(replace(recipe, num_frames=replace(recipe.num_frames, applied=1), codec=Codec("png", None)))
    assert (still.length, still.fps, still.save.node) == (1, None, "SaveImage")


def test_numbers_that_its_nodes_refuse_are_said() -> None:
    recipe = sample_recipe("t2v_basic", 0)
    for change, what in (
        ({"guidance_scale": 120.0}, "its cfg of 120.0"),
        ({"lora_scales": (-101.0,)}, "its strength_model of -101.0"),
        ({"steps": 10_001}, "its steps of 10001"),
    ):
        advice = advise(replace(recipe, **change))
        assert missing(advice) == [what]
        assert " must be from " in advice.missing[0].why
    assert any("rounds cfg" in sentence for sentence in advise(replace(recipe, guidance_scale=3.333)).first)


def test_published_models_have_the_files_that_people_have() -> None:
    recipe = replace(sample_recipe("wan22_t2v", 0), weights=Weights("ai-toolkit/Wan2.2-T2V-A14B-Diffusers-bf16"))
    settings = settings_of(recipe)
    assert [stage.unet for stage in settings.stages] == [
        "wan2.2_t2v_high_noise_14B_fp16.safetensors",
        "wan2.2_t2v_low_noise_14B_fp16.safetensors",
    ]
    assert settings.text_encoder == "umt5_xxl_fp16.safetensors"


def test_nothing_changes_in_a_graph_that_is_set_right() -> None:
    wanted = preview("t2v_basic", 0)
    (stage,) = wanted.stages
    named = replace(stage, unet="my/wan_bf16.safetensors", sampler="ddim", shift=3.0000000001)
    assert changes(replace(wanted, stages=(named,), width=wanted.width + 4), wanted) == ()
    settings = preview("wan22_t2v", 0)
    high, low = settings.stages
    assert changes(replace(settings, stages=(high, replace(low, seed=7, end=6))), settings) == ()


def test_what_a_template_is_set_to_is_said_value_by_value() -> None:
    wanted = settings_of(SHAPES)
    found = changes(recorded("t2v-unipc-simple-8"), wanted)
    assert [(row.node, row.name, row.now, row.value) for row in found] == [
        ("ModelSamplingSD3 48", "shift", "8", "3"),
        ("KSampler 3", "sampler_name", "uni_pc", "euler"),
        ("KSampler 3", "scheduler", "simple", "normal"),
        ("SaveVideo 58", "file", "mp4, quality 23", "webp, quality 80"),
    ]
    bare = changes(recorded("t2v-no-shift-node"), wanted)
    assert bare[0].now == "no such node, which is 8"
    assert [row.value for row in changes(recorded("wan22-t2v-20-10"), recorded("wan22-t2v-as-preview"))] == ["8", "8"]
    loras = changes(recorded("t2v-lora-0.5"), wanted)[0]
    assert (loras.name, loras.now) == ("loras", "p0stcard_shapes.safetensors at 0.5")
    assert changes(recorded("t2v-lora-0.5"), wanted, same=("loras",))[0].name == "file"


def test_a_value_is_to_be_changed_where_it_stands() -> None:
    """In a node of its own for SamplerCustomAdvanced, in a primitive that is linked to several nodes."""
    wanted = replace(settings_of(SHAPES), negative_prompt="blurry", fps=12.0)
    (stage,) = wanted.stages
    stage = replace(stage, sampler="heun", schedule="simple", cfg=6.0, seed=7, loras=())
    found = changes(recorded("t2v-custom-sampler"), replace(wanted, stages=(stage,)))
    assert {row.name: row.node for row in found} == {
        "loras": "LoraLoaderModelOnly 50",
        "seed": "RandomNoise 62",
        "cfg": "CFGGuider 65",
        "sampler_name": "KSamplerSelect 63",
        "scheduler": "BasicScheduler 64",
        "text": 'CLIPTextEncode 7 "CLIP Text Encode (Prompt)"',
        "fps": "CreateVideo 57",
        "file": "SaveVideo 58",
    }
    graph = api_graph(wanted)
    graph["90"] = {"class_type": "PrimitiveInt", "inputs": {"value": 30}, "_meta": {"title": "Steps"}}
    graph["3"]["inputs"]["steps"] = ["90", 0]
    (change,) = changes(read_graph(graph), wanted)
    assert (change.node, change.now, change.value) == ('PrimitiveInt 90 "Steps"', "30", "20")


def test_an_image_that_one_side_lacks_is_said() -> None:
    text, image = recorded("t2v-euler-normal-3"), recorded("i2v-exact-size")
    added = {row.name: (row.now, row.value) for row in changes(text, image)}
    assert added["image"] == ("none", "ctrl-shapes-96x64.png")
    assert "crop" in added
    assert {row.name: row.value for row in changes(image, text)}["image"] == "none"
    assert "image" not in {row.name for row in changes(image, replace(image, image="other.png"), same=("image",))}


def test_a_hostile_value_reaches_no_terminal_as_it_is() -> None:
    wanted = settings_of(SHAPES)
    (change,) = changes(replace(wanted, prompt="\x1b[2Jred\n" + "x" * 10_000), wanted)
    assert change.now is not None
    assert change.now.isprintable()
    assert len(change.now) == 500


def test_one_step_of_wan_22_needs_one_sampler() -> None:
    advice = advise(replace(sample_recipe("wan22_t2v", 0), steps=1))
    assert advice.settings is not None
    (stage,) = advice.settings.stages
    assert (stage.unet, stage.end, stage.add_noise) == ("tiny-wan22-t2v-high.safetensors", None, True)
    assert "every step is the high-noise expert's: one KSampler with it alone" in advice.first


def test_another_number_of_samplers_is_said() -> None:
    found = changes(preview("t2v_basic", 0), preview("wan22_t2v", 0))
    assert (found[0].node, found[0].now) == ("the samplers", "1")
    assert found[0].value.startswith("2: KSamplerAdvanced")


def test_every_value_is_listed_once_node_by_node() -> None:
    rows = node_settings(replace(preview("wan22_t2v", 0), save=Save(node="SaveVideo", format="mp4", quality=23)))
    assert len({(row.node, row.name) for row in rows}) == len(rows)
    assert [row.value for row in rows if row.name == "shift"] == ["5", "5"]
