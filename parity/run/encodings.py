"""Encoded texts and images in the cache folder, so that a suite on known prompts never loads an 11 GB text encoder."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from pipelines.files.content import write_atomically
from pipelines.files.keyed import Key
from pipelines.files.words import reason_of

if TYPE_CHECKING:
    import torch

VERSION = 1
"""Version of the files; it is part of their keys."""
_ENDING = ".safetensors"
_BYTES = "encoding"
"""The only tensor in a file: the bytes of the encoding up to the last that is not zero. Most rows of a text are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptEncoding:
    """A file with an encoding."""

    path: Path
    kind: str
    """text, image or video: by UMT5, by CLIP, or by the VAE."""
    given: str
    """The text, or the hash of the image."""
    size: int
    """Bytes on disk."""
    used: float
    """Last use, in seconds since 1970."""

    def remove(self) -> None:
        """Delete it. Raises OSError."""
        self.path.unlink(missing_ok=True)


class KeptEncodings:
    """A folder of encodings, the engine's `Store`. Each is a file, named by a hash of all that can change its bits."""

    def __init__(self, root: Path, environment: Mapping[str, Any], key: Key | None = None) -> None:
        """`environment`: the part of it that reaches the bits. `key` signs them; others are then not used."""
        self.root = root
        self._key = key
        self._environment = environment
        self.problem: str | None = None
        """Why the last encoding could not be kept, or was not used."""

    def find(self, identity: Mapping[str, Any]) -> torch.Tensor | None:
        """Return an encoding, bit for bit and on the CPU. A damaged file is removed."""
        path = self._path(identity)
        try:
            file = path.read_bytes()
            metadata = _header(io.BytesIO(file))
            if self._key is not None and not self._key.signed(
                "encoding", _signable(path, metadata), metadata.get("mac")
            ):
                self.problem = f"encodings in {self.root} that are not signed with the cache key were not used"
                return None
            encoding = _tensor(file, metadata)
        except FileNotFoundError:
            return None
        except Exception:  # safetensors and torch raise many kinds of errors for a damaged file
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return encoding

    def keep(self, identity: Mapping[str, Any], encoding: torch.Tensor) -> None:
        """Write an encoding; if that fails, `problem` says why, and nothing is left behind."""
        import torch
        from safetensors.torch import save

        whole = encoding.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        data = whole.rstrip(b"\0") or b"\0"
        given = identity["given"]
        dtype, shape = str(encoding.dtype).removeprefix("torch."), json.dumps(list(encoding.shape))
        metadata = {
            "kind": identity["kind"],
            "given": str(given[-1] if identity["kind"] == "text" else given[0])[:200],
            "dtype": dtype,
            "shape": shape,
            "sha256": _digest(dtype, shape, data),
        }
        path = self._path(identity)
        if self._key is not None:
            metadata["mac"] = self._key.mac("encoding", _signable(path, metadata))
        stored = save({_BYTES: torch.frombuffer(bytearray(data), dtype=torch.uint8)}, metadata)
        try:
            write_atomically(path, stored)
        except OSError as error:
            self.problem = f"encodings could not be kept in {self.root}: {reason_of(error)}"

    def _path(self, identity: Mapping[str, Any]) -> Path:
        parts = {"version": VERSION, "environment": self._environment, **identity}
        text = json.dumps(parts, sort_keys=True, default=dataclasses.asdict)
        key = hashlib.sha256(text.encode()).hexdigest()
        return self.root / key[:2] / f"{key}{_ENDING}"


def folder_in(cache: Path) -> Path:
    """Return the folder of encodings in a cache folder."""
    return cache / "encodings"


def kept_encodings(root: Path) -> Iterator[KeptEncoding]:
    """List the encodings in a folder by their headers. Unreadable files are left out, and removed by `find`."""
    for path in root.glob(f"*/*{_ENDING}"):
        try:
            found = path.stat()
            with path.open("rb") as file:
                metadata = _header(file)
            yield KeptEncoding(
                path=path,
                kind=str(metadata["kind"]),
                given=str(metadata["given"]),
                size=found.st_size,
                used=found.st_mtime,
            )
        except (OSError, ValueError, LookupError, TypeError):
            continue


def remove_remains(root: Path) -> None:
    """Remove what killed runs left half written, once it is an hour old."""
    for path in root.glob(f"*/.*{_ENDING}.*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > 3600:
                path.unlink()


def _header(file: BinaryIO) -> Mapping[str, Any]:
    """The metadata of a safetensors file: 8 bytes with the length of a header of JSON, which begins with them."""
    length = int.from_bytes(file.read(8), "little")
    if length > 1 << 16:
        raise ValueError(length)
    metadata = json.loads(file.read(length))["__metadata__"]
    if not isinstance(metadata, dict):
        raise TypeError(metadata)
    return metadata


def _digest(dtype: str, shape: str, data: bytes) -> str:
    return hashlib.sha256(f"{dtype} {shape}\0".encode() + data).hexdigest()


def _signable(path: Path, metadata: Mapping[str, Any]) -> bytes:
    """What is signed: the name, which is the encoding's identity, and the metadata, which hold the hash of the rest."""
    values = {name: value for name, value in metadata.items() if name != "mac"}
    return f"{path.name}\0{json.dumps(values, sort_keys=True)}".encode()


def _tensor(file: bytes, metadata: Mapping[str, Any]) -> torch.Tensor:
    import torch
    from safetensors.torch import load

    data = load(file)[_BYTES].numpy().tobytes()
    if _digest(metadata["dtype"], metadata["shape"], data) != metadata["sha256"]:
        raise ValueError(metadata["sha256"])
    dtype: torch.dtype = getattr(torch, metadata["dtype"])
    shape = json.loads(metadata["shape"])
    whole = torch.zeros(math.prod(shape), dtype=dtype)  # memory of torch's own, aligned as what a model returns
    whole.view(torch.uint8)[: len(data)] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return whole.reshape(shape)
