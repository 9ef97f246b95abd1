"""LoKr and LoRAs of every layer against previews by the real ai-toolkit; other trainers' layouts against diffusers."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from parity.case.load import DEMO
from parity.comparison.compare import frames_sha256
from pipelines.aitoolkit.job import read_job
from pipelines.aitoolkit.job_folder import find_lora
from pipelines.aitoolkit.preview import preview_recipe
from pipelines.engine.engine import Engine
from pipelines.engine.lora_layers import make_layers
from pipelines.errors import UnreproducibleError, WeightsError
from pipelines.lora_files import check_coverage, left_out, why_not_applied
from pipelines.lora_keys import sort_keys, why_not_served
from pipelines.recipe import Recipe
from pipelines.reference.inference import inference_recipe, reference_graph, request_of_preview
from tests.support.oracle import model_of, sample_recipe
from tests.support.paths import DATA

NETWORKS = DATA / "networks"
RECORDED: dict[str, dict[str, Any]] = json.loads((NETWORKS / "recorded.json").read_text())


def recipe_of(name: str, index: int, folder: Path) -> Recipe:
    """The preview recipe of a recorded job."""
    entry = RECORDED[name]
    text = (DEMO / "jobs" / entry["job"] / "config.yaml").read_text().replace("../../models", str(DEMO / "models"))
    config = yaml.safe_load(text.replace("--m 0.5", "--m 0.7"))
    config["config"]["process"][0]["network"] = entry["network"]
    (folder / "config.yaml").write_text(json.dumps(config))
    lora = NETWORKS / f"{name}.safetensors"
    job = read_job(folder / "config.yaml")
    return preview_recipe(job, index, model=model_of("t2v_basic"), lora=lora, toolkit="0.12.26")


@pytest.mark.parametrize(
    ("name", "index", "application"),
    [
        ("lokr_full", 0, "merged"),
        ("lokr_factored", 1, "merged"),
        ("lokr_full_scales", 0, "side_path"),
        ("lokr_full_scales", 1, "side_path"),
        ("lokr_factored_scales", 1, "side_path"),
        ("whole_lora", 0, "merged"),
        ("whole_lora_scales", 1, "side_path"),
    ],
)
def test_networks_as_the_trainer_drew_them(
    engine: Engine, tmp_path: Path, name: str, index: int, application: str
) -> None:
    """Full and factored LoKr, at scale 1 and 0.7, and `transformer_only: false`."""
    recipe = recipe_of(name, index, tmp_path)
    assert (recipe.obstacles, recipe.lora_application) == ((), application)
    assert recipe.lora_scales[0] == RECORDED[name]["scales"][index]
    assert frames_sha256(engine.generate(recipe)) == RECORDED[name]["frames_sha256"][index]


Tensors = dict[str, Any]


@pytest.fixture(scope="module")
def transformer() -> Any:
    """A tiny transformer in float32 with random weights."""
    from pipelines.engine.torch_setup import declare_missing_torchvision_operators

    declare_missing_torchvision_operators()
    from diffusers import WanTransformer3DModel

    return WanTransformer3DModel.from_config(
        WanTransformer3DModel.load_config(DEMO / "models" / "tiny-wan-t2v" / "transformer")
    )


OWN_NAMES = (
    ("attn1", "self_attn"), ("attn2", "cross_attn"), ("to_out.0", "o"), ("to_", ""), ("ffn.net.0.proj", "ffn.0"),
    ("ffn.net.2", "ffn.2"), ("proj_out", "head.head"), ("condition_embedder.time_proj", "time_projection.1"),
    ("condition_embedder.text_embedder.linear_1", "text_embedding.0"),
    ("condition_embedder.text_embedder.linear_2", "text_embedding.2"),
    ("condition_embedder.time_embedder.linear_1", "time_embedding.0"),
    ("condition_embedder.time_embedder.linear_2", "time_embedding.2"),
)  # fmt: skip


def own_name(module: str) -> str:
    """Wan's own name of a module."""
    for theirs, own in OWN_NAMES:
        module = module.replace(theirs, own)
    return module


def diffusers_name(module: str) -> str:
    return module


def musubi_name(module: str) -> str:
    return own_name(module).replace(".", "_")


