"""The engine swaps LoRAs without reloading, restores weights bit for bit and refuses files that do not fit."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from parity.case.load import DEMO
from pipelines.engine import stages
from pipelines.engine.engine import Engine
from pipelines.errors import MediaError, OutOfMemoryError, UnreproducibleError, UsageError, WeightsError
from pipelines.lora_files import check_coverage, lora_file, read_header
from pipelines.lora_keys import find_part
from pipelines.quantization import Quantization
from pipelines.recipe import LoraFile, Precision, Recipe
from pipelines.scheduler import checkpoint_scheduler
from pipelines.weights import Weights
from tests.support.oracle import sample_recipe

pytestmark = pytest.mark.draws

LORA = DEMO / "jobs" / "t2v_basic" / "tiny_t2v.safetensors"


def short(recipe: Recipe, **changes: Any) -> Recipe:
    """The same, cheaper: two steps."""
    return dataclasses.replace(recipe, steps=2, **changes)


def weights_hash(engine: Engine) -> str:
    """Names, dtypes and bits of every tensor of the loaded pipeline."""
    return _hash(engine._pipe.components)


def encoders_hash(engine: Engine) -> str:
    """The same of the encoders of texts and images that are in memory."""
    assert engine._encoders is not None
    return _hash(engine._encoders.held)


def _hash(parts: Mapping[Any, Any]) -> str:
    import torch

    digest = hashlib.sha256()
    for name, part in sorted(parts.items()):
        if isinstance(part, torch.nn.Module):
            for key, tensor in part.state_dict().items():
                digest.update(f"{name} {key} {tensor.dtype}".encode())
                digest.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def own_engine() -> Engine:
    return Engine("cpu")


def test_swapping_reloads_nothing_and_restores_every_bit(own_engine: Engine) -> None:
    preview = short(sample_recipe("t2v_basic", 0))
    reference = dataclasses.replace(
        preview,
        lora_application="adapter",
        precision=Precision("bfloat16", "kept"),
        scheduler=checkpoint_scheduler(Path(preview.weights.checkpoint)),
    )
    side_path = dataclasses.replace(preview, lora_application="side_path", lora_scales=(0.5,))
    bare = dataclasses.replace(preview, precision=Precision("bfloat16", "kept"), lora_files=(), lora_scales=())
    own_engine.generate(bare)
    untouched = weights_hash(own_engine)
    first = {name: own_engine.generate(recipe) for name, recipe in _named(preview, reference, side_path, bare)}
    again = {
        name: own_engine.generate(recipe) for name, recipe in reversed(_named(preview, reference, side_path, bare))
    }
    assert own_engine.work.loads == 1
    assert {name: frames.tobytes() for name, frames in first.items()} == {
        name: frames.tobytes() for name, frames in again.items()
    }
    assert len({frames.tobytes() for frames in first.values()}) == 4
    own_engine._unfit(0)
    assert weights_hash(own_engine) == untouched


def _named(*recipes: Recipe) -> list[tuple[int, Recipe]]:
    return list(enumerate(recipes))


def test_merging_changes_the_weights_it_should(own_engine: Engine) -> None:
    """Must-fail of the test above: its hash sees a merge and a cast."""
    recipe = short(sample_recipe("t2v_basic", 0), precision=Precision("bfloat16", "kept"))
    own_engine.generate(dataclasses.replace(recipe, lora_files=(), lora_scales=()))
    bare = weights_hash(own_engine)
    own_engine.generate(recipe)
    merged = weights_hash(own_engine)
    own_engine.generate(dataclasses.replace(recipe, precision=Precision("bfloat16", "cast")))
    assert len({bare, merged, weights_hash(own_engine)}) == 3


def test_steps_are_reported(own_engine: Engine) -> None:
    seen: list[tuple[int, int]] = []
    own_engine.generate(short(sample_recipe("t2v_basic", 0)), lambda done, steps: seen.append((done, steps)))
    assert seen == [(1, 2), (2, 2)]


def test_the_lora_does_something(own_engine: Engine) -> None:
    recipe = short(sample_recipe("t2v_basic", 0))
    none = dataclasses.replace(recipe, lora_files=(), lora_scales=())
    zero = dataclasses.replace(recipe, lora_scales=(0.0,))
    assert own_engine.generate(none).tobytes() == own_engine.generate(zero).tobytes()
    assert own_engine.generate(none).tobytes() != own_engine.generate(recipe).tobytes()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": None}, "random seed"),
        ({"seed": 2**64}, "64 bits"),
        ({"quantization": Quantization("qint4")}, "transformer qint4"),
        ({"obstacles": ("network.type lokr",)}, "lokr"),
    ],
)
def test_unsupported_recipes_are_refused_with_a_reason(own_engine: Engine, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UnreproducibleError, match=said):
        own_engine.generate(dataclasses.replace(sample_recipe("t2v_basic", 0), **changes))


def test_i2v_without_an_image_is_an_error(own_engine: Engine) -> None:
    with pytest.raises(MediaError, match="control image"):
        own_engine.generate(short(sample_recipe("i2v_basic", 0), control_image=None))


@pytest.mark.parametrize("application", ["merged", "side_path", "adapter"])
def test_lora_of_another_model_lists_what_does_not_match(own_engine: Engine, application: Any) -> None:
    other = lora_file(DEMO / "jobs" / "i2v_basic" / "tiny_i2v.safetensors")
    recipe = short(sample_recipe("t2v_basic", 0), lora_files=(other,), lora_application=application)
    with pytest.raises(WeightsError, match=r"8 of 48 keys do not match(.|\n)*cross_attn\.k_img"):
        own_engine.generate(recipe)
    own_engine.generate(short(sample_recipe("t2v_basic", 0)))  # and the engine goes on


def test_lora_of_another_shape(own_engine: Engine, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = load_file(LORA)
    key = "diffusion_model.blocks.0.self_attn.q.lora_A.weight"
    tensors[key] = tensors[key][:, :16].copy()
    save_file(tensors, tmp_path / "narrow.safetensors")
    recipe = short(sample_recipe("t2v_basic", 0), lora_files=(lora_file(tmp_path / "narrow.safetensors"),))
    with pytest.raises(WeightsError, match=r"blocks\.0\.attn1\.to_q.*\(4, 16\).*\(32, 32\)"):
        own_engine.generate(recipe)


def test_lora_key_names() -> None:
    assert find_part("diffusion_model.blocks.0.self_attn.q.lora_A.weight") == ("blocks.0.attn1.to_q", "down")
    assert find_part("diffusion_model.blocks.11.cross_attn.o.lora_B.weight") == ("blocks.11.attn2.to_out.0", "up")
    assert find_part("diffusion_model.blocks.1.ffn.0.lora_A.weight") == ("blocks.1.ffn.net.0.proj", "down")
    assert find_part("diffusion_model.blocks.1.ffn.2.lora_A.weight") == ("blocks.1.ffn.net.2", "down")
    assert find_part("diffusion_model.blocks.1.cross_attn.v_img.lora_A.weight") == ("blocks.1.attn2.add_v_proj", "down")
    assert find_part("diffusion_model.blocks.1.ffn.0.alpha") == ("blocks.1.ffn.net.0.proj", "alpha")
    assert find_part("lora_unet_blocks_1_cross_attn_o.lora_up.weight") == ("blocks.1.attn2.to_out.0", "up")
    assert find_part("lycoris_blocks_1_self_attn_to_out_0.lokr_w1") == ("blocks.1.attn1.to_out.0", "w1")
    assert find_part("diffusion_model.head.head.lora_A.weight") == ("proj_out", "down")
    assert find_part("blocks.1.attn1.to_q.weight") is None


def test_half_a_pair_is_not_coverage() -> None:
    shapes = {"diffusion_model.x.lora_A.weight": (4, 8)}
    with pytest.raises(WeightsError, match="only one of lora_A, lora_B"):
        check_coverage(Path("f"), shapes, {"x": (8, 8)}, {})
    with pytest.raises(WeightsError, match="0 of 0"):
        check_coverage(Path("f"), {}, {"x": (8, 8)}, {})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x80\x02}q\x00.", "pickle"),
        (b"PK\x03\x04rest of a zip", "pickle"),
        (b"", "safetensors"),
        (b"plain text, no weights", "safetensors"),
        (LORA.read_bytes()[:5000], "copy it again"),
        (LORA.read_bytes()[:60], "copy it again"),
    ],
    ids=["pickle", "torch.save", "empty", "text", "truncated", "truncated header"],
)
def test_unreadable_weights(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "lora.safetensors").write_bytes(data)
    with pytest.raises(WeightsError, match=said) as caught:
        read_header(tmp_path / "lora.safetensors")
    assert "lora.safetensors" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("diffusion_model.blocks.0.self_attn.q.dora_scale", "DoRA"),
        ("lora_unet_blocks_0_self_attn_q.hada_w1_a", "LoHa"),
        ("diffusion_model.blocks.0.self_attn.q.oft_blocks", "OFT"),
        ("diffusion_model.blocks.0.self_attn.q.a1.weight", "GLoRA"),
        ("diffusion_model.blocks.0.self_attn.q.lora_magnitude_vector", "DoRA in PEFT's layout"),
        ("diffusion_model.double_blocks.0.img_attn.proj.lora_A.weight", "FLUX, not for Wan"),
        ("diffusion_model.double_blocks.0.img_attn_qkv.lora_A.weight", "HunyuanVideo, not for Wan"),
        ("lora_unet_down_blocks_0_attentions_0_proj_in.alpha", "Stable Diffusion, not for Wan"),
    ],
)
def test_what_nobody_reads_is_named(tmp_path: Path, key: str, said: str) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    save_file({key: np.zeros((2, 2), np.float16)}, tmp_path / "x.safetensors")
    with pytest.raises(UnreproducibleError, match=said) as caught:
        lora_file(tmp_path / "x.safetensors")
    assert key in str(caught.value) or "PEFT" in said


def broken_checkpoint(folder: Path, file: str, data: bytes | None) -> str:
    shutil.copytree(DEMO / "models" / "tiny-wan-t2v", folder)
    if data is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(data)
    return str(folder)


@pytest.mark.parametrize(
    ("file", "data", "said"),
    [
        (
            "transformer/diffusion_pytorch_model.safetensors",
            b"truncated",
            "diffusion_pytorch_model.safetensors: is not a complete safetensors",
        ),
        (
            "transformer/diffusion_pytorch_model.safetensors",
            None,
            "diffusion_pytorch_model.safetensors: cannot be read",
        ),
        ("model_index.json", None, "model_index.json: cannot be read"),
        ("vae/config.json", b"{", "config.json: not valid JSON"),
    ],
)
def test_broken_checkpoint_is_one_message(
    own_engine: Engine, tmp_path: Path, file: str, data: bytes | None, said: str
) -> None:
    checkpoint = broken_checkpoint(tmp_path / "model", file, data)
    with pytest.raises(WeightsError, match=said):
        own_engine.generate(short(sample_recipe("t2v_basic", 0), weights=Weights(checkpoint)))


@pytest.mark.parametrize(("job", "checkpoint"), [("t2v_basic", "tiny-wan-i2v"), ("i2v_basic", "tiny-wan-t2v")])
def test_checkpoint_of_the_other_kind(own_engine: Engine, job: str, checkpoint: str) -> None:
    recipe = short(sample_recipe(job, 0), weights=Weights(str(DEMO / "models" / checkpoint)))
    with pytest.raises(WeightsError, match=f"{recipe.model} needs an? (I2V|T2V) checkpoint"):
        own_engine.generate(recipe)


def test_attention_backend_of_the_environment_is_not_taken(own_engine: Engine) -> None:
    from diffusers.models.attention_dispatch import attention_backend

    recipe = short(sample_recipe("t2v_basic", 0))
    expected = own_engine.generate(recipe).tobytes()
    with attention_backend("_native_math"):
        assert own_engine.generate(recipe).tobytes() == expected


def test_hub_checkpoint_comes_from_the_hubs_cache(
    own_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layout huggingface_hub keeps; offline, so nothing else can answer."""
    from huggingface_hub import constants

    repo = tmp_path / "models--some--wan"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("0123456789abcdef0123456789abcdef01234567")
    shutil.copytree(DEMO / "models" / "tiny-wan-t2v", repo / "snapshots" / "0123456789abcdef0123456789abcdef01234567")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    recipe = short(sample_recipe("t2v_basic", 0))
    local = own_engine.generate(recipe)
    assert own_engine.generate(dataclasses.replace(recipe, weights=Weights("some/wan"))).tobytes() == local.tobytes()
    with pytest.raises(WeightsError, match=r"no/such(.|\n)*local copy"):
        own_engine.generate(dataclasses.replace(recipe, weights=Weights("no/such")))


