"""Checks the files of a checkpoint before diffusers and transformers read them, whose errors name no file or come late.

A checkpoint is data: what would make a library run code, read pickles or fetch anything is refused (SECURITY.md). It
holds for Wan checkpoints in the layout of diffusers 0.42.1, as that and transformers 5.23.0 load them.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.errors import WeightsError
from pipelines.files import strict_json
from pipelines.files.content import present, read_text
from pipelines.files.words import cannot_read, shorten, words_of
from pipelines.large_imports import uncollected
from pipelines.lora_files import read_header
from pipelines.weight_files import DIFFUSERS, TRANSFORMERS, weight_files

_MAX_BYTES = 128 << 20
"""The largest JSON file. UMT5's tokenizer.json has 17 MB."""

_MAX_SIZE = 1 << 20
"""The largest dimension or count. The largest in Wan is UMT5's vocabulary, 256,384."""
_MAX_SIDE = 1 << 12
_MOST = {"num_res_blocks": 16, "rope_max_seq_len": 1 << 14}
"""What makes a model large without weights, or slow to describe. Wan has 2 and 1024."""
_LONGEST = 128
"""The longest list of numbers in a config. Wan's latents have 48 means."""

_CLASSES = {
    "transformer": ["diffusers", "WanTransformer3DModel"],
    "vae": ["diffusers", "AutoencoderKLWan"],
    "text_encoder": ["transformers", "UMT5EncoderModel"],
}
_CLASSES_OF_REST = {
    "image_encoder": (["transformers", "CLIPVisionModelWithProjection"], ["transformers", "CLIPVisionModel"]),
    "image_processor": (["transformers", "CLIPImageProcessor"], ["transformers", "CLIPImageProcessorFast"]),
    "tokenizer": (["transformers", "T5TokenizerFast"], ["transformers", "T5Tokenizer"]),
    "transformer_2": (["diffusers", "WanTransformer3DModel"],),
}
"""Of the other parts, which a checkpoint need not have. A scheduler is any of diffusers'.

The first of each are those of Wan-AI's repositories; CLIP is loaded as a CLIPVisionModel, whatever it was saved as.
"""
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_ENCODER_SIZES = ("d_model", "d_kv", "d_ff", "num_layers", "num_heads", "vocab_size", "relative_attention_num_buckets")
_IMAGE_ENCODER_SIZES = (
    *("hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers", "num_attention_heads"),
    *("num_channels", "image_size", "patch_size"),
)
_LAYERS = {
    "transformer": ("num_layers", re.compile(r"blocks\.(\d+)\.")),
    "text_encoder": ("num_layers", re.compile(r"encoder\.block\.(\d+)\.")),
    "image_encoder": ("num_hidden_layers", re.compile(r"(?:vision_model\.)?encoder\.layers\.(\d+)\.")),
}
"""Which setting counts a model's layers, and how the names of their tensors begin."""
_ATTENTION = ("eager", "sdpa")
"""The implementations that transformers itself has. It takes any other name for a repository of kernels on the Hub,
downloads it and loads its native code (`modeling_utils`, 5.23.0), which a config.json can ask for.
"""
_ADAPTER = "adapter_config.json"
"""It makes transformers load another model than the folder's, from wherever it says (`maybe_load_adapters`)."""


def check_checkpoint(folder: Path, *, own_encoder: bool) -> None:
    """Raise WeightsError for a file that is missing, damaged, or contains values that no Wan model has.

    `own_encoder` is false if the text encoder comes from another checkpoint, which `check_encoder` checks.
    """
    path = folder / "model_index.json"
    index = _read_object(path)
    for part, class_names in _CLASSES.items():
        if index.get(part) != class_names:
            raise WeightsError(f"{path}: {part} is {_short(index.get(part))}, not {class_names[1]}; is it a Wan model?")
    if not isinstance(index.get("_class_name", ""), str):
        raise WeightsError(f"{path}: _class_name is {_short(index['_class_name'])}; pipelines of others are not loaded")
    for part, value in index.items():
        if (isinstance(value, list) or part in _CLASSES_OF_REST) and not _is_known(part, value):
            raise WeightsError(
                f"{path}: {part} is {_short(value)}; only the parts of a Wan pipeline, from diffusers and "
                "transformers, are loaded"
            )
    for part in ("transformer", "vae"):
        check_model(folder / part, part)
    if own_encoder:
        check_encoder(folder)
    if index.get("image_encoder") in _CLASSES_OF_REST["image_encoder"]:
        _check_encoder(folder / "image_encoder", "image_encoder", _IMAGE_ENCODER_SIZES)
    _check_no_code(folder / "scheduler")
    _check_image_processor(folder / "image_processor")
    check_tokenizer(folder)


def _is_known(part: str, value: Any) -> bool:
    """Whether a part of model_index.json is one that these libraries have; [None, None] says that there is none."""
    if value == [None, None]:
        return True
    if part == "scheduler":
        match value:
            case ["diffusers", str(name)]:
                return re.fullmatch(r"[A-Za-z0-9]+Scheduler", name) is not None
        return False
    return value in [_CLASSES.get(part), *_CLASSES_OF_REST.get(part, ())]


def check_model(folder: Path, part: str) -> None:
    """Check a single transformer or VAE in its own folder. Raises WeightsError."""
    from pipelines.engine.torch_setup import declare_missing_torchvision_operators

    declare_missing_torchvision_operators()
    with uncollected():
        import diffusers

        model = getattr(diffusers, _CLASSES[part][1])
    path = folder / "config.json"
    config = _read_config(folder)
    _check_against(path, config, model)
    shapes = _shapes(folder, DIFFUSERS)
    if part == "transformer":
        _check_layers(path, config, shapes, part)
    elif len(config.get("latents_mean", ())) != len(config.get("latents_std", ())):
        raise WeightsError(f"{path}: latents_mean and latents_std differ in length; copy the file again")
    _check_amount(path, lambda: model.from_config(config), shapes)


