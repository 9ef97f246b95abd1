"""What a drawing's bits depend on besides its recipe and its environment: the weights' and the code's content."""

from __future__ import annotations

import functools
import hashlib
import re
from importlib.util import find_spec
from pathlib import Path

from pipelines.engine.checkpoint import folders
from pipelines.files.content import sha256_file
from pipelines.recipe import Recipe

_LIBRARIES = ("diffusers", "transformers", "peft", "accelerate")
"""Those people edit in place. torch's kernels cannot be; its version, in the environment, says what they are."""
_OURS = __package__.rpartition(".")[0]
"""All of `pipelines`, not the engine alone: sizes, schedules and files are decided elsewhere in it."""
_READ = (".json", ".safetensors", ".model", ".txt")
"""Endings of the files a pipeline is loaded from."""
_BLOB = re.compile(r"[0-9a-f]{64}")
"""The Hub's cache names large files by their SHA-256."""


def weights(recipe: Recipe, token: str | None = None) -> str:
    """Hex SHA-256 over the files a recipe's pipeline is loaded from. Raises WeightsError if there are none."""
    digest = hashlib.sha256()
    found = folders(recipe, token)
    for name in ("checkpoint", "text_encoder"):
        digest.update(_folder(found.pop(name)).encode() if name in found else b"\0")
    for name, folder in found.items():
        digest.update(f"{name}\0{_folder(folder)}".encode())
    return digest.hexdigest()


def _folder(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.suffix in _READ and path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{_content(path)}\n".encode())
    return digest.hexdigest()


def _content(path: Path) -> str:
    target = path.resolve().name if path.is_symlink() else ""
    return target if _BLOB.fullmatch(target) else sha256_file(path)


@functools.cache
def code() -> str:
    """Hex SHA-256 over the Python sources between a recipe and its frames: this package and the libraries'.

    Versions do not tell a library that was edited in place from the one that was installed. Takes a second.
    """
    digest = hashlib.sha256()
    for name in (_OURS, *_LIBRARIES):
        spec = find_spec(name)
        for root in map(Path, spec.submodule_search_locations or () if spec else ()):
            for path in sorted(root.rglob("*.py")):
                digest.update(f"{name}/{path.relative_to(root).as_posix()}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()