def layout(
    linears: dict[str, Any],
    prefix: str,
    name: Any = own_name,
    pair: tuple[str, str] = ("lora_A.weight", "lora_B.weight"),
    *,
    outside: bool = False,
    alpha: float | None = None,
    bias: str | None = None,
    extra: dict[str, tuple[int, ...]] | None = None,
) -> Tensors:
    """A random LoRA of rank 4, float16, of all linears in the blocks, or of all there are."""
    import torch

    random = torch.Generator().manual_seed(7)

    def half(*shape: int) -> Any:
        return torch.randn(*shape, generator=random).half()

    made: Tensors = {}
    for module, linear in linears.items():
        if not outside and not module.startswith("blocks."):
            continue
        key = prefix + name(module)
        made[f"{key}.{pair[0]}"] = half(4, linear.in_features)
        made[f"{key}.{pair[1]}"] = half(linear.out_features, 4)
        if alpha is not None:
            made[f"{key}.alpha"] = torch.tensor(alpha)
        if bias is not None:
            made[f"{key}.{bias}"] = half(linear.out_features)
    return made | {key: half(*shape) for key, shape in (extra or {}).items()}


KOHYA = ("lora_down.weight", "lora_up.weight")
LAYOUTS: dict[str, tuple[dict[str, Any], str | None]] = {
    "ai-toolkit": ({"prefix": "diffusion_model."}, None),
    "alpha 3 of rank 4": ({"prefix": "diffusion_model.", "pair": KOHYA, "alpha": 3.0}, None),
    "alpha 1 of rank 4": ({"prefix": "diffusion_model.", "alpha": 1.0}, None),
    "every layer": ({"prefix": "diffusion_model.", "pair": KOHYA, "outside": True}, None),
    "biases": ({"prefix": "diffusion_model.", "bias": "diff_b"}, None),
    "diffusers": ({"prefix": "transformer.", "name": diffusers_name, "outside": True}, None),
    "musubi": ({"prefix": "lora_unet_", "name": musubi_name, "pair": KOHYA, "alpha": 2.0}, None),
    "norms and whole weights": (
        {
            "prefix": "diffusion_model.",
            "extra": {
                "diffusion_model.blocks.0.norm3.diff": (32,),
                "diffusion_model.blocks.0.self_attn.norm_q.diff": (32,),
                "diffusion_model.patch_embedding.diff": (32, 16, 1, 2, 2),
                "diffusion_model.time_projection.1.diff_b": (192,),
            },
        },
        None,
    ),
    "text encoder under transformer.": (
        {"prefix": "transformer.", "name": diffusers_name, "extra": {"text_encoder.q.lora_A.weight": (4, 32)}},
        None,
    ),
    "transformer_only false": (
        {"prefix": "diffusion_model.", "extra": {
            "diffusion_model.proj_out.lora_A.weight": (4, 32), "diffusion_model.proj_out.lora_B.weight": (64, 4)}},
        "refuses it for diffusion_model.proj_out.lora_A.weight and 1 more keys",
    ),
    "alpha outside the blocks": (
        {"prefix": "diffusion_model.", "alpha": 4.0, "outside": True}, "refuses it for diffusion_model.*alpha",
    ),
    "text encoder": (
        {"prefix": "diffusion_model.", "extra": {"text_encoder.q.lora_A.weight": (4, 32)}}, "refuses it for text_enc",
    ),
    "musubi without alpha": ({"prefix": "lora_unet_", "name": musubi_name, "pair": KOHYA}, "has no alpha"),
    "alpha under transformer.": (
        {"prefix": "transformer.", "name": diffusers_name, "alpha": 4.0}, "every key must contain `lora`",
    ),
    "kohya's pair under transformer.": (
        {"prefix": "transformer.", "name": diffusers_name, "pair": KOHYA}, "diffusers' names alone",
    ),
    "Wan's names under transformer.": ({"prefix": "transformer."}, "diffusers' names alone"),
    "no prefix": ({"prefix": ""}, "loads nothing of it without a word"),
    "some biases": (
        {"prefix": "transformer.", "name": diffusers_name,
         "extra": {"transformer.blocks.0.attn1.to_q.lora_B.bias": (32,)}},
        "only some of the layers have a bias difference",
    ),
}  # fmt: skip
"""LoRA files as trainers write them, and why the reference server cannot load them."""