def _check_image_processor(folder: Path) -> None:
    """Check what a control image is scaled to for CLIP, whose pictures have 224 pixels a side."""
    _check_no_code(folder)
    path = folder / "preprocessor_config.json"
    for key in ("size", "crop_size") if present(path) else ():
        value = _read_object(path).get(key)
        for number in value.values() if isinstance(value, Mapping) else [value]:
            if number is not None:
                _check_size(path, key, number, _MAX_SIDE)


def check_tokenizer(folder: Path) -> None:
    """Check the tokenizer of a checkpoint. Raises WeightsError."""
    _check_no_code(folder / "tokenizer")
    for name in _TOKENIZER:
        if (folder / "tokenizer" / name).exists():
            _read_object(folder / "tokenizer" / name)


def check_encoder(folder: Path) -> None:
    """Check the text encoder of a checkpoint. Raises WeightsError."""
    _check_encoder(folder / "text_encoder", "text_encoder", _ENCODER_SIZES)


def check_encoder_fits(folder: Path, model: Any) -> None:
    """Check that a model of transformers, as the config beside its weights describes it, is no larger than these.

    transformers would make up the numbers that no file has. Raises WeightsError.
    """
    config = _read_config(folder)

    def make() -> Any:
        return model(model.config_class.from_dict(config))

    _check_amount(folder / "config.json", make, _shapes(folder, TRANSFORMERS))


def _check_encoder(folder: Path, part: str, sizes: Sequence[str]) -> None:
    path = folder / "config.json"
    config = _read_config(folder)
    for key in sizes:
        _check_size(path, key, config.get(key, 1))
    _check_layers(path, config, _shapes(folder, TRANSFORMERS), part)


def _read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a model, which may ask for nothing but the model."""
    path = folder / "config.json"
    config = _read_object(path)
    _check_no_code(folder)
    if present(folder / _ADAPTER):
        raise WeightsError(
            f"{folder / _ADAPTER}: adapters inside a checkpoint are not supported; merge it, or remove it"
        )
    if config.get("quantization_config") is not None:
        raise WeightsError(
            f"{path}: quantization_config: checkpoints that are stored quantized are not supported yet; use one in "
            "bfloat16, float16 or float32"
        )
    if "transformers_weights" in config:
        raise WeightsError(f"{path}: transformers_weights names another file of weights; remove the key")
    for key, value in config.items():
        if "attn_implementation" in key and value is not None and type(value) is not bool and value not in _ATTENTION:
            raise WeightsError(
                f"{path}: {key} is {_short(value)}, which may be code to download; remove the key, only "
                f"{' and '.join(_ATTENTION)} are supported"
            )
    return config


def _check_no_code(folder: Path) -> None:
    """Refuse Python files in a part's folder: with some names diffusers 0.42.1 takes them for the part's class."""
    if found := sorted(folder.glob("*.py")):
        raise WeightsError(f"{found[0]}: code in a checkpoint is never run, and no Wan model has any; remove the file")


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


def _shapes(folder: Path, stem: str) -> dict[str, tuple[int, ...]]:
    """The shapes of all tensors of a model's files, by name."""
    return {name: shape for path in weight_files(folder, stem) for name, shape in read_header(path).shapes.items()}


def _check_layers(path: Path, config: Mapping[str, Any], names: Iterable[str], part: str) -> None:
    key, pattern = _LAYERS[part]
    layers = {match[1] for name in names if (match := pattern.match(name))}
    if key in config and len(layers) != config[key]:
        raise WeightsError(
            f"{path}: {key} is {config[key]}, but the weights beside it have {len(layers)} "
            f"{'blocks' if key == 'num_layers' else 'layers'}"
        )


def _check_amount(path: Path, make: Callable[[], Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse a config whose model has more numbers than its files, before memory is asked for them."""
    import torch

    try:
        with torch.device("meta"):
            needed = sum(weight.numel() for weight in make().parameters())
    except Exception as error:  # torch, diffusers and transformers raise many kinds for sizes that do not fit
        raise WeightsError(f"{path}: describes no model that can be made ({words_of(error)})") from None
    found = sum(math.prod(shape) for shape in shapes.values())
    if needed > found:
        raise WeightsError(
            f"{path}: describes a model of {needed} numbers, but the weights beside it have {found}; "
            "copy both again from one checkpoint"
        )


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
            _check_size(path, key, value, _MOST.get(key, _MAX_SIZE))
        elif isinstance(default, float):
            if not _is_number(value):
                raise WeightsError(f"{path}: {key} must be a number, is {_short(value)}")
        elif isinstance(default, list | tuple):
            kind = type(default[0]) if default else None
            fits = (
                isinstance(value, list)
                and len(value) <= _LONGEST
                and (kind is None or all(_like(item, kind) for item in value))
            )
            same = isinstance(default, list) or not isinstance(value, list) or len(value) == len(default)
            if not fits or not same:
                raise WeightsError(f"{path}: {key} must be like {_short(list(default))}, is {_short(value)}")


def _check_size(path: Path, key: str, value: Any, most: int = _MAX_SIZE) -> None:
    if type(value) is not int or not 1 <= value <= most:
        raise WeightsError(f"{path}: {key} must be a number from 1 to {most}, is {_short(value)}; copy it again")


def _like(value: Any, kind: type) -> bool:
    if kind is float:
        return _is_number(value)
    return type(value) is kind


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _short(value: Any) -> str:
    return shorten(repr(value), 60)
