"""The code of a fix does what it says: keys reach the recipe, Python gives the engine's bits, no text breaks out."""

from __future__ import annotations

import ast
import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from parity.case.load import DEMO
from parity.factors.catalogue import CATALOGUE
from parity.factors.code import code_of, combined
from parity.factors.findings import find_differences
from parity.results.diagnosis import Snippet
from pipelines.drift import Factor, differing_factors, take_all
from pipelines.lora_files import lora_file
from pipelines.media.video import encode
from pipelines.quantization import Quantization
from pipelines.recipe import (
    Asked,
    Codec,
    EarlierMerge,
    Precision,
    Recipe,
    Resize,
)
from pipelines.reference.inference import inference_recipe, reference_graph, request_of_preview
from pipelines.reference.request import Request
from pipelines.scheduler import flow_schedule
from pipelines.weights import Weights
from tests.support.oracle import assert_recorded, checkpoint_of, model_of, sample_recipe, whole_pipeline
from tests.support.pasted import generate_with, paste, plain_pipeline
from tests.support.paths import DATA

BOOM = '\'"""\n# \r\nboom()\n\x00\u2028\u202e\udc80\\'
"""What would end a string, a comment or a line, or hide what follows."""


def text(code: Snippet | None, language: str = "python") -> str:
    assert code is not None
    assert code.language == language
    return code.text


def request_recipe(job: str, request: dict[str, Any]) -> Recipe:
    model = model_of(job)
    graph = reference_graph(model, str(checkpoint_of(job)))
    return inference_recipe(Request.model_validate(request), 0, graph, model=model, folder=Path("/"))


def test_keys_sent_in_a_request_make_it_the_previews() -> None:
    preview = dataclasses.replace(
        sample_recipe("wan22_t2v", 0),
        prompt='a "cat"\n in snow, 雪',
        negative_prompt="blur",
        width=Asked(100, 96),
        height=Asked(70, 64),
        num_frames=Asked(12, 9),
        steps=7,
        guidance_scale=3.5,
        seed=7,
        fps=12,
        lora_scales=(0.5, 0.5),
    )
    files = DEMO / "jobs" / "wan22_t2v"
    swapped = [
        {"path": str(files / f"tiny22_t2v_{file}_noise.safetensors"), "transformer": expert}
        for file, expert in (("low", "high"), ("high", "low"))
    ]
    request = {
        "model": "wan22_14b_t2v",
        "loras": swapped,
        "prompts": [{"prompt": "a dog", "width": 128, "height": 96, "num_frames": 5, "fps": 24, "seed": 1}],
    }
    asked: tuple[Factor, ...] = (
        *("prompt", "negative_prompt", "snapping", "frame_count", "steps", "guidance", "seed", "fps"),
        *("lora_file_high", "lora_file_low", "lora_scale_high", "lora_scale_low"),
    )
    before = differing_factors(preview, request_recipe("wan22_t2v", request))
    assert set(asked) <= set(before)
    for factor in asked:
        keys = json.loads(text(code_of(factor, preview), "json"))
        changed = {**request, **({} if "loras" in keys else {"prompts": [request["prompts"][0] | keys]})} | (
            keys if "loras" in keys else {}
        )
        assert factor not in differing_factors(preview, request_recipe("wan22_t2v", changed))
    whole = json.loads(text(combined(asked, preview), "json"))
    rest = differing_factors(preview, request_recipe("wan22_t2v", {"model": "wan22_14b_t2v"} | whole))
    assert set(rest) == set(before) - set(asked)


@pytest.mark.parametrize(
    ("factor", "changes"),
    [
        ("guidance", {"guidance_scale": 25.0}),  # above what the API accepts
        ("seed", {"seed": -3}),
        ("snapping", {"width": Asked(32, 32)}),
        ("frame_count", {"num_frames": Asked(2001, 2001)}),
    ],
)
def test_what_the_api_does_not_accept_is_python(factor: Factor, changes: dict[str, Any]) -> None:
    code = text(code_of(factor, dataclasses.replace(sample_recipe("t2v_basic", 0), **changes)))
    assert "arguments = {" in code
    assert "In a request" not in code


