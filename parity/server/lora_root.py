"""LoRA files by path: only safetensors files, only inside the LoRA root."""

from __future__ import annotations

from pathlib import Path

from parity.server.errors import ApiError


def is_url(path: str) -> bool:
    """Whether a LoRA's `path` is an address; the reference server's test."""
    return path.startswith(("http://", "https://"))


def find(root: Path, path: str) -> Path:
    """The file a request's `path` names, links followed.

    `root`: absolute, links resolved. An absolute path counts if it lies in the root, as clients of the reference
    server may send. Raises ApiError: the same for what lies outside and for what is not there, so that nobody can ask
    which files the machine has.
    """
    try:
        file = (root / path).resolve(strict=True)
        inside = file.is_relative_to(root) and file.is_file()
    except (OSError, ValueError, RuntimeError):  # missing; a NUL byte; links in a circle
        inside = False
    if not inside:
        raise ApiError("LORA_NOT_FOUND", "the LoRA root has no such file", details={"lora_path": path})
    if file.suffix.lower() != ".safetensors":
        raise ApiError("LORA_NOT_FOUND", "only .safetensors files are served", details={"lora_path": path})
    return file