@pytest.mark.draws
@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_are_read_as_diffusers_reads_them(transformer: Any, name: str) -> None:
    """The real load_lora_weights beside ours: the same differences bit for bit, and what it cannot load is said."""
    import torch
    from diffusers import WanPipeline

    arguments, refusal = LAYOUTS[name]
    linears = {name: module for name, module in transformer.named_modules() if isinstance(module, torch.nn.Linear)}
    tensors = layout(linears, **arguments)
    weights = {name: tuple(module.weight.shape) for name, module in linears.items()}
    biases = {name: tuple(module.bias.shape) for name, module in linears.items() if module.bias is not None}
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    ours = make_layers(check_coverage(Path("lora"), shapes, weights, biases), tensors)
    assert len(ours) >= 20
    reason = why_not_served(tensors)
    theirs = load_as_adapter(WanPipeline, transformer, tensors)
    if refusal is not None:
        assert reason is not None
        assert re.search(refusal, reason)
        assert not theirs
        return
    assert reason is None
    assert set(ours) == set(theirs)
    for module, (delta, bias) in theirs.items():
        layer = ours[module]
        assert torch.equal(layer.delta(), delta)
        assert (layer.bias is None and bias is None) or torch.equal(layer.bias, bias)  # type: ignore[arg-type]


def load_as_adapter(pipeline: Any, transformer: Any, tensors: Tensors) -> dict[str, Any]:
    """The differences of weights and biases that diffusers and PEFT make of a LoRA; nothing if it cannot be used."""
    import torch

    pipe = pipeline(tokenizer=None, text_encoder=None, vae=None, scheduler=None, transformer=transformer)
    found: dict[str, Any] = {}
    try:
        # diffusers scales some of the tensors in place
        pipe.load_lora_weights({key: tensor.clone() for key, tensor in tensors.items()}, adapter_name="x")
        with torch.no_grad():
            for name, module in transformer.named_modules():
                if hasattr(module, "lora_A") and "x" in module.lora_A:
                    down, up, scale = module.lora_A["x"], module.lora_B["x"], module.scaling["x"]
                    if up.bias is not None and up.bias.is_meta:
                        return {}
                    found[name] = (up.weight @ down.weight) * scale, None if up.bias is None else up.bias * scale
        return found
    except (ValueError, KeyError, IndexError):
        return {}
    finally:
        if hasattr(transformer, "peft_config"):
            transformer.unload_lora()


def test_keys_that_change_nothing_are_named(tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import load_file, save_file

    tensors = load_file(DEMO / "jobs" / "t2v_basic" / "tiny_t2v.safetensors")
    path = tmp_path / "more.safetensors"
    save_file(tensors, path)
    assert left_out(path) is None
    save_file(tensors | {"diffusion_model.blocks.0.norm3.diff": np.zeros(32, np.float16)}, path)
    assert "1 keys are left out" in str(left_out(path))
    assert "blocks.0.norm3.diff" in str(left_out(path))


@pytest.mark.parametrize("name", ["lokr_full", "whole_lora"])
def test_what_the_server_cannot_load_is_refused_before_anything_is_generated(
    engine: Engine, tmp_path: Path, name: str
) -> None:
    recipe = dataclasses.replace(recipe_of(name, 0, tmp_path), lora_application="adapter")
    with pytest.raises(
        UnreproducibleError, match=r"reference server.*cannot load LoKr|refuses it for .*embedder"
    ) as caught:
        engine.generate(recipe)
    assert f"{name}.safetensors" in str(caught.value)
    assert "`lora_application: merged` reads it" in str(caught.value)


def test_what_the_loader_raises_is_one_line(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = dataclasses.replace(sample_recipe("t2v_basic", 0), lora_application="adapter")
    engine.load(recipe)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("Error(s) in loading:\n\tsize mismatch")

    with monkeypatch.context() as patch:
        patch.setattr(type(engine._pipe), "load_lora_weights", fail)
        with pytest.raises(
            WeightsError, match=r"tiny_t2v.*RuntimeError: Error\(s\) in loading: size mismatch"
        ) as caught:
            engine.generate(recipe)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lokr_w2": (7, 8)}, r"lokr_w1 \(4, 4\) \(x\) lokr_w2 \(7, 8\) does not fit the model's weight \(32, 32\)"),
        ({"lokr_w2": None}, "lacks a factor of LoKr"),
        ({"lokr_w2_a": (8, 2)}, "lacks a factor of LoKr"),
        ({"alpha": (2, 2)}, "alpha is a tensor"),
    ],
)
def test_lokr_that_does_not_fit(change: dict[str, Any], said: str) -> None:
    parts = {"lokr_w1": (4, 4), "lokr_w2": (8, 8)} | change
    shapes = {f"diffusion_model.blocks.0.self_attn.q.{part}": shape for part, shape in parts.items() if shape}
    with pytest.raises(WeightsError, match=said):
        check_coverage(Path("f"), shapes, {"blocks.0.attn1.to_q": (32, 32)}, {})