@pytest.mark.parametrize(
    ("factor", "changes"),
    [
        ("quantization", {"quantization": Quantization("qfloat8", "qfloat8")}),
        ("compilation", {"compiled": False}),
        ("vae_norm", {"vae_norm": "float32"}),
        ("seed", {"seed": None}),
        ("boundary", {"boundary": None}),
        ("control_image", {"control_image": None}),
        ("merge_residue", {"earlier_merges": ()}),
        ("lora_file", {"lora_files": (), "lora_scales": ()}),
        (
            "lora_application",
            {"lora_files": (lora_file(DATA / "networks" / "lokr_full.safetensors"),), "lora_application": "side_path"},
        ),
    ],
)
def test_what_no_code_can_do_has_none(factor: Factor, changes: dict[str, Any]) -> None:
    recipe = dataclasses.replace(sample_recipe("t2v_basic", 0), **changes)
    assert code_of(factor, recipe) is None
    together = text(combined([factor, "scheduler"], recipe))
    assert f"# {factor}: {CATALOGUE[factor].fix(recipe)}" in together.splitlines()


def test_findings_carry_the_code_of_their_factor() -> None:
    preview = sample_recipe("t2v_basic", 0)
    inference = request_recipe("t2v_basic", request_of_preview(preview).model_dump(exclude_none=True))
    found = find_differences(preview, inference)
    assert [finding.code for finding in found] == [
        code_of(name, preview) for name in differing_factors(preview, inference)
    ]
    assert all(finding.code is not None for finding in found)


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    folder = tmp_path / "'; boom()\n# \u202e"
    folder.mkdir()
    shutil.copy(sample_recipe("i2v_basic", 0).lora_files[0].path, folder / "a.safetensors")
    recipe = sample_recipe("i2v_basic", 0)
    assert recipe.control_image is not None
    lora = lora_file(folder / "a.safetensors")
    recipe = dataclasses.replace(
        recipe,
        prompt=BOOM,
        negative_prompt=BOOM,
        weights=Weights(BOOM, text_encoder=BOOM + "e", vae=BOOM + "v", transformers=BOOM + "t"),
        lora_files=(lora,),
        control_image=dataclasses.replace(recipe.control_image, source=f"{BOOM}.png"),
        earlier_merges=(EarlierMerge((lora,), 1.0),),
        quantization=Quantization(BOOM),
        precision=Precision("float32", "kept"),
        boundary=0.9,
    )
    for application in ("merged", "side_path", "adapter"):
        changed = dataclasses.replace(recipe, lora_application=application)
        for factors in ([*CATALOGUE], *([factor] for factor in CATALOGUE)):
            code = combined(factors, changed)
            if code is None:
                continue
            assert all(char.isprintable() or char == "\n" for char in code.text)
            if code.language == "json":
                json.loads(code.text)
                continue
            called = {node.id for node in ast.walk(ast.parse(code.text)) if isinstance(node, ast.Name)}
            assert "boom" not in called
    whole = BOOM.replace("\udc80", "")  # no request can hold half a character
    asked = dataclasses.replace(recipe, prompt=whole, negative_prompt=whole)
    keys = json.loads(text(combined(["prompt", "negative_prompt"], asked), "json"))
    assert keys == {"prompt": whole, "neg": whole}
    python = text(combined(["prompt", "negative_prompt", "scheduler"], recipe))
    arguments = next(node for node in ast.parse(python).body if ast.unparse(node).startswith("arguments = "))
    assert isinstance(arguments, ast.Assign)
    assert ast.literal_eval(arguments.value) == {"prompt": BOOM, "negative_prompt": BOOM}


