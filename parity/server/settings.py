"""The settings of `parity serve`: addresses, folders, limits. They are checked before anything is loaded."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipelines.catalog import find_model
from pipelines.errors import CaseError, UsageError
from pipelines.hub import find_source
from pipelines.offload import Offload

Profile = Literal["reference", "faithful"]
"""`reference` is the inference server's graph, `faithful` the trainer's."""

TOKEN_VARIABLE = "WAN_PARITY_TOKEN"
MIN_TOKEN = 16
"""The smallest length of a bearer token: the token is the only protection of the GPU from the network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one client may request. Sizes are in bytes, times in seconds."""

    queue: int = 32
    """Requests waiting or running; one more gets status 429."""
    body: int = 32 << 20
    body_seconds: float = 60.0
    bodies: int = 256 << 20
    """The total size of all bodies in memory; more get status 503."""
    image: int = 16 << 20
    pixels: int = 50_000_000
    image_seconds: float = 30.0
    lora: int = 4 << 30
    lora_seconds: float = 600.0
    request_seconds: float = 3600.0
    """The time limit of a request, checked between steps; the reference server's default."""
    hang_seconds: float = 600.0
    """How long after the time limit the current step may still run. After that it counts as hung: the process ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of the server."""

    host: str
    port: int
    lora_root: Path
    """An absolute folder; paths in requests are relative to it and cannot leave it."""
    data: Path
    """The folder of the queue, the results and running downloads."""
    profile: Profile
    checkpoints: Mapping[str, str]
    """Maps a model id to the folder or Hub id that replaces the model's own checkpoint."""
    device: str
    offload: Offload
    allowed_hosts: frozenset[str]
    """Host names that may have internal addresses."""
    base_url: str | None
    server_names: frozenset[str] = frozenset()
    """More names that the server answers to, in lower case: those by which a proxy's clients call it."""
    token: str | None = field(repr=False)
    """The bearer token; None means that no token is needed, which is allowed on loopback only."""
    keep_days: float | None = None
    """How many days finished requests and their files are kept; None means for ever."""
    limits: Limits = Limits()


def is_loopback(host: str) -> bool:
    """Check whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_token(file: Path | None) -> str | None:
    """Read the bearer token from a file or from $WAN_PARITY_TOKEN. An argument would be visible in every process list.

    Raises UsageError for a file that cannot be read, and for a token that is too short or not valid in a header.
    """
    if file is not None:
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            raise UsageError(f"--token-file {file}: cannot be read: {reason}") from None
        source = f"--token-file {file}"
    else:
        token, source = os.environ.get(TOKEN_VARIABLE, "").strip(), f"${TOKEN_VARIABLE}"
        if not token:
            return None
    if len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(f"{source}: a token must have at least {MIN_TOKEN} ASCII characters and no spaces")
    return token


def check_address(host: str, token: str | None) -> None:
    """Raise UsageError for an address that other machines can reach, if there is no token."""
    if token is None and not is_loopback(host):
        raise UsageError(
            f"--host {host} can be reached from other machines: set ${TOKEN_VARIABLE} or --token-file; "
            "clients then send `Authorization: Bearer <token>`"
        )


def checkpoint_of(text: str) -> tuple[str, str]:
    """Parse `MODEL=DIR` or `MODEL=owner/name`. Raises UsageError for an unknown model and a missing folder."""
    model, equals, source = text.partition("=")
    if not equals or not source:
        raise UsageError(f"--checkpoint {text}: must have the form MODEL=DIR, e.g. wan21_14b=models/wan")
    try:
        find_model(model)
    except CaseError as error:
        raise UsageError(f"--checkpoint {text}: {error}") from None
    found = find_source(source)
    if found is None:
        raise UsageError(f"--checkpoint {text}: {source} is neither a folder nor a Hub id")
    return model, found


def lora_root_of(folder: Path) -> Path:
    """Return the LoRA root with links resolved. Raises UsageError if it is not a folder."""
    if not folder.is_dir():
        raise UsageError(f"--lora-root: folder not found: {folder}")
    return folder.resolve()
