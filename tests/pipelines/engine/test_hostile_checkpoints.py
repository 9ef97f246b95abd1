"""A checkpoint is data: nothing in its folder is run, fetched, unpickled or believed beyond what its files hold.

Every payload here would leave a file behind if it ran.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parity.case.load import DEMO
from pipelines.engine import checkpoint, fingerprint
from pipelines.errors import WeightsError
from pipelines.weights import Weights
from tests.support.oracle import sample_recipe

pytestmark = pytest.mark.draws

Plant = Callable[[Path, Path], None]
"""Changes a checkpoint's folder; the second path is the file that its payload would create."""

PICKLED = {"text_encoder": "pytorch_model.bin", "image_encoder": "pytorch_model.bin"}
WHOLE = {"text_encoder": "model.safetensors", "image_encoder": "model.safetensors"}


def whole(part: str) -> str:
    return WHOLE.get(part, "diffusion_pytorch_model.safetensors")


def setting(file: str, **values: Any) -> Plant:
    def plant(folder: Path, _: Path) -> None:
        path = folder / file
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return plant


def code(*files: str) -> Plant:
    """Python files that give themselves away, with every class that somebody may look for in them."""

    def plant(folder: Path, ran: Path) -> None:
        text = f"open({str(ran)!r}, 'w')\nclass Evil: ...\nWanTransformer3DModel = T5TokenizerFast = Evil\n"
        for file in files:
            (folder / file).write_text(text)

    return plant


def both(*plants: Plant) -> Plant:
    def plant(folder: Path, ran: Path) -> None:
        for one in plants:
            one(folder, ran)

    return plant


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, ran: Path) -> None:
        self.ran = ran

    def __reduce__(self) -> Any:
        return Path.touch, (self.ran,)


def pickled(part: str, *, honest: bool = False, beside: bool = False) -> Plant:
    def plant(folder: Path, ran: Path) -> None:
        import torch
        from safetensors.torch import load_file

        path = folder / part / whole(part)
        weights = load_file(path) if honest else {"a": Payload(ran)}
        torch.save(weights, folder / part / PICKLED.get(part, "diffusion_pytorch_model.bin"))
        if not beside:
            path.unlink()

    return plant


def sharded(part: str, name: str) -> Plant:
    """An index that names a file elsewhere, which is there."""

    def plant(folder: Path, _: Path) -> None:
        path = folder / part / whole(part)
        path.rename(folder / "outside.safetensors")
        index = {"metadata": {}, "weight_map": {"a": name.replace("FOLDER", str(folder))}}
        path.with_name(f"{path.name}.index.json").write_text(json.dumps(index))

    return plant


def adapter(folder: Path, ran: Path) -> None:
    import torch

    config = {"peft_type": "LORA", "base_model_name_or_path": str(folder), "r": 4, "target_modules": ["q"]}
    (folder / "text_encoder" / "adapter_config.json").write_text(json.dumps(config))
    torch.save({"a": Payload(ran)}, folder / "text_encoder" / "adapter_model.bin")


def tokenizer(**values: Any) -> Plant:
    return setting("tokenizer/tokenizer.json", **values)


def remote(kind: str) -> dict[str, Any]:
    return {"auto_map": {kind: "evil.Evil"}, "architectures": ["Evil"], "_name_or_path": "evil/evil"}


KERNEL = "evil/kernel"

