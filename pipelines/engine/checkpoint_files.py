"""Checks the files of a checkpoint before diffusers and transformers read them, whose errors name no file or come late.

It holds for Wan checkpoints in the layout of diffusers 0.42.1.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.errors import WeightsError
from pipelines.files import strict_json
from pipelines.files.content import read_text
from pipelines.files.words import cannot_read, shorten
from pipelines.large_imports import uncollected
from pipelines.lora_files import read_header

_MAX_BYTES = 128 << 20
"""The largest JSON file. UMT5's tokenizer.json has 17 MB."""

_MAX_SIZE = 1 << 20
"""The largest dimension or count. The largest in Wan is UMT5's vocabulary, 256,384."""

_CLASSES = {
    "transformer": ["diffusers", "WanTransformer3DModel"],
    "vae": ["diffusers", "AutoencoderKLWan"],
    "text_encoder": ["transformers", "UMT5EncoderModel"],
}
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_ENCODER_SIZES = ("d_model", "d_kv", "d_ff", "num_layers", "num_heads", "vocab_size", "relative_attention_num_buckets")


def check_checkpoint(folder: Path, *, own_encoder: bool) -> None:
    """Raise WeightsError for a file that is missing, damaged, or contains values that no Wan model has.

    `own_encoder` is false if the text encoder comes from another checkpoint, which `check_encoder` checks.
    """
    path = folder / "model_index.json"
    index = _read_object(path)
    for part, class_names in _CLASSES.items():
        if index.get(part) != class_names:
            raise WeightsError(f"{path}: {part} is {_short(index.get(part))}, not {class_names[1]}; is it a Wan model?")
    for part, value in index.items():
        if isinstance(value, list) and value[:1] not in (["diffusers"], ["transformers"], [None]):
            raise WeightsError(
                f"{path}: {part} is {_short(value)}; only parts from diffusers and transformers are loaded"
            )
    for part in ("transformer", "vae"):
        check_model(folder / part, part)
    if own_encoder:
        check_encoder(folder)
    if index.get("image_encoder") == ["transformers", "CLIPVisionModel"]:
        _read_object(folder / "image_encoder" / "config.json")
        _check_weights(folder / "image_encoder")
    check_tokenizer(folder)


def check_model(folder: Path, part: str) -> None:
    """Check a single transformer or VAE in its own folder. Raises WeightsError."""
    from pipelines.engine.torch_setup import declare_missing_torchvision_operators

    declare_missing_torchvision_operators()
    with uncollected():
        import diffusers

        model = getattr(diffusers, _CLASSES[part][1])
    path = folder / "config.json"
    config = _read_object(path)
    _check_against(path, config, model)
    names = _check_weights(folder)
    if part == "transformer":
        _check_blocks(path, config, names)
    elif len(config.get("latents_mean", ())) != len(config.get("latents_std", ())):
        raise WeightsError(f"{path}: latents_mean and latents_std differ in length; copy the file again")


def check_tokenizer(folder: Path) -> None:
    """Check the tokenizer of a checkpoint. Raises WeightsError."""
    for name in _TOKENIZER:
        if (folder / "tokenizer" / name).exists():
            _read_object(folder / "tokenizer" / name)


def check_encoder(folder: Path) -> None:
    """Check the text encoder of a checkpoint. Raises WeightsError."""
    path = folder / "text_encoder" / "config.json"
    config = _read_object(path)
    for key in _ENCODER_SIZES:
        _check_size(path, key, config.get(key, 1))
    _check_weights(folder / "text_encoder")


def _read_object(path: Path) -> dict[str, Any]:
    try:
        data = strict_json.loads(read_text(path, _MAX_BYTES))
    except UnicodeDecodeError:
        raise WeightsError(f"{path}: not a text file; copy it again") from None
    except OSError as error:
        raise WeightsError(f"{cannot_read(path, error)}; is the checkpoint complete?") from None
    except ValueError as error:
        raise WeightsError(f"{path}: not valid JSON ({error}); copy it again") from None
    if not isinstance(data, dict):
        raise WeightsError(f"{path}: must contain keys and values; copy it again")
    return data


def _check_weights(folder: Path) -> set[str]:
    """Return the names of all tensors; an empty set if the weights have an older format than safetensors."""
    names: set[str] = set()
    for path in sorted(folder.glob("*.safetensors")):
        names |= set(read_header(path).shapes)
    for path in folder.glob("*.safetensors.index.json"):
        _read_object(path)
    return names


def _check_blocks(path: Path, config: Mapping[str, Any], names: set[str]) -> None:
    blocks = {match[1] for name in names if (match := re.match(r"blocks\.(\d+)\.", name))}
    layers = config.get("num_layers")
    if names and layers is not None and len(blocks) != layers:
        raise WeightsError(f"{path}: num_layers is {layers}, but the weights beside it have {len(blocks)} blocks")


def _check_against(path: Path, config: Mapping[str, Any], model: type) -> None:
    """Check that every setting has the type of its default."""
    for key, parameter in inspect.signature(model.__init__).parameters.items():  # type: ignore[misc]
        if key not in config or parameter.default in (inspect.Parameter.empty, None):
            continue
        value, default = config[key], parameter.default
        if isinstance(default, bool):
            if not isinstance(value, bool):
                raise WeightsError(f"{path}: {key} must be true or false, is {_short(value)}")
        elif isinstance(default, int):
            _check_size(path, key, value)
        elif isinstance(default, float):
            if not _is_number(value):
                raise WeightsError(f"{path}: {key} must be a number, is {_short(value)}")
        elif isinstance(default, list | tuple):
            kind = type(default[0]) if default else None
            fits = isinstance(value, list) and (kind is None or all(_like(item, kind) for item in value))
            same = isinstance(default, list) or not isinstance(value, list) or len(value) == len(default)
            if not fits or not same:
                raise WeightsError(f"{path}: {key} must be like {_short(list(default))}, is {_short(value)}")


def _check_size(path: Path, key: str, value: Any) -> None:
    if type(value) is not int or not 1 <= value <= _MAX_SIZE:
        raise WeightsError(f"{path}: {key} must be a number from 1 to {_MAX_SIZE}, is {_short(value)}; copy it again")


def _like(value: Any, kind: type) -> bool:
    if kind is float:
        return _is_number(value)
    return type(value) is kind


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _short(value: Any) -> str:
    return shorten(repr(value), 60)
