"""The tensors of a model's parts: those of the published models, and those that a local checkpoint's files have."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from pipelines.errors import WeightsError
from pipelines.hub import is_folder, is_hub_id
from pipelines.lora_files import read_header
from pipelines.recipe import Recipe
from pipelines.weights import Part

PartName = str
"""The name of a part in a diffusers pipeline: transformer, transformer_2, text_encoder, image_encoder, vae."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A weight, or several that differ by a number in their names."""

    name: str
    """Numbers inside are `*` for a published model."""
    shape: tuple[int, ...]
    count: int = 1

    @property
    def numbers(self) -> int:
        return self.count * math.prod(self.shape)


Tensors = tuple[Tensor, ...]

_TRANSFORMERS = {
    "wan21_14b": "wan21-14b",
    "wan21_1b": "wan21-1.3b",
    "wan21_i2v_14b": "wan21-i2v-14b",
    "wan21_i2v_14b480p": "wan21-i2v-14b",
    "wan22_14b_t2v": "wan21-14b",
    "wan22_14b_i2v": "wan22-i2v-14b",
    "wan22_5b": "wan22-5b",
}
"""The transformer of each model in census.json; both experts of Wan 2.2 are alike."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The tensors of each part of a recipe's pipeline."""

    tensors: Mapping[PartName, Tensors]
    assumed: tuple[PartName, ...]
    """The parts that are assumed to have the published model's size: they are not on this machine as files to read."""


def published(model: str) -> dict[PartName, Tensors]:
    """The parts of an API model as published."""
    from pipelines.catalog import MODELS

    transformer = _census()[_TRANSFORMERS[model]]
    experts = {"transformer_2": transformer} if MODELS[model].experts is not None else {}
    image = {"image_encoder": _census()["clip-vit-h"]} if model.startswith("wan21_i2v") else {}
    vae = _census()["wan22-vae" if model == "wan22_5b" else "wan21-vae"]
    return {"transformer": transformer, **experts, "text_encoder": _census()["umt5-xxl"], **image, "vae": vae}


def parts_of(recipe: Recipe) -> Parts:
    """The parts of a recipe's pipeline: read from the headers of the files in local folders, else as published."""
    known = published(recipe.model)
    if recipe.boundary is None:
        known.pop("transformer_2", None)
    elsewhere = recipe.weights.elsewhere()
    places = dict.fromkeys(known, recipe.weights.checkpoint)
    for part, names in PARTS_OF_SOURCE.items():
        places |= {name: elsewhere[part] for name in names if part in elsewhere}
    read = {name: _read(folder) if (folder := folder_of_part(places[name], name)) else () for name in known}
    return Parts(
        {name: read[name] or tensors for name, tensors in known.items()},
        tuple(name for name in known if not read[name]),
    )


PARTS_OF_SOURCE: Mapping[Part, tuple[PartName, ...]] = {
    "transformers": ("transformer", "transformer_2"),
    "text_encoder": ("text_encoder",),
    "vae": ("vae",),
}
"""The parts of a pipeline that come from each source of `Weights`."""


def folder_of_part(place: str, part: PartName) -> Path | None:
    """The folder of a part on this machine: in a local checkpoint, or in the Hub's cache; None: it is not there."""
    subfolders = (part, "") if part == "vae" else (part,)  # a VAE may be a checkpoint of its own
    if is_folder(place):
        return next((folder for name in subfolders if weight_files(folder := Path(place) / name)), None)
    if not is_hub_id(place):
        return None
    from huggingface_hub import try_to_load_from_cache

    configs = (try_to_load_from_cache(place, f"{name}/config.json".lstrip("/")) for name in subfolders)
    return next((Path(config).parent for config in configs if isinstance(config, str)), None)


@functools.lru_cache(maxsize=64)
def _read(folder: Path) -> Tensors:
    """The tensors of a part's folder; none if it has no safetensors files that can be read."""
    found: dict[str, tuple[int, ...]] = {}
    try:
        for path in weight_files(folder):
            found |= read_header(path).shapes
    except WeightsError:
        return ()
    if "shared.weight" in found:
        found.pop("encoder.embed_tokens.weight", None)  # the same tensor under its second name
    return tuple(Tensor(name, shape) for name, shape in found.items())


def weight_files(folder: Path) -> list[Path]:
    """The weight files that diffusers and transformers load from a part's folder: those of the index, or the one.

    None if there are no safetensors files, or the index cannot be read.
    """
    for stem in ("diffusion_pytorch_model", "model"):
        index = folder / f"{stem}.safetensors.index.json"
        if index.is_file():
            try:
                names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                return []
            return sorted({folder / str(name) for name in names})
        if (folder / f"{stem}.safetensors").is_file():
            return [folder / f"{stem}.safetensors"]
    return []


@functools.cache
def _census() -> Mapping[str, Tensors]:
    """census.json, which `python -m tests.census` computes from the classes of diffusers and transformers."""
    data = json.loads((files(__package__) / "census.json").read_text(encoding="utf-8"))
    return {
        part: tuple(Tensor(name, tuple(shape), count) for name, shape, count in rows) for part, rows in data.items()
    }


def layer_of(name: str) -> str:
    """The name of the layer that a tensor belongs to."""
    return re.sub(r"\.?[^.]+$", "", name)