REFUSED: dict[str, tuple[Plant, str]] = {
    "code named like a library": (code("transformer/diffusers.py"), "diffusers.py: code in a checkpoint is never run"),
    "code named like the other": (code("tokenizer/transformers.py"), "transformers.py: code in a checkpoint is never"),
    "code beside an encoder": (code("text_encoder/modeling.py"), "modeling.py: code in a checkpoint is never run"),
    "a pipeline of its own": (
        both(setting("model_index.json", _class_name=["evil", "Evil"]), code("evil.py")),
        "_class_name is ['evil', 'Evil']; pipelines of others are not loaded",
    ),
    "a scheduler of its own": (
        both(setting("model_index.json", scheduler=["evil", "Evil"]), code("scheduler/evil.py")),
        "scheduler is ['evil', 'Evil']; only the parts of a Wan pipeline",
    ),
    "a module": (setting("model_index.json", evil_part=["os", "system"]), "evil_part is ['os', 'system']; only"),
    "a part that is no scheduler": (
        setting("model_index.json", scheduler=["diffusers", "OnnxRuntimeModel"]),
        "scheduler is ['diffusers', 'OnnxRuntimeModel']; only the parts",
    ),
    "a tokenizer that chooses its class": (
        both(
            setting("model_index.json", tokenizer=["transformers", "AutoTokenizer"]),
            setting("tokenizer/tokenizer_config.json", tokenizer_class="Evil", **remote("AutoTokenizer")),
            code("evil.py"),
        ),
        "tokenizer is ['transformers', 'AutoTokenizer']; only the parts of a Wan pipeline",
    ),
    "a part as text": (setting("model_index.json", image_encoder="Evil"), "image_encoder is 'Evil'; only the parts"),
    "an adapter": (adapter, "adapter_config.json: adapters inside a checkpoint are not supported"),
    "kernels of the Hub": (
        setting("text_encoder/config.json", _attn_implementation=KERNEL),
        "_attn_implementation is 'evil/kernel', which may be code to download",
    ),
    "kernels by another key": (
        setting("image_encoder/config.json", attn_implementation={"": KERNEL}),
        "attn_implementation is {'': 'evil/kernel'}, which may be code",
    ),
    "stored quantized": (
        setting("transformer/config.json", quantization_config={"quant_method": "bitsandbytes"}),
        "quantization_config: checkpoints that are stored quantized are not supported yet",
    ),
    "an encoder stored quantized": (
        setting("text_encoder/config.json", quantization_config={"quant_method": "torchao"}),
        "quantization_config: checkpoints that are stored quantized are not supported yet",
    ),
    "another file of weights": (
        setting("text_encoder/config.json", transformers_weights="../other.safetensors"),
        "transformers_weights names another file",
    ),
    **{
        f"{kind} pickled {part}": (
            pickled(part, honest=kind == "honest"),
            f"{PICKLED.get(part, 'diffusion_pytorch_model.bin')}: pickled weights, which can run code, are not loaded",
        )
        for part in ("transformer", "vae", "text_encoder", "image_encoder")
        for kind in ("hostile", "honest")
    },
    "shards above the folder": (sharded("transformer", "../outside.safetensors"), "is no file in the same folder"),
    "shards of an encoder above": (sharded("text_encoder", "../outside.safetensors"), "is no file in the same folder"),
    "shards anywhere": (sharded("image_encoder", "FOLDER/outside.safetensors"), "is no file in the same folder"),
    "shards that are no safetensors": (sharded("vae", "passwd"), "'passwd' is no safetensors file"),
    "shards that are none": (sharded("vae", "x.safetensors"), "x.safetensors: missing"),
    # Sizes that would ask for up to 500 TB, if anything asked
    "a transformer too wide": (
        setting("transformer/config.json", num_attention_heads=1 << 20),
        "config.json: describes a model of 6755412594394400 numbers, but the weights beside it have 50976",
    ),
    "a VAE too wide": (setting("vae/config.json", base_dim=1 << 14), "describes a model of 239335572819 numbers"),
    "a VAE too deep": (setting("vae/config.json", num_res_blocks=1 << 20), "num_res_blocks must be a number from 1 to"),
    "a list too long": (setting("vae/config.json", dim_mult=[1] * 100_000), "dim_mult must be like [1, 2, 4, 4], is"),
    "positions": (setting("transformer/config.json", rope_max_seq_len=1 << 20), "rope_max_seq_len must be a number"),
    "an encoder too wide": (
        setting("text_encoder/config.json", d_ff=1 << 20),
        "describes a model of 201338304 numbers",
    ),
    "an encoder too deep": (
        setting("text_encoder/config.json", num_layers=1 << 20),
        "num_layers is 1048576, but the weights beside it have 2 blocks",
    ),
    "CLIP too wide": (
        setting("image_encoder/config.json", hidden_size=10**9),
        "hidden_size must be a number from 1 to",
    ),
    "CLIP too deep": (
        setting("image_encoder/config.json", num_hidden_layers=300),
        "num_hidden_layers is 300, but the weights beside it have 3 layers",
    ),
    "CLIP of huge pictures": (
        setting("image_encoder/config.json", image_size=10**6),
        "describes a model of 500000031968 numbers",
    ),
    "a picture for CLIP": (
        setting("image_processor/preprocessor_config.json", crop_size={"height": 10**6, "width": 10**6}),
        "crop_size must be a number from 1 to 4096, is 1000000",
    ),
    "sizes that are none": (setting("text_encoder/config.json", d_kv="x"), "d_kv must be a number from 1 to"),
    # What the Rust of tokenizers answers with a panic, which is no Exception, or with a bare Exception
    "a panic": (
        tokenizer(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAAAA=="}),
        "model: does not load as WanImageToVideoPipeline: index out of bounds",
    ),
    "a pattern": (
        tokenizer(pre_tokenizer={"type": "Split", "pattern": {"Regex": "(a"}, "behavior": "Isolated", "invert": False}),
        "model: does not load as WanImageToVideoPipeline: Oniguruma error",
    ),
}


def load_all(folder: Path) -> None:
    """Load every part of an I2V checkpoint."""
    import torch

    recipe = dataclasses.replace(sample_recipe("i2v_basic", 0), weights=Weights(str(folder)))
    checkpoint.load_pipeline(recipe)
    checkpoint.load_encoder("text_encoder", folder / "text_encoder", torch.float32)
    checkpoint.load_encoder("image_encoder", folder / "image_encoder", torch.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEMO / "models" / "tiny-wan-i2v", tmp_path / "model"))