def test_each_import_stands_once_and_first() -> None:
    code = text(
        combined([*CATALOGUE], dataclasses.replace(sample_recipe("i2v_basic", 0), lora_application="side_path"))
    )
    body = ast.parse(code).body
    imports = [ast.unparse(node) for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = [line.split()[1] for line in imports]
    assert len(modules) == len(set(modules)) > 2
    assert all(isinstance(node, ast.Import | ast.ImportFrom) for node in body[: len(imports)])


def test_a_file_is_written_as_the_trainer_writes_it(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    for codec in (Codec("webp", 80), Codec("jpeg", 75), Codec("png", None)):
        recipe = dataclasses.replace(sample_recipe("t2v_basic", 0), codec=codec, fps=12)
        save = paste(code_of("codec", recipe), None)["save"]
        save([Image.fromarray(frame) for frame in pixels], tmp_path / "output")
        assert (tmp_path / "output").read_bytes() == encode(pixels, codec, 12)


@pytest.mark.parametrize("crop", ["stretch", "center"])
def test_an_image_is_resized_as_the_engine_does(crop: Any) -> None:
    from pipelines.media.control_image import from_bytes, resized

    file = DEMO / "jobs" / "i2v_basic" / "ctrl.png"
    recipe = dataclasses.replace(
        sample_recipe("i2v_basic", 0),
        control_image=from_bytes(file.read_bytes(), str(file)),
        resize=Resize("bicubic", crop),
        width=Asked(96, 96),
        height=Asked(160, 160),
    )
    assert recipe.control_image is not None
    assert recipe.resize is not None
    image = paste(code_of("resize", recipe), None)["arguments"]["image"]
    assert image.size == (96, 160)
    assert image.tobytes() == resized(recipe.control_image, recipe.resize, 96, 160).tobytes()


def weights_of(pipe: Any) -> list[Any]:
    parts = [
        part for name in ("transformer", "transformer_2", "text_encoder", "vae") if (part := getattr(pipe, name, None))
    ]
    return [tensor for part in parts for tensor in (*part.parameters(), *part.buffers())]


def same(one: Any, other: Any) -> bool:
    """Dtypes and bits of all weights."""
    import torch

    pairs = zip(weights_of(one), weights_of(other), strict=True)
    return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)


@pytest.mark.draws
def test_settings_reach_the_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from pipelines.engine import vae_norm

    recipe = sample_recipe("t2v_basic", 0)
    pipe = plain_pipeline(recipe)
    from diffusers.models.autoencoders.autoencoder_kl_wan import WanRMS_norm

    for schedule in (flow_schedule("unipc", 3.0), flow_schedule("flow_match_euler", 5.0, use_beta_sigmas=True)):
        changed = dataclasses.replace(recipe, scheduler=schedule)
        paste(code_of("scheduler", changed), pipe)
        pipe.scheduler.set_timesteps(6)
        assert tuple(map(float, pipe.scheduler.sigmas)) == schedule.sigmas(6)
    for tiles in (True, False):
        paste(code_of("vae_tiling", dataclasses.replace(recipe, vae_tiling=tiles)), pipe)
        assert pipe.vae.use_tiling is tiles
    paste(code_of("boundary", dataclasses.replace(recipe, boundary=0.5)), pipe)
    assert pipe.config.boundary_ratio == 0.5
    ours = whole_pipeline(recipe)
    vae_norm.apply(ours, "vae_dtype")
    latents = torch.randn(1, 16, 2, 4, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    before = pipe.vae.decode(latents).sample
    monkeypatch.setattr(WanRMS_norm, "forward", WanRMS_norm.forward)  # pasted code replaces it for everybody
    paste(code_of("vae_norm", dataclasses.replace(recipe, vae_norm="vae_dtype")), pipe)
    assert torch.equal(pipe.vae.decode(latents).sample, ours.vae.decode(latents).sample)
    assert not torch.equal(pipe.vae.decode(latents).sample, before)


@pytest.mark.draws
def test_blocks_are_compiled_as_the_engine_does() -> None:
    """By the calls: loading the compiler takes longer than all other tests of this file."""
    import torch

    from pipelines.engine.engine import _compile

    class Transformer:
        def __init__(self) -> None:
            self.calls: list[dict[str, Any]] = []

        def compile_repeated_blocks(self, **how: Any) -> None:
            self.calls.append(how)

    ours, pasted = (SimpleNamespace(transformer=Transformer(), transformer_2=Transformer()) for _ in range(2))
    _compile(ours)
    paste(code_of("compilation", dataclasses.replace(sample_recipe("wan22_t2v", 0), compiled=True)), pasted)
    assert pasted.transformer.calls == ours.transformer.calls
    assert pasted.transformer_2.calls == ours.transformer_2.calls != []
    assert torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False


@pytest.mark.draws
@pytest.mark.parametrize(
    ("job", "changes"),
    [
        ("t2v_basic", {"precision": Precision("float32", "kept")}),
        ("wan22_t2v", {"precision": Precision("bfloat16", "cast"), "lora_scales": (0.6, 0.0)}),
    ],
)
def test_weights_are_the_engines_bit_for_bit(job: str, changes: dict[str, Any]) -> None:
    import torch

    from pipelines.engine import lora, merge_residue, precision

    recipe = dataclasses.replace(sample_recipe(job, 0), **changes)
    checkpoint = recipe.weights.checkpoint
    elsewhere = Weights(checkpoint, text_encoder=str(checkpoint), vae=f"{checkpoint}/vae")
    merges = (EarlierMerge(recipe.lora_files, 0.3), EarlierMerge(recipe.lora_files, -0.7))
    recipe = dataclasses.replace(recipe, earlier_merges=merges, weights=elsewhere)
    ours = whole_pipeline(recipe)
    precision.cast(ours, recipe.precision)
    with torch.no_grad():
        merge_residue.replay(ours, merges)
    lora.apply(ours, recipe)
    plain = plain_pipeline(recipe)
    assert not same(plain, ours)
    known = paste(combined(["checkpoint", "precision", "merge_residue", "lora_application"], recipe), plain)
    assert same(known["pipe"], ours)
    assert type(known["pipe"]) is type(ours)


@pytest.mark.draws
def test_lokr_and_a_file_for_both_experts_are_merged_too(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    from pipelines.engine import lora

    whole: dict[str, Any] = {}
    one = sample_recipe("wan22_t2v", 0)
    for file, tag in zip(one.lora_files, (".transformer_1.", ".transformer_2."), strict=True):
        whole |= {key.replace(".", tag, 1): tensor for key, tensor in load_file(file.path).items()}
    save_file(whole, tmp_path / "both.safetensors")
    both = tuple(lora_file(tmp_path / "both.safetensors", expert) for expert in ("high", "low"))
    recipes = [dataclasses.replace(one, lora_files=both, lora_scales=(0.6, 0.4))]
    for name in ("lokr_full", "lokr_factored_scales"):
        files = (lora_file(DATA / "networks" / f"{name}.safetensors"),)
        recipes.append(dataclasses.replace(sample_recipe("t2v_basic", 0), lora_files=files, lora_scales=(0.7,)))
    for recipe in recipes:
        ours, plain = whole_pipeline(recipe), plain_pipeline(recipe)
        lora.apply(ours, recipe)
        assert not same(plain, ours)
        paste(code_of("lora_application", recipe), plain)
        assert same(plain, ours)
    adapter = text(code_of("lora_application", dataclasses.replace(recipes[0], lora_application="adapter")))
    assert "load_lora_weights(of_expert(" in adapter


@pytest.mark.draws
@pytest.mark.parametrize("job", ["t2v_basic", "wan22_t2v"])
def test_an_adapter_is_loaded_as_the_engine_does(job: str) -> None:
    import torch

    from pipelines.engine import lora

    recipe = dataclasses.replace(sample_recipe(job, 0), lora_application="adapter", lora_scales=(0.6,))
    if job == "wan22_t2v":
        recipe = dataclasses.replace(recipe, lora_scales=(0.6, 0.4))
    ours, plain = whole_pipeline(recipe), plain_pipeline(recipe)
    lora.apply(ours, recipe)
    paste(code_of("lora_application", recipe), plain)
    assert same(ours, plain)
    for part in (part for part in ("transformer", "transformer_2") if getattr(ours, part, None) is not None):
        layers = [
            (getattr(ours, part).get_submodule("blocks.0.attn1.to_q")),
            getattr(plain, part).blocks[0].attn1.to_q,
        ]
        x = torch.randn(2, layers[0].in_features, generator=torch.Generator().manual_seed(0)).bfloat16()
        assert torch.equal(layers[0](x), layers[1](x))


@pytest.mark.draws
@pytest.mark.parametrize(
    ("job", "index", "wrong"),
    [
        ("t2v_basic", 0, {"steps": 3, "guidance_scale": 2.0, "seed": 1, "prompt": "a dog", "negative_prompt": "cat"}),
        ("t2v_mixed_scale", 1, {"lora_scales": (1.0,)}),
        ("wan22_i2v", 0, {}),
        ("wan22_5b_i2v", 0, {}),
    ],
)
def test_pasted_code_gives_the_trainers_own_frames(job: str, index: int, wrong: dict[str, Any]) -> None:
    """On a plain pipeline of diffusers, against what ai-toolkit itself generated."""
    preview = sample_recipe(job, index)
    request = request_recipe(job, request_of_preview(preview).model_dump(exclude_none=True))
    request = dataclasses.replace(request, **wrong, obstacles=())
    factors = differing_factors(preview, request)
    assert len(factors) > 3
    assert not differing_factors(preview, take_all(request, factors, preview))
    assert_recorded(generate_with(combined(factors, preview), request), "preview", job, index)
