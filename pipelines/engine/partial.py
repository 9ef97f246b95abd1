"""Loads parts of a checkpoint alone: a few transformer blocks with what surrounds them, the first part of a decoder.

Only the tensors that are needed are read, from whatever shard holds them, so that memory does not grow with the number
of layers. It holds for WanTransformer3DModel and AutoencoderKLWan of diffusers 0.42.1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.engine.checkpoint import check_kind, folders, transformer_folders, vae_folder
from pipelines.engine.checkpoint_files import check_model
from pipelines.errors import UnreproducibleError, UsageError, WeightsError
from pipelines.lora_files import check_coverage, expert_keys, read_header
from pipelines.phases import OnPhase, unheard
from pipelines.recipe import LoraFile, Precision, Recipe
from pipelines.weight_files import weight_files

if TYPE_CHECKING:
    import torch

_BLOCK = re.compile(r"blocks\.(\d+)\.")
_FIRST_OF_DECODER = ("post_quant_conv", "decoder.conv_in", "decoder.mid_block")
"""The modules of the VAE that are kept."""


def num_blocks(folder: Path) -> int:
    """The number of blocks of the transformer in a folder. Raises WeightsError."""
    try:
        return int(json.loads((folder / "config.json").read_text(encoding="utf-8"))["num_layers"])
    except (OSError, ValueError, KeyError, TypeError):
        raise WeightsError(f"{folder}/config.json: cannot be read, or has no num_layers; copy it again") from None


def load_parts(recipe: Recipe, blocks: Collection[int], token: str | None = None, on_phase: OnPhase = unheard) -> Any:
    """Load a recipe's pipeline on the CPU with these transformer blocks alone, and of the VAE the first of its decoder.

    It has no encoders and no tokenizer. Raises UsageError for a block that a transformer lacks, and WeightsError.
    """
    from pipelines.engine.torch_setup import declare_missing_torchvision_operators, quiet_loading

    declare_missing_torchvision_operators()
    quiet_loading()
    import diffusers

    found = folders(recipe, token, on_phase)
    parts: dict[str, Any] = {}
    for part, folder in transformer_folders(found, recipe).items():
        on_phase("load", f"{part}, block {', '.join(map(str, sorted(blocks)))}")
        check_model(folder, "transformer")
        parts[part] = _transformer(folder, recipe, blocks)
    on_phase("load", "the first part of the VAE's decoder")
    check_model(vae_folder(found), "vae")
    parts["vae"] = _first_of_decoder(vae_folder(found), recipe)
    if recipe.pipeline == "WanImageToVideoPipeline":
        parts |= {"image_encoder": None, "image_processor": None}
    pipe: Any = getattr(diffusers, recipe.pipeline)(
        tokenizer=None,
        text_encoder=None,
        scheduler=recipe.scheduler.build(),
        boundary_ratio=recipe.boundary,
        **parts,
    )
    check_kind(pipe, recipe, found["checkpoint"])
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _transformer(folder: Path, recipe: Recipe, blocks: Collection[int]) -> Any:
    from pipelines.engine.quantized import load_transformer

    layers, quantization = num_blocks(folder), recipe.quantization
    unknown = sorted(block for block in blocks if block >= layers)
    if unknown:
        raise UsageError(f"--blocks {unknown[0]}: {folder} has blocks 0 to {layers - 1}")
    if quantization.adapter is not None:
        raise UnreproducibleError("--blocks does not support accuracy recovery adapters yet; run the whole case")
    whole = quantization.transformer is None
    # What diffusers keeps in float32 is cast later, as in a whole pipeline; before quantizing it must be cast at once.
    precision = Precision(recipe.precision.dtype, "kept") if whole else recipe.precision
    return load_transformer(folder, precision, quantization, None, blocks=blocks)


def _first_of_decoder(folder: Path, recipe: Recipe) -> Any:
    """The VAE with nothing but the first part of its decoder, in the recipe's dtype."""
    import torch
    from diffusers import AutoencoderKLWan

    from pipelines.engine.quantized import tensors_of

    with torch.device("meta"):
        vae: Any = AutoencoderKLWan.from_config(AutoencoderKLWan.load_config(folder))
    vae.encoder = vae.quant_conv = None
    vae.decoder.up_blocks, vae.decoder.norm_out, vae.decoder.conv_out = torch.nn.ModuleList(), None, None
    dtype = getattr(torch, recipe.precision.dtype)
    modules = dict(vae.named_modules())
    for key, read in tensors_of(folder):
        name, _, leaf = key.rpartition(".")
        if name.startswith(_FIRST_OF_DECODER) and name in modules:
            modules[name]._parameters[leaf] = torch.nn.Parameter(read().to(dtype).clone(), requires_grad=False)
    missing = [name for name, weight in vae.named_parameters() if weight.is_meta]
    if missing:
        raise WeightsError(f"{folder}: has no weights for {len(missing)} parameters, e.g. {missing[0]}")
    return vae.eval()


def first_of_decoder(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """What the first part of the decoder makes of scaled latents (1, channels, frames, height, width)."""
    decoded: torch.Tensor = vae.decoder.mid_block(vae.decoder.conv_in(vae.post_quant_conv(latents)))
    return decoded


def part_of_lora(file: LoraFile, shapes: Mapping[str, tuple[int, ...]], blocks: Collection[int], place: Path) -> int:
    """Write the part of a LoRA file that belongs to these blocks, or to none, to `place`. Returns its layers.

    `shapes`: of all weights of the whole transformer, by module. Raises WeightsError for a file that does not fit it.
    """
    from safetensors import safe_open
    from safetensors.torch import save_file

    stored = read_header(file.path).shapes
    keys = expert_keys(stored, file.expert)
    biases = {name: shape[:1] for name, shape in shapes.items()}
    found = check_coverage(file.path, {key: stored[name] for key, name in keys.items()}, shapes, biases)
    kept = [parts for module, parts in found.layers.items() if _is_kept(module, blocks)]
    with safe_open(file.path, framework="pt") as source:
        save_file({keys[key]: source.get_tensor(keys[key]) for parts in kept for key in parts.values()}, place)
    return len(kept)


def _is_kept(module: str, blocks: Collection[int]) -> bool:
    block = _BLOCK.match(module)
    return block is None or int(block[1]) in blocks


def shapes_of(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of all weights of a model's folder, by module, from the heads of its files."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in weight_files(folder):
        for key, shape in read_header(path).shapes.items():
            if key.endswith(".weight"):
                shapes[key.removesuffix(".weight")] = tuple(shape)
    return shapes