@pytest.mark.parametrize("kind", REFUSED)
def test_is_refused_in_one_line_and_nothing_runs(folder: Path, tmp_path: Path, kind: str) -> None:
    plant, said = REFUSED[kind]
    plant(folder, tmp_path / "ran")
    with pytest.raises(WeightsError) as caught:
        load_all(folder)
    message = str(caught.value)
    assert said in message
    assert str(folder) in message
    assert message.isprintable()  # one line, no escape sequences
    assert len(message) < 600
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "plant",
    [
        setting("text_encoder/config.json", **remote("AutoModel"), torch_dtype="load", _commit_hash="../x"),
        setting("tokenizer/tokenizer_config.json", tokenizer_class="Evil", **remote("AutoTokenizer")),
        setting("transformer/config.json", _class_name="Evil", **remote("AutoModel")),
        setting("scheduler/scheduler_config.json", num_train_timesteps=10**10, _class_name="Evil"),
        pickled("transformer", beside=True),
        pickled("text_encoder", beside=True),
        code("evil.py", "model.py"),
    ],
    ids=["encoder", "tokenizer", "transformer", "scheduler", "a pickle beside", "another beside", "code at the top"],
)
def test_what_is_not_needed_is_not_touched(folder: Path, tmp_path: Path, plant: Plant) -> None:
    plant(folder, tmp_path / "ran")
    load_all(folder)
    assert not (tmp_path / "ran").exists()


def test_weights_that_no_file_has_are_not_made_up(folder: Path) -> None:
    """transformers would take random numbers for them."""
    from safetensors.torch import load_file, save_file

    path = folder / "text_encoder" / "model.safetensors"
    tensors = load_file(path)
    tensors["unused"] = tensors.pop("encoder.final_layer_norm.weight")
    save_file(tensors, path)
    with pytest.raises(WeightsError, match=r"no weights for 1 parameters, e.g. encoder.final_layer_norm.weight"):
        load_all(folder)


def test_the_published_kind_of_image_encoder_is_loaded(folder: Path) -> None:
    """Wan-AI's I2V repositories of Wan 2.1 hold a CLIPVisionModelWithProjection, whose tensors have other names."""
    import torch
    from safetensors.torch import load_file, save_file

    before = checkpoint.load_encoder("image_encoder", folder / "image_encoder", torch.float32).state_dict()
    path = folder / "image_encoder" / "model.safetensors"
    tensors = {f"vision_model.{name}": tensor for name, tensor in load_file(path).items()}
    save_file(tensors | {"visual_projection.weight": torch.zeros(16, 32)}, path)
    published = ["transformers", "CLIPVisionModelWithProjection"]
    setting("model_index.json", image_encoder=published)(folder, folder)
    setting("image_encoder/config.json", architectures=published[1:])(folder, folder)
    load_all(folder)
    after = checkpoint.load_encoder("image_encoder", folder / "image_encoder", torch.float32).state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_the_hash_covers_folders_that_are_linked(folder: Path, tmp_path: Path) -> None:
    before = fingerprint.of_folder(folder)
    outside = (folder / "transformer").rename(tmp_path / "elsewhere")
    (folder / "transformer").symlink_to(outside)
    assert fingerprint.of_folder(folder) == before
    setting("elsewhere/config.json", eps=0.5)(tmp_path, tmp_path)
    assert fingerprint.of_folder(folder) != before


def test_a_hash_in_a_name_is_believed_in_the_hubs_cache_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    before = fingerprint.of_folder(folder)
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    blob = path.rename(tmp_path / ("ab" * 32))
    path.symlink_to(blob)
    assert fingerprint.of_folder(folder) == before
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert fingerprint.of_folder(folder) != before
