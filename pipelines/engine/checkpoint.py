"""Loads checkpoints in diffusers layout from a folder, or from a Hub id that is downloaded to one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pipelines.engine.checkpoint_files import (
    check_checkpoint,
    check_encoder,
    check_encoder_fits,
    check_model,
    check_tokenizer,
)
from pipelines.errors import ParityError, WeightsError
from pipelines.files.words import sentence
from pipelines.hub import folder_of, is_hub_id
from pipelines.large_imports import uncollected
from pipelines.phases import OnPhase, unheard
from pipelines.recipe import EXPERT_PARTS, Dtype, Encoder, Expert, Recipe

if TYPE_CHECKING:
    import torch


def folders(recipe: Recipe, token: str | None = None, on_phase: OnPhase = unheard) -> dict[str, Path]:
    """Return the folders of a recipe's weights: `checkpoint`, and one for each part that comes from elsewhere.

    Missing files are downloaded, but only those that are read: an expert has 28 GB. Raises WeightsError.
    """
    found = {}
    for name, source in recipe.weights.sources(experts=recipe.boundary is not None).items():
        if is_hub_id(source.place):
            on_phase("download", source.place)
        found[name] = folder_of(source.place, token=token, only=source.files)
    return found


def transformer_folders(found: Mapping[str, Path], recipe: Recipe) -> dict[str, Path]:
    """Return where each transformer of a recipe's pipeline is loaded from, by its name there. `found`: as `folders`."""
    root = found.get("transformers", found["checkpoint"])
    parts = ("transformer",) if recipe.boundary is None else tuple(EXPERT_PARTS[expert] for expert in get_args(Expert))
    return {part: root / part for part in parts}


SPOKEN = {
    "text_encoder": "the text encoder",
    "tokenizer": "the tokenizer",
    "image_encoder": "the image encoder",
    "transformer": "the transformer",
    "transformer_2": "the second transformer",
    "vae": "the VAE",
}
"""The parts of a pipeline, as progress names them."""


def load_pipeline(recipe: Recipe, *, token: str | None = None, on_phase: OnPhase = unheard) -> Any:
    """Load the recipe's diffusers pipeline on the CPU, as `from_pretrained(dtype=…)` does, without its encoders.

    These are only checked: `load_encoder` loads them once something must be encoded. Some modules stay in float32, as
    diffusers requires. Raises WeightsError for a checkpoint that does not load.
    """
    import torch

    from pipelines.engine.torch_setup import declare_missing_torchvision_operators, quiet_loading

    on_phase("load", "the libraries")
    declare_missing_torchvision_operators()
    quiet_loading()
    found = folders(recipe, token, on_phase)
    folder = found["checkpoint"]
    dtype: torch.dtype = getattr(torch, recipe.precision.dtype)
    load = _load_whole if recipe.boundary is None else _load_parts
    with _one_message(folder, recipe.pipeline):
        pipe = load(_class(recipe.pipeline), found, recipe, dtype, on_phase)
        pipe.tokenizer.backend_tokenizer.encode("a")  # a damaged one may fail only then; calling it starts threads
    check_kind(pipe, recipe, folder)
    for part in ("transformer", "transformer_2", "vae"):
        _check_whole(getattr(pipe, part, None), folder / part)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _class(name: str) -> Any:
    """Return a pipeline of diffusers by its name, whose modules are imported only now."""
    with uncollected():
        import diffusers

        return getattr(diffusers, name)


def _load_whole(pipeline: Any, found: dict[str, Path], recipe: Recipe, dtype: torch.dtype, on_phase: OnPhase) -> Any:
    """Load Wan 2.1 or Wan 2.2 5B from one folder; only its text encoder may come from elsewhere."""
    folder = found["checkpoint"]
    check_checkpoint(folder, own_encoder="text_encoder" not in found)
    if "text_encoder" in found:
        check_encoder(found["text_encoder"])
    parts: dict[str, Any] = {"text_encoder": None, "scheduler": None}
    if recipe.pipeline == "WanImageToVideoPipeline":
        parts["image_encoder"] = None
    if recipe.quantization.transformer is not None:
        from pipelines.engine.quantized import load_transformer

        parts["transformer"] = load_transformer(
            folder / "transformer", recipe.precision, recipe.quantization, None, on_phase
        )
    with _told(on_phase):
        return pipeline.from_pretrained(folder, dtype=dtype, use_safetensors=True, local_files_only=True, **parts)


@contextmanager
def _told(on_phase: OnPhase) -> Iterator[None]:
    """Tell which part of a pipeline is being loaded. `from_pretrained` has no callback, only a function for each."""
    from diffusers.pipelines import pipeline_utils

    original = pipeline_utils.load_sub_model

    def load(*args: Any, **kwargs: Any) -> Any:
        on_phase("load", SPOKEN.get(kwargs.get("name", ""), ""))
        return original(*args, **kwargs)

    pipeline_utils.load_sub_model = load
    try:
        yield
    finally:
        pipeline_utils.load_sub_model = original


