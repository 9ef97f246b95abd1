"""The server that generates a case, checked before anything is sent to it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from pipelines.errors import UsageError
from pipelines.files.content import real_path

TOKEN_VARIABLE = "WAN_PARITY_TARGET_TOKEN"
TIMEOUT_S = 3600.0
"""Seconds for a whole request: the reference server's own limit."""

_VARIABLE = re.compile(r"WAN_PARITY_(?!CACHE_KEY)[A-Z0-9_]+")
"""The variables that a case file may name: it must not be able to send away another secret of this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A server that speaks the reference server's HTTP API."""

    url: str
    """The beginning of every URL of the server: no credentials, no slash at the end."""
    lora_root: Path | None = None
    """The server's LoRA root as this machine sees it; None: LoRA paths are sent as they are written."""
    disk: tuple[tuple[str, str], ...] = ()
    """The server's folders, and where each is mounted on this machine."""
    token_variable: str = TOKEN_VARIABLE
    timeout: float = TIMEOUT_S
    """Seconds for a whole request, from sending it to having its file."""
    arguments: tuple[str, ...] = ()
    """The options of the command line behind it, to repeat the command."""

    @property
    def is_here(self) -> bool:
        """True if the server runs on this machine, so that its paths are valid here."""
        return urlsplit(self.url).hostname in ("localhost", "127.0.0.1", "::1")

    def token(self) -> str | None:
        """The bearer token from the environment. Raises UsageError for one that does not fit into a header."""
        token = os.environ.get(self.token_variable, "").strip()
        if not token.isascii() or not (token.isprintable() or not token) or " " in token:
            raise UsageError(f"${self.token_variable}: a bearer token has only ASCII characters and no spaces")
        return token or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The target options of the command line."""

    url: str | None = None
    """The server for every case, whatever its file says."""
    lora_root: Path | None = None
    timeout: float = TIMEOUT_S


NOTHING_GIVEN = Given()


class Keys(Protocol):
    """The keys of a case's `target`."""

    @property
    def url(self) -> str: ...
    @property
    def lora_root(self) -> str | None: ...
    @property
    def disk(self) -> Mapping[str, str]: ...
    @property
    def token_env(self) -> str | None: ...


def base_url(text: str) -> str:
    """A server's address in one spelling. Raises ValueError with the mistake, but never with credentials."""
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError:
        raise ValueError("is not a valid URL") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            f"holds credentials, which would appear in results and reports; put a token into ${TOKEN_VARIABLE}"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must read http://host:port or https://host")
    if parts.query or parts.fragment or any(c.isspace() or not c.isprintable() for c in parts.geturl()):
        raise ValueError("must be a plain address: no query, no fragment, no spaces")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    usual = {"http": 80, "https": 443}[parts.scheme]
    where = host if port in (None, usual) else f"{host}:{port}"
    return f"{parts.scheme}://{where}{parts.path.rstrip('/')}"


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port: where a token may go. Raises ValueError for what is not a URL."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def target_of(keys: Keys | str | None, folder: Path, given: Given) -> Target | None:
    """The target of a case; None if this machine generates it.

    `folder`: the folder that paths in `keys` are relative to. Raises ValueError with the mistake in the case's keys.
    """
    arguments: list[str] = []
    if given.url is not None:
        arguments += ["--target", given.url]
        target = Target(url=given.url)
    elif isinstance(keys, str):
        target = Target(url=base_url(keys))
    elif keys is not None:
        target = _from_keys(keys, folder)
    else:
        return None
    root = target.lora_root
    if given.lora_root is not None:
        arguments += ["--target-lora-root", str(given.lora_root)]
        root = real_path(given.lora_root)
    return Target(
        url=target.url,
        lora_root=root,
        disk=target.disk,
        token_variable=target.token_variable,
        timeout=given.timeout,
        arguments=tuple(arguments),
    )


def _from_keys(keys: Keys, folder: Path) -> Target:
    if keys.token_env is not None and not _VARIABLE.fullmatch(keys.token_env):
        raise ValueError(
            "token_env must begin with WAN_PARITY_ (capitals, digits, _), so that no case file can send another "
            "secret of this machine to a server"
        )
    root = None
    if keys.lora_root is not None:
        root = real_path(folder / keys.lora_root)
        if not root.is_dir():
            raise ValueError(f"lora_root: folder not found: {keys.lora_root}")
    return Target(
        url=base_url(keys.url),
        lora_root=root,
        disk=tuple((remote, str(folder / mount)) for remote, mount in keys.disk.items()),
        token_variable=keys.token_env or TOKEN_VARIABLE,
    )
