"""Finds LoRA files by path: only safetensors files, and only inside the LoRA root."""

from __future__ import annotations

from pathlib import Path

from parity.server.errors import ApiError


def is_url(path: str) -> bool:
    """Check whether the `path` of a LoRA is a URL, with the reference server's test."""
    return path.startswith(("http://", "https://"))


def find(root: Path, path: str) -> Path:
    """Return the file that the `path` of a request names, with links resolved.

    `root` is absolute and contains no links. An absolute path inside the root is accepted, because clients of the
    reference server may send one. The ApiError for a path outside the root is the same as for a missing file, so that
    a client cannot find out which files the machine has.
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
