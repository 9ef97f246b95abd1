"""Checkpoints whose files do not fit together are refused with the name of the file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parity.case.load import DEMO
from pipelines.engine.checkpoint_files import check_checkpoint, check_encoder
from pipelines.errors import WeightsError


@pytest.mark.parametrize("kind", ["t2v", "i2v"])
def test_the_demos_checkpoints_are_whole(kind: str) -> None:
    check_checkpoint(DEMO / "models" / f"tiny-wan-{kind}", own_encoder=True)


def set_key(name: str, key: str, value: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))

    return damage


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (remove("model_index.json"), "model_index.json: cannot be read: No such file"),
        (set_key("model_index.json", "vae", ["diffusers", "AutoencoderKL"]), "model_index.json: vae is"),
        (set_key("model_index.json", "extra", ["os", "system"]), "only the parts of a Wan pipeline"),
        (
            set_key("transformer/config.json", "num_layers", 3),
            "num_layers is 3, but the weights beside it have 2 blocks",
        ),
        (set_key("transformer/config.json", "patch_size", [1, 2]), "patch_size must be like [1, 2, 2], is [1, 2]"),
        (set_key("transformer/config.json", "cross_attn_norm", "yes"), "cross_attn_norm must be true or false"),
        (set_key("transformer/config.json", "eps", "small"), "eps must be a number, is 'small'"),
        (set_key("vae/config.json", "z_dim", 0), "z_dim must be a number from 1"),
        (set_key("vae/config.json", "latents_mean", [0.0]), "latents_mean and latents_std differ in length"),
        (set_key("text_encoder/config.json", "d_model", None), "text_encoder/config.json: d_model must be a number"),
        (
            set_key("tokenizer/tokenizer_config.json", "a", 1e400),
            "tokenizer_config.json: not valid JSON (line 1: Inf",
        ),
    ],
)
def test_names_the_file_and_what_is_wrong(tmp_path: Path, damage: Callable[[Path], None], said: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(DEMO / "models" / "tiny-wan-t2v", folder)
    damage(folder)
    with pytest.raises(WeightsError) as caught:
        check_checkpoint(folder, own_encoder=True)
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["text_encoder/config.json", "image_encoder/config.json"])
def test_a_missing_encoder_is_named_though_it_is_loaded_later(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(DEMO / "models" / "tiny-wan-i2v", folder)
    (folder / name).unlink()
    with pytest.raises(WeightsError, match=f"{name}: cannot be read"):
        check_checkpoint(folder, own_encoder=True)


def test_another_checkpoints_encoder_is_compared_by_itself(tmp_path: Path) -> None:
    shutil.copytree(DEMO / "models" / "tiny-wan-t2v" / "text_encoder", tmp_path / "text_encoder")
    check_encoder(tmp_path)
    folder = tmp_path / "model"
    shutil.copytree(DEMO / "models" / "tiny-wan-t2v", folder)
    shutil.rmtree(folder / "text_encoder")
    check_checkpoint(folder, own_encoder=False)
    with pytest.raises(WeightsError, match="text_encoder"):
        check_checkpoint(folder, own_encoder=True)