def _load_parts(pipeline: Any, found: dict[str, Path], recipe: Recipe, dtype: torch.dtype, on_phase: OnPhase) -> Any:
    """Load Wan 2.2 14B, whose parts come from several repositories; not all of these are complete pipelines."""
    from diffusers import AutoencoderKLWan, WanTransformer3DModel
    from transformers import AutoTokenizer

    folder = found["checkpoint"]
    experts, encoder = found.get("transformers", folder), found.get("text_encoder", folder)
    vae = vae_folder(found)
    for part in ("transformer", "transformer_2"):
        check_model(experts / part, "transformer")
    check_model(vae, "vae")
    check_encoder(encoder)
    check_tokenizer(encoder)
    loaded: dict[str, Any] = {}
    for expert in get_args(Expert):
        part = EXPERT_PARTS[expert]
        if recipe.quantization.transformer is not None:
            from pipelines.engine.quantized import load_transformer

            loaded[part] = load_transformer(experts / part, recipe.precision, recipe.quantization, expert, on_phase)
        else:
            on_phase("load", SPOKEN[part])
            loaded[part] = WanTransformer3DModel.from_pretrained(
                experts, subfolder=part, torch_dtype=dtype, use_safetensors=True, local_files_only=True
            )
    return pipeline(
        **loaded,
        vae=AutoencoderKLWan.from_pretrained(vae, torch_dtype=dtype, use_safetensors=True, local_files_only=True),
        text_encoder=None,
        tokenizer=AutoTokenizer.from_pretrained(
            encoder, subfolder="tokenizer", trust_remote_code=False, local_files_only=True
        ),
        scheduler=recipe.scheduler.build(),
        boundary_ratio=recipe.boundary,
    )


def load_vae(recipe: Recipe, dtype: Dtype, token: str | None = None) -> Any:
    """Load the recipe's VAE in a dtype of its own, on the CPU. Raises WeightsError."""
    import torch
    from diffusers import AutoencoderKLWan

    folder = vae_folder(folders(recipe, token))
    check_model(folder, "vae")
    with _one_message(folder, "a VAE"):
        return AutoencoderKLWan.from_pretrained(
            folder, torch_dtype=getattr(torch, dtype), use_safetensors=True, local_files_only=True
        )


def vae_folder(found: Mapping[str, Path]) -> Path:
    """Return the folder of the VAE, of `folders`' answer."""
    vae = found.get("vae", found["checkpoint"])
    return vae / "vae" if (vae / "vae").is_dir() or "vae" not in found else vae


def tokenizer_folder(found: Mapping[str, Path], recipe: Recipe) -> Path:
    """Return the folder of the tokenizer that `load_pipeline` loads, of `folders`' answer."""
    apart = found.get("text_encoder", found["checkpoint"])
    return (found["checkpoint"] if recipe.boundary is None else apart) / "tokenizer"


def load_encoder(part: Encoder, folder: Path, dtype: torch.dtype) -> Any:
    """Load UMT5 or CLIP from its own folder on the CPU, as a pipeline's `from_pretrained` does. Raises WeightsError."""
    with uncollected():
        from transformers import CLIPVisionModel, UMT5EncoderModel
    model: Any = {"text_encoder": UMT5EncoderModel, "image_encoder": CLIPVisionModel}[part]
    check_encoder_fits(folder, model)
    with _one_message(folder, model.__name__):
        encoder, found = model.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    if missing := sorted(found["missing_keys"]):  # transformers makes up numbers for them
        raise _without_weights(folder, missing)
    return encoder


@contextmanager
def _one_message(folder: Path, name: str) -> Iterator[None]:
    """Turn whatever the libraries raise for an inconsistent checkpoint into a WeightsError.

    That may be any exception, Exception itself included, and a panic of tokenizers' Rust, which is no Exception. An
    error of the machine, not of the weights, stays itself.
    """
    import torch

    try:
        yield
    except (ParityError, MemoryError, torch.OutOfMemoryError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__module__ != "pyo3_runtime":
            raise
        raise WeightsError(f"{folder}: does not load as {name}: {sentence(error, 400)}") from None


def _check_whole(model: Any, folder: Path) -> None:
    """Raise WeightsError for parameters without weights in any file, which would fail only when they are used."""
    missing = [name for name, weight in model.named_parameters() if weight.is_meta] if model is not None else []
    if missing:
        raise _without_weights(folder, missing)


def _without_weights(folder: Path, missing: Sequence[str]) -> WeightsError:
    return WeightsError(f"{folder}: has no weights for {len(missing)} parameters, e.g. {missing[0]}")


def check_kind(pipe: Any, recipe: Recipe, folder: Path) -> None:
    """Check the input channels: a T2V transformer reads latents; an I2V one also image latents and a 4-channel mask.

    The VAE of Wan 2.2 5B makes a pixel of 16x16, all others one of 8x8; its transformer reads latents alone.
    """
    if recipe.boundary is None and pipe.transformer_2 is not None:
        raise WeightsError(
            f"{folder}: {recipe.model} has one transformer, this checkpoint has two: it belongs to Wan 2.2"
        )
    if (pipe.vae.config.scale_factor_spatial == 16) != recipe.expand_timesteps:
        owner = "is another model" if recipe.expand_timesteps else "belongs to Wan 2.2 5B"
        raise WeightsError(f"{folder}: not a checkpoint of {recipe.model}: its VAE {owner}'s")
    latents, channels = pipe.vae.config.z_dim, pipe.transformer.config.in_channels
    is_i2v = recipe.pipeline == "WanImageToVideoPipeline" and not recipe.expand_timesteps
    if channels != (2 * latents + 4 if is_i2v else latents):
        kind = "an I2V" if is_i2v else "a T2V"
        raise WeightsError(
            f"{folder}: {recipe.model} needs {kind} checkpoint, but this transformer takes {channels} channels"
        )
