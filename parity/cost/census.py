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
from pipelines.files.content import present
from pipelines.lora_files import read_header
from pipelines.recipe import Recipe

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
    weights = recipe.weights
    own = Path(weights.checkpoint)
    elsewhere = {part: Path(source) for part, source in weights.elsewhere().items()}
    folders = {
        "transformer": elsewhere.get("transformers", own) / "transformer",
        "transformer_2": elsewhere.get("transformers", own) / "transformer_2",
        "text_encoder": elsewhere.get("text_encoder", own) / "text_encoder",
        "image_encoder": own / "image_encoder",
        "vae": elsewhere.get("vae", own) / "vae",
    }
    if not present(folders["vae"]) and "vae" in elsewhere:
        folders["vae"] = elsewhere["vae"]  # a VAE may be named by its own folder
    read = {name: _read(folders[name]) for name in known}
    return Parts(
        {name: read[name] or tensors for name, tensors in known.items()},
        tuple(name for name in known if not read[name]),
    )


@functools.lru_cache(maxsize=64)
def _read(folder: Path) -> Tensors:
    """The tensors of a part's folder; none if it has no safetensors files that can be read."""
    found: dict[str, tuple[int, ...]] = {}
    try:
        for path in _files(folder):
            found |= read_header(path).shapes
    except (OSError, ValueError, WeightsError):
        return ()
    if "shared.weight" in found:
        found.pop("encoder.embed_tokens.weight", None)  # the same tensor under its second name
    return tuple(Tensor(name, shape) for name, shape in found.items())


def _files(folder: Path) -> list[Path]:
    """The files that diffusers and transformers load: those of the index, or the one."""
    for stem in ("diffusion_pytorch_model", "model"):
        index = folder / f"{stem}.safetensors.index.json"
        if index.is_file():
            names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
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
