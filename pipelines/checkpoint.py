"""Checkpoints in diffusers layout: a folder, or a Hub id that becomes a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from pipelines.checkpoint_files import check_checkpoint, check_encoder
from pipelines.errors import WeightsError
from pipelines.recipe import Recipe

if TYPE_CHECKING:
    import torch

# What the Wan pipelines read. The repositories hold nothing else of size, but mirrors may.
_PATTERNS = ["*.json", "*/*.json", "*/*.safetensors", "tokenizer/*"]


def folder_of(source: str, *, token: str | None = None, only: list[str] | None = None) -> Path:
    """The local folder of a checkpoint, downloaded or taken from the Hub's cache if `source` is a Hub id.

    `token`: a Hub token; without one, HF_TOKEN and the Hub's own login are used. `only`: file patterns to fetch.
    Raises WeightsError if it cannot be had.
    """
    folder = Path(source)
    if folder.is_dir():
        return folder
    if folder.is_absolute() or source.count("/") != 1:
        raise WeightsError(f"checkpoint {source} is neither a folder here nor a Hub id (owner/name)")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(source, token=token, allow_patterns=only or _PATTERNS))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(
            f"checkpoint {source} could not be fetched from the Hub: {reason}\n"
            "  set HF_TOKEN if it is gated, or point `checkpoint:` in the case to a local copy"
        ) from None


_RAISED = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    AttributeError,
    ImportError,
    SafetensorError,
)
"""By diffusers and transformers on a checkpoint that does not fit together."""


def load_pipeline(recipe: Recipe, *, token: str | None = None) -> Any:
    """The recipe's diffusers pipeline on the CPU, as `from_pretrained(dtype=…)` leaves it.

    diffusers keeps the modules it wants in float32 there. Raises WeightsError for a checkpoint that does not load.
    """
    import torch

    from pipelines.torch_setup import declare_missing_torchvision_operators, quiet_loading

    declare_missing_torchvision_operators()
    import diffusers

    quiet_loading()
    folder = folder_of(recipe.checkpoint, token=token)
    dtype: torch.dtype = getattr(torch, recipe.precision.dtype)
    parts: dict[str, Any] = {}
    check_checkpoint(folder, own_encoder=recipe.text_encoder is None)
    try:
        if recipe.text_encoder is not None:
            from transformers import UMT5EncoderModel

            encoder = folder_of(recipe.text_encoder, token=token)
            check_encoder(encoder)
            parts["text_encoder"] = UMT5EncoderModel.from_pretrained(encoder, subfolder="text_encoder", dtype=dtype)
        pipe = getattr(diffusers, recipe.pipeline).from_pretrained(folder, dtype=dtype, local_files_only=True, **parts)
    except _RAISED as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        reason = " ".join(str(error).split())[:400]
        raise WeightsError(f"{folder}: does not load as {recipe.pipeline}: {reason}") from None
    _check_kind(pipe, recipe, folder)
    _check_whole(pipe, folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _check_whole(pipe: Any, folder: Path) -> None:
    """What no file had weights for is left without any, and would be found out only when it is used."""
    for part in ("transformer", "vae", "text_encoder", "image_encoder"):
        model = getattr(pipe, part, None)
        missing = [name for name, weight in model.named_parameters() if weight.is_meta] if model is not None else []
        if missing:
            raise WeightsError(f"{folder / part}: has no weights for {len(missing)} parameters, e.g. {missing[0]}")


def _check_kind(pipe: Any, recipe: Recipe, folder: Path) -> None:
    """A T2V transformer reads latents alone; an I2V one also the image's latents and a mask of 4 channels."""
    latents, channels = pipe.vae.config.z_dim, pipe.transformer.config.in_channels
    is_i2v = recipe.pipeline == "WanImageToVideoPipeline"
    if channels != (2 * latents + 4 if is_i2v else latents):
        kind = "an I2V" if is_i2v else "a T2V"
        raise WeightsError(
            f"{folder}: {recipe.model} needs {kind} checkpoint, but this transformer takes {channels} channels"
        )