def test_lokr_scale() -> None:
    """alpha / rank, but 1 for two whole factors, whose alpha ai-toolkit saves as infinity in float16."""
    import torch

    key = "lycoris_blocks_0_self_attn_q."
    whole = {key + "lokr_w1": torch.eye(4), key + "lokr_w2": torch.eye(8), key + "alpha": torch.tensor(torch.inf)}
    product = {key + "lokr_w1": torch.eye(4), key + "alpha": torch.tensor(1.0)}
    product |= {key + "lokr_w2_a": torch.ones(8, 2), key + "lokr_w2_b": torch.ones(2, 8)}
    for tensors, largest in ((whole, 1.0), (product, 1.0)):
        (layer,) = make_layers(sort_keys(tensors), tensors).values()
        assert layer.delta().max().item() == largest


def test_unmerged_lokr_of_an_older_version_is_not_claimed(tmp_path: Path) -> None:
    recipe_of("lokr_full_scales", 1, tmp_path)
    job, model = read_job(tmp_path / "config.yaml"), model_of("t2v_basic")
    lora = NETWORKS / "lokr_full_scales.safetensors"
    for toolkit, refused in (("0.10.23", True), ("e44c34a9", False), ("0.12.26", False)):
        recipe = preview_recipe(job, 1, model=model, lora=lora, toolkit=toolkit)
        assert any("LoKr that is not merged" in obstacle for obstacle in recipe.obstacles) is refused
    (note,) = (
        note for note in preview_recipe(job, 1, model=model, lora=lora, toolkit="0.10.24").notes if "LoKr" in note
    )
    assert "e44c34a9 (2026-07-15)" in note


def test_a_request_says_at_once_what_the_server_cannot_load(tmp_path: Path) -> None:
    recipe = recipe_of("lokr_full", 0, tmp_path)
    graph = reference_graph(model_of("t2v_basic"), str(DEMO / "models" / "tiny-wan-t2v"))
    inference = inference_recipe(request_of_preview(recipe), 0, graph, model=model_of("t2v_basic"), folder=tmp_path)
    (obstacle,) = inference.obstacles
    assert "lokr_full.safetensors: the reference server (diffusers 0.42.1) cannot load LoKr" in obstacle
    faithful = dataclasses.replace(graph, lora_application="merged")
    served = inference_recipe(request_of_preview(recipe), 0, faithful, model=model_of("t2v_basic"), folder=tmp_path)
    assert served.obstacles == ()


def test_a_search_offers_no_way_that_cannot_be_taken(tmp_path: Path) -> None:
    from parity.diagnosis.hypotheses import _applications

    labels = [option.label for option in _applications(recipe_of("lokr_full", 0, tmp_path))]
    assert labels == ["merged", "side_path"]
    assert len(list(_applications(sample_recipe("t2v_basic", 0)))) == 3


@pytest.fixture
def renamed(tmp_path: Path) -> Path:
    """A job whose LoRA of step 500 its user renamed."""
    recipe_of("lokr_full", 0, tmp_path)
    config = json.loads((tmp_path / "config.yaml").read_text())
    config["config"]["name"] = "lokr_full"  # as the file's metadata say
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    shutil.copy(NETWORKS / "lokr_full.safetensors", tmp_path / "the good one.safetensors")
    return tmp_path


def test_a_renamed_lora_that_names_its_job_and_step_is_taken(renamed: Path) -> None:
    found = find_lora(read_job(renamed / "config.yaml"), 500)
    assert [path.name for path in found.paths] == ["the good one.safetensors"]
    assert found.missing is None
    assert "was renamed: it says that it is lokr_full at step 500" in found.notes[0]


def test_a_renamed_lora_that_does_not_is_suggested(renamed: Path) -> None:
    found = find_lora(read_job(renamed / "config.yaml"), 250)
    assert found.paths == ()
    assert "set preview.lora to it: beside the config lie the good one.safetensors" in str(found.missing)


def test_two_renamed_loras_are_not_chosen_from(renamed: Path) -> None:
    shutil.copy(renamed / "the good one.safetensors", renamed / "best.safetensors")
    found = find_lora(read_job(renamed / "config.yaml"), 500)
    assert "best.safetensors, the good one.safetensors" in str(found.missing)


def test_a_file_without_tensors_is_said(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({}, tmp_path / "a.safetensors")
    said = why_not_applied(tmp_path / "a.safetensors", "adapter")
    assert said == f"{tmp_path}/a.safetensors: holds no tensor, so there is nothing to apply; copy it again"
