"""What `parity serve` was asked to be: addresses, folders, limits. Checked before anything is loaded."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipelines.catalog import find_model
from pipelines.engine.engine import Offload
from pipelines.errors import CaseError, UsageError
from pipelines.hub import find_source

Profile = Literal["reference", "faithful"]
"""reference: the inference server's graph. faithful: the trainer's."""

TOKEN_VARIABLE = "WAN_PARITY_TOKEN"
MIN_TOKEN = 16
"""Characters a bearer token must have: it is all that stands between a network and the GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one client may ask for. Sizes in bytes, times in seconds."""

    queue: int = 32
    """Requests waiting or running; one more is answered 429."""
    body: int = 32 << 20
    body_seconds: float = 60.0
    bodies: int = 256 << 20
    """Of all bodies in memory at once; more are answered 503."""
    image: int = 16 << 20
    pixels: int = 50_000_000
    image_seconds: float = 30.0
    lora: int = 4 << 30
    lora_seconds: float = 600.0
    draw_seconds: float = 3600.0
    """A request's time, looked at between steps; the reference server's default."""
    hang_seconds: float = 600.0
    """How long after that a step may take to end. If it has not, it hangs, and the process ends itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything the server's parts need to know."""

    host: str
    port: int
    lora_root: Path
    """Absolute; paths in requests are relative to it and stay in it."""
    data: Path
    """Holds the queue, the results and downloads under way."""
    profile: Profile
    checkpoints: Mapping[str, str]
    """Model id -> folder or Hub id used instead of the model's own."""
    device: str
    offload: Offload
    allowed_hosts: frozenset[str]
    """Names whose addresses may be internal ones."""
    base_url: str | None
    token: str | None = field(repr=False)
    """The bearer token; None: nobody is asked, which only loopback allows."""
    keep_days: float | None = None
    """How long finished requests and their files are kept; None: until somebody removes them."""
    limits: Limits = Limits()


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address to bind to."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_token(file: Path | None) -> str | None:
    """The bearer token of a file or of $WAN_PARITY_TOKEN; never of an argument, which every process list shows.

    Raises UsageError for a file that cannot be read and for a token too short or not sendable in a header.
    """
    if file is not None:
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "is not UTF-8 text"
            raise UsageError(f"--token-file {file}: cannot be read: {reason}") from None
        where = f"--token-file {file}"
    else:
        token, where = os.environ.get(TOKEN_VARIABLE, "").strip(), f"${TOKEN_VARIABLE}"
        if not token:
            return None
    if len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(f"{where}: a token has at least {MIN_TOKEN} ASCII characters and no blanks")
    return token


def check_address(host: str, token: str | None) -> None:
    """Raises UsageError for an address others can reach without a token."""
    if token is None and not is_loopback(host):
        raise UsageError(
            f"--host {host} can be reached from other machines: set ${TOKEN_VARIABLE} or --token-file, "
            "and clients send `Authorization: Bearer <token>`"
        )


def checkpoint_of(text: str) -> tuple[str, str]:
    """`MODEL=DIR` or `MODEL=owner/name`. Raises UsageError for an unknown model and a folder that is not there."""
    model, equals, source = text.partition("=")
    if not equals or not source:
        raise UsageError(f"--checkpoint {text}: must read MODEL=DIR, e.g. wan21_14b=models/wan")
    try:
        find_model(model)
    except CaseError as error:
        raise UsageError(f"--checkpoint {text}: {error}") from None
    found = find_source(source)
    if found is None:
        raise UsageError(f"--checkpoint {text}: {source} is neither a folder nor a Hub id")
    return model, found


def lora_root_of(folder: Path) -> Path:
    """The LoRA root, links resolved. Raises UsageError if it is no folder."""
    if not folder.is_dir():
        raise UsageError(f"--lora-root {folder}: is no folder")
    return folder.resolve()
