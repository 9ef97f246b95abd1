"""Hashes of weights and code, on which the bits of a generation depend besides its recipe and environment."""

from __future__ import annotations

import functools
import hashlib
import re
from importlib.util import find_spec
from pathlib import Path

from pipelines.engine.checkpoint import folders
from pipelines.files.digests import sha256_files
from pipelines.phases import OnPhase, unheard
from pipelines.recipe import Recipe

_LIBRARIES = ("diffusers", "transformers", "peft", "accelerate")
"""The libraries that people edit in place. torch's kernels cannot be edited; its version identifies them."""
_OURS = __package__.rpartition(".")[0]
"""The whole package `pipelines`, because sizes, schedules and files are decided outside the engine."""
_READ = (".json", ".safetensors", ".model", ".txt")
"""The endings of the files that a pipeline is loaded from."""
_BLOB = re.compile(r"[0-9a-f]{64}")
"""The name of a large file in the Hub's cache, which is its SHA-256."""


def weights(recipe: Recipe, token: str | None = None, on_phase: OnPhase = unheard) -> str:
    """Return the hex SHA-256 of the files of a recipe's pipeline. Raises WeightsError if there are none."""
    digest = hashlib.sha256()
    found = folders(recipe, token, on_phase)
    on_phase("check", "")
    for name in ("checkpoint", "text_encoder"):
        digest.update(of_folder(found.pop(name)).encode() if name in found else b"\0")
    for name, folder in found.items():
        digest.update(f"{name}\0{of_folder(folder)}".encode())
    return digest.hexdigest()


def of_folder(folder: Path) -> str:
    """Return the hex SHA-256 of the files in a folder that something is loaded from."""
    digest = hashlib.sha256()
    paths = sorted(path for path in folder.rglob("*") if path.suffix in _READ and path.is_file())
    named = {path: name for path in paths if (name := _blob_name(path)) is not None}
    read = [path for path in paths if path not in named]
    hashes = named | dict(zip(read, sha256_files(read), strict=True))
    for path in paths:
        digest.update(f"{path.relative_to(folder).as_posix()}\0{hashes[path]}\n".encode())
    return digest.hexdigest()


def _blob_name(path: Path) -> str | None:
    """The SHA-256 in the name of a file of the Hub's cache, which need not be read."""
    target = path.resolve().name if path.is_symlink() else ""
    return target if _BLOB.fullmatch(target) else None


@functools.cache
def code() -> str:
    """Return the hex SHA-256 of the Python sources of this package and the libraries. It takes a second.

    A version number does not show that a library was edited in place.
    """
    digest = hashlib.sha256()
    for name in (_OURS, *_LIBRARIES):
        spec = find_spec(name)
        for root in map(Path, spec.submodule_search_locations or () if spec else ()):
            for path in sorted(root.rglob("*.py")):
                digest.update(f"{name}/{path.relative_to(root).as_posix()}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()
