"""Hashes of weights and code, on which the bits of a generation depend besides its recipe and environment."""

from __future__ import annotations

import functools
import hashlib
import re
import threading
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from pipelines.downloads import cache_folder
from pipelines.engine.checkpoint import folders
from pipelines.files.digests import known_sha256, sha256_files
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
    return Hashing(recipe, token, on_phase).result()


class Hashing:
    """The hash of a recipe's files, as `weights` returns it, made in a thread beside whatever else is done."""

    def __init__(self, recipe: Recipe, token: str | None = None, on_phase: OnPhase = unheard) -> None:
        """Files that are missing are downloaded first. Raises WeightsError."""
        self._found = folders(recipe, token, on_phase)
        on_phase("check", "")
        self._thread: threading.Thread | None = None
        self._made: str | Exception | None = None

    @property
    def is_known(self) -> bool:
        """Return whether nothing has to be read for it. Raises WeightsError."""
        return all(known_sha256(_read_files(folder)) for folder in self._found.values())

    @property
    def is_done(self) -> bool:
        """Return whether `result` need not wait."""
        return self._made is not None

    def begin(self) -> None:
        """Begin to read the files. The thread ends with the process, if nobody waits for it."""
        self._thread = threading.Thread(target=self._make, name="hashing", daemon=True)
        self._thread.start()

    def result(self) -> str:
        """Return the hash, and wait for it. Raises OSError."""
        if self._thread is not None:
            self._thread.join()
        elif self._made is None:
            self._make()
        if isinstance(self._made, Exception):
            raise self._made
        assert self._made is not None
        return self._made

    def _make(self) -> None:
        try:
            self._made = _of_folders(self._found)
        except Exception as error:  # raised where the result is asked for
            self._made = error


def _of_folders(places: Mapping[str, Path]) -> str:
    digest, found = hashlib.sha256(), dict(places)
    for name in ("checkpoint", "text_encoder"):
        digest.update(of_folder(found.pop(name)).encode() if name in found else b"\0")
    for name, folder in found.items():
        digest.update(f"{name}\0{of_folder(folder)}".encode())
    return digest.hexdigest()


def of_folder(folder: Path) -> str:
    """Return the hex SHA-256 of the files in a folder that something is loaded from."""
    digest = hashlib.sha256()
    paths = _loaded(folder)
    named = {path: name for path in paths if (name := _blob_name(path)) is not None}
    read = [path for path in paths if path not in named]
    hashes = named | dict(zip(read, sha256_files(read), strict=True))
    for path in paths:
        digest.update(f"{path.relative_to(folder).as_posix()}\0{hashes[path]}\n".encode())
    return digest.hexdigest()


def _loaded(folder: Path) -> list[Path]:
    """The files in a folder that something is loaded from, and in the folders that are linked into it."""
    linked = (path for path in folder.glob("*") if path.is_symlink() and path.is_dir())
    found = (path for root in (folder, *linked) for path in root.rglob("*"))  # rglob itself follows no link
    return sorted(path for path in found if path.suffix in _READ and path.is_file())


def _read_files(folder: Path) -> list[Path]:
    """Those of them that have to be read for their hash."""
    return [path for path in _loaded(folder) if _blob_name(path) is None]


def _blob_name(path: Path) -> str | None:
    """The SHA-256 in the name of a file of the Hub's cache, which need not be read. Elsewhere a name proves nothing."""
    if not path.is_symlink():
        return None
    target = path.resolve()
    is_blob = _BLOB.fullmatch(target.name) is not None and target.is_relative_to(cache_folder().resolve())
    return target.name if is_blob else None


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
