"""Weights get back every bit after a merge, from the checkpoint's files, of which no copy is held."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import json
import os
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from parity.case.load import DEMO
from pipelines.engine.engine import Engine
from pipelines.engine.originals import Originals
from pipelines.errors import WeightsError
from pipelines.lora_files import lora_file
from pipelines.quantization import Quantization
from pipelines.recipe import EarlierMerge, LoraFile, Precision, Recipe
from pipelines.weights import Weights
from tests.pipelines.engine.test_quantized import UINT4, recorded_recipe
from tests.support.oracle import sample_recipe

pytestmark = pytest.mark.draws

FLOAT32, KEPT, CAST = Precision("float32", "kept"), Precision("bfloat16", "kept"), Precision("bfloat16", "cast")


def fitted(engine: Engine, recipe: Recipe) -> str:
    """Names, dtypes and bits of the transformers as a recipe has them."""
    import torch

    with engine._ready(recipe, None) as pipe:
        digest = hashlib.sha256()
        for part in (pipe.transformer, pipe.transformer_2):
            for name, tensor in part.state_dict().items() if part is not None else ():
                digest.update(f"{name} {tensor.dtype}".encode())
                digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def bare(recipe: Recipe) -> Recipe:
    return dataclasses.replace(recipe, lora_files=(), lora_scales=(), earlier_merges=())


@pytest.fixture(scope="module")
def kept_lora(tmp_path_factory: pytest.TempPathFactory) -> LoraFile:
    """A LoRA of a layer that diffusers keeps in float32, and of its bias."""
    import torch
    from safetensors.torch import save_file

    path = tmp_path_factory.mktemp("kept") / "kept.safetensors"
    name = "transformer.condition_embedder.time_embedder.linear_2"
    save_file(
        {
            f"{name}.lora_A.weight": torch.full((4, 32), 0.1),
            f"{name}.lora_B.weight": torch.full((32, 4), 0.1),
            f"{name}.lora_B.bias": torch.full((32,), 0.1),
        },
        path,
    )
    return lora_file(path)


def copied_checkpoint(folder: Path, source: str = "tiny-wan-t2v") -> Recipe:
    shutil.copytree(DEMO / "models" / source, folder)
    return dataclasses.replace(sample_recipe("t2v_basic", 0), weights=Weights(str(folder)))


def resaved(folder: Path, form: str) -> Recipe:
    """A checkpoint whose transformer is float32, in one file, or in several with an index."""
    from safetensors.torch import load_file, save_file

    recipe = copied_checkpoint(folder)
    path = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
    if form == "whole":
        save_file(tensors, path)
    else:  # an index comes before the whole file beside it, which has other numbers
        places = {name: f"part-{number % 3}.safetensors" for number, name in enumerate(tensors)}
        for place in sorted(set(places.values())):
            save_file({name: 1.25 * tensors[name] for name in tensors if places[name] == place}, path.with_name(place))
        index = json.dumps({"metadata": {}, "weight_map": places})
        path.with_suffix(".safetensors.index.json").write_text(index)
    return recipe


@pytest.mark.parametrize(("precision", "other"), [(FLOAT32, None), (CAST, KEPT), (KEPT, CAST)])
@pytest.mark.parametrize("form", ["whole", "sharded"])
def test_every_bit_comes_back_from_the_files(
    tmp_path: Path, kept_lora: LoraFile, precision: Precision, other: Precision | None, form: str
) -> None:
    recipe = resaved(tmp_path / "model", form)
    files = sorted((tmp_path / "model" / "transformer").glob("*.safetensors"))
    before = [hashlib.sha256(path.read_bytes()).digest() for path in files]
    recipe = dataclasses.replace(recipe, precision=precision)
    both = dataclasses.replace(recipe, lora_files=(*recipe.lora_files, kept_lora), lora_scales=(1.0, 0.5))
    replayed = dataclasses.replace(both, earlier_merges=(EarlierMerge((*recipe.lora_files, kept_lora), -0.7),))
    engine = Engine("cpu")
    untouched = fitted(engine, bare(recipe))
    ways = [recipe, both, replayed, dataclasses.replace(replayed, lora_application="side_path")]
    if other is not None:
        ways.append(dataclasses.replace(replayed, precision=other))
    first = [fitted(engine, way) for way in ways]
    assert not engine._originals.copied
    assert len({untouched, *first}) == len(ways) + 1
    assert [fitted(engine, way) for way in reversed(ways)] == first[::-1]
    assert fitted(engine, bare(recipe)) == untouched
    assert engine.work.loads == 1
    assert [hashlib.sha256(path.read_bytes()).digest() for path in files] == before


def tensor_bytes() -> int:
    """The bytes of all tensors alive, each storage once."""
    import torch

    gc.collect()
    storages = {
        found.untyped_storage().data_ptr(): found.untyped_storage().nbytes()
        for found in gc.get_objects()
        if type(found) in (torch.Tensor, torch.nn.Parameter)  # others, of earlier tests, may have no memory
    }
    return sum(storages.values())


def test_no_second_copy_is_held(tmp_path: Path) -> None:
    recipe = dataclasses.replace(copied_checkpoint(tmp_path / "model"), precision=FLOAT32)
    engine = Engine("cpu")
    fitted(engine, bare(recipe))
    held = tensor_bytes()
    weights = sum(weight.nbytes for weight in engine._pipe.transformer.blocks.parameters())
    fitted(engine, recipe)
    assert tensor_bytes() < held + weights / 10
    engine._originals = Originals()  # must-fail: without the files, copies are kept
    engine._unfit(0)
    fitted(engine, recipe)
    assert tensor_bytes() > held + weights / 2


def shifted(path: Path) -> None:
    """The file written anew, with its last numbers changed."""
    data = path.read_bytes()
    other = path.with_suffix(".new")
    other.write_bytes(data[:-64] + bytes(64))
    other.replace(path)


def touched(path: Path) -> None:
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize("change", [shifted, touched, Path.unlink])
def test_a_file_that_changed_is_refused_and_loaded_anew(tmp_path: Path, change: Callable[[Path], None]) -> None:
    recipe = copied_checkpoint(tmp_path / "model")
    path = tmp_path / "model" / "transformer" / "diffusion_pytorch_model.safetensors"
    data = path.read_bytes()
    engine = Engine("cpu")
    untouched, merged = fitted(engine, bare(recipe)), fitted(engine, recipe)
    change(path)
    with pytest.raises(WeightsError, match=r"diffusion_pytorch_model\.safetensors: changed while it was in use"):
        fitted(engine, bare(recipe))
    path.write_bytes(data)
    assert fitted(engine, bare(recipe)) == untouched
    assert fitted(engine, recipe) == merged
    assert engine.work.loads == 2
    change(path)
    engine.close()  # nothing is undone in what goes


def test_a_file_that_changed_before_the_merge_is_not_relied_on(tmp_path: Path) -> None:
    recipe = copied_checkpoint(tmp_path / "model")
    engine = Engine("cpu")
    untouched = fitted(engine, bare(recipe))
    touched(tmp_path / "model" / "transformer" / "diffusion_pytorch_model.safetensors")
    fitted(engine, recipe)
    assert engine._originals.copied
    assert fitted(engine, bare(recipe)) == untouched
    assert engine.work.loads == 1


def test_a_weight_unlike_its_file_is_copied(tmp_path: Path) -> None:
    import torch

    recipe = dataclasses.replace(copied_checkpoint(tmp_path / "model"), precision=FLOAT32)
    engine = Engine("cpu")
    fitted(engine, bare(recipe))
    with torch.no_grad():
        engine._pipe.transformer.blocks[0].attn1.to_q.weight += 1
    changed = fitted(engine, bare(recipe))
    fitted(engine, recipe)
    assert list(engine._originals.copied) == ["transformer.blocks.0.attn1.to_q.weight"]
    assert fitted(engine, bare(recipe)) == changed


def test_experts_and_a_fit_that_fails_halfway() -> None:
    """The second expert's LoRA does not fit after the first's was merged."""
    recipe = sample_recipe("wan22_t2v", 0)
    engine = Engine("cpu")
    untouched = fitted(engine, bare(recipe))
    merged = fitted(engine, recipe)
    wrong = dataclasses.replace(lora_file(DEMO / "jobs" / "i2v_basic" / "tiny_i2v.safetensors"), expert="low")
    half = dataclasses.replace(
        recipe,
        lora_files=(recipe.lora_files[0], wrong),
        earlier_merges=(EarlierMerge(recipe.lora_files[:1], 1.0),),
    )
    for _ in range(2):
        with pytest.raises(WeightsError, match="keys do not match"):
            fitted(engine, half)
        assert fitted(engine, bare(recipe)) == untouched
        assert fitted(engine, recipe) == merged
    assert engine.work.loads == 1
    assert not engine._originals.copied


def test_plain_weights_between_quantized_ones() -> None:
    """Both experts have one block that is not quantized: 10 linear layers, whose weights are read again."""
    recipe = dataclasses.replace(
        recorded_recipe(UINT4), lora_application="merged", quantization=Quantization("uint4", None, ("blocks.0",))
    )
    residue = dataclasses.replace(bare(recipe), earlier_merges=(EarlierMerge(recipe.lora_files, 1.0),))
    engine = Engine("cpu")
    ways = (bare(recipe), recipe, residue)
    first = [fitted(engine, way) for way in ways]
    assert len(set(first)) == 3
    assert not engine._originals.copied
    assert [fitted(engine, way) for way in reversed(ways)] == first[::-1]
    assert engine.work.loads == 1


def test_what_fails_after_an_adapter_was_loaded(tmp_path: Path) -> None:
    """The weights below it, which earlier merges had changed, come back. What fails is a second VAE, which is gone."""
    recipe = copied_checkpoint(tmp_path / "model")
    engine = Engine("cpu")
    untouched = fitted(engine, bare(recipe))
    shutil.rmtree(tmp_path / "model" / "vae")
    other = dataclasses.replace(
        recipe,
        lora_application="adapter",
        earlier_merges=(EarlierMerge(recipe.lora_files, 1.0),),
        vae_dtype="float32",
    )
    with pytest.raises(WeightsError, match="vae"):
        fitted(engine, other)
    assert fitted(engine, bare(recipe)) == untouched
    assert engine.work.loads == 1


def test_weights_are_gone_before_others_are_loaded() -> None:
    """Without waiting for the garbage collector, which may come when the next checkpoint is in memory too."""
    engine = Engine("cpu")
    for application in ("merged", "adapter"):
        fitted(engine, dataclasses.replace(sample_recipe("wan22_t2v", 0), lora_application=application))
        experts = (engine._pipe.transformer, engine._pipe.transformer_2)
        weights = [weakref.ref(weight) for expert in experts for weight in expert.parameters()]
        del experts
        gc.collect()
        gc.disable()
        try:
            engine.close()
            alive = [weight for weight in weights if (found := weight()) is not None and not found.is_meta]
        finally:
            gc.enable()
        assert weights
        assert not alive


def test_weights_that_were_moved_for_offloading_come_back() -> None:
    """Sequential offloading replaces every parameter, and its hooks are removed before a LoRA is swapped."""
    from accelerate import cpu_offload
    from accelerate.hooks import remove_hook_from_module

    recipe = sample_recipe("t2v_basic", 0)
    engine = Engine("cpu")
    untouched, merged = fitted(engine, bare(recipe)), fitted(engine, recipe)
    cpu_offload(engine._pipe.transformer, "cpu")
    assert engine._pipe.transformer.proj_out.weight.is_meta
    remove_hook_from_module(engine._pipe.transformer, recurse=True)
    assert fitted(engine, recipe) == merged
    assert fitted(engine, bare(recipe)) == untouched
    assert not engine._originals.copied