def test_text_encoder_from_elsewhere(own_engine: Engine, tmp_path: Path) -> None:
    """For Hub checkpoints the trainer loads it from another repository and casts it like everything else."""
    recipe = short(sample_recipe("t2v_basic", 0))
    whole = recipe.weights
    shutil.copytree(Path(whole.checkpoint) / "text_encoder", tmp_path / "text_encoder")
    elsewhere = dataclasses.replace(recipe, weights=dataclasses.replace(whole, text_encoder=str(tmp_path)))
    assert own_engine.generate(elsewhere).tobytes() == own_engine.generate(recipe).tobytes()
    wrong = dataclasses.replace(whole, text_encoder=str(tmp_path / "text_encoder"))
    with pytest.raises(WeightsError, match=r"text_encoder|umt5"):
        own_engine.generate(dataclasses.replace(recipe, weights=wrong))


def test_offload_needs_a_gpu() -> None:
    with pytest.raises(UsageError, match="no GPU"):
        Engine("cpu", "model")


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cuda:99"])
def test_devices_that_are_not_there(device: str) -> None:
    with pytest.raises(UsageError, match="--device"):
        Engine(device)


def test_lora_files_compare_by_content() -> None:
    found = lora_file(LORA)
    assert found == LoraFile(path=Path("elsewhere"), sha256=found.sha256)


@pytest.mark.draws
def test_encoders_make_room_before_memory_is_too_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card on which text encoder and decode do not fit together, or on which the decode never does."""
    import torch

    engine, recipe = Engine("cpu"), short(sample_recipe("t2v_basic", 0))
    expected = engine.generate(recipe)
    decode, fits = stages.decode, True

    def short_of_memory(*arguments: Any) -> Any:
        assert engine._encoders is not None
        if engine._encoders.held or not fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 11 GiB")
        return decode(*arguments)

    monkeypatch.setattr(stages, "decode", short_of_memory)
    assert engine.generate(recipe).tobytes() == expected.tobytes()
    assert engine.work.encoder_loads == 1
    fits = False
    with pytest.raises(OutOfMemoryError, match="try --offload model"):
        engine.generate(dataclasses.replace(recipe, prompt="another"))
