"""The weight files of a model's folder: safetensors, and nothing that could run code. Does not import torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pipelines.errors import WeightsError
from pipelines.files import strict_json
from pipelines.files.content import present, read_text
from pipelines.files.words import cannot_read, shorten

DIFFUSERS, TRANSFORMERS = "diffusion_pytorch_model", "model"
"""How the weight files of diffusers 0.42.1 and transformers 5.23.0 are named, before their endings."""
_MAX_BYTES = 128 << 20
_PICKLED = (".bin", ".pt", ".pth", ".ckpt")
"""The endings of files that `torch.load` reads. Both libraries fall back to `.bin` if there is no safetensors file."""


def weight_files(folder: Path, stem: str = DIFFUSERS) -> list[Path]:
    """The safetensors files that a model's folder is loaded from, all of them in this folder.

    Raises WeightsError if there are none, and for an index that is damaged or leads out of the folder.
    """
    whole, index = folder / f"{stem}.safetensors", folder / f"{stem}.safetensors.index.json"
    # diffusers prefers the index (`ModelMixin.from_pretrained`), transformers the whole file.
    if index.is_file() and not (stem == TRANSFORMERS and whole.is_file()):
        return [folder / name for name in _shards(index)]
    if whole.is_file():
        return [whole]
    pickled = sorted(path.name for path in _entries(folder) if path.suffix in _PICKLED)
    if pickled:
        raise WeightsError(
            f"{folder / pickled[0]}: pickled weights, which can run code, are not loaded; convert them to "
            f"{whole.name} (save_pretrained of the model does), or use a checkpoint that has it"
        )
    raise WeightsError(f"{whole}: cannot be read: No such file or directory; is the checkpoint complete?")


def _shards(index: Path) -> list[str]:
    """The files that an index names, in the order of their names."""
    try:
        data = strict_json.loads(read_text(index, _MAX_BYTES))
    except OSError as error:
        raise WeightsError(cannot_read(index, error)) from None
    except ValueError as error:
        raise WeightsError(f"{index}: not valid JSON ({error}); copy it again") from None
    places = data.get("weight_map") if isinstance(data, Mapping) else None
    if not isinstance(places, Mapping) or not places:
        raise WeightsError(f"{index}: must contain weight_map with the file of each tensor; copy it again")
    for name in places.values():
        if not isinstance(name, str) or os.path.basename(name) != name or "\\" in name:  # noqa: PTH119
            raise WeightsError(f"{index}: {shorten(repr(name), 60)} is no file in the same folder, and is not loaded")
        if not name.endswith(".safetensors"):
            raise WeightsError(f"{index}: {shorten(repr(name), 60)} is no safetensors file, and is not loaded")
        if not present(index.with_name(name)):
            raise WeightsError(f"{index.with_name(name)}: missing, {index.name} names it; is the checkpoint complete?")
    return sorted(set(places.values()))


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
