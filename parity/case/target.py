"""Which server a case is drawn on, and what it is told of this machine. Checked before anything is sent."""

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
"""For a whole request; the reference server's own limit for one."""

_VARIABLE = re.compile(r"WAN_PARITY_[A-Z0-9_]+")
"""Names a case file may give: it must not be able to send any other secret of this machine away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A server that speaks the reference server's HTTP API."""

    url: str
    """What its paths begin with: no credentials, no slash at the end."""
    lora_root: Path | None = None
    """The server's LoRA root as this machine sees it; None: LoRA paths are sent as they are written."""
    disk: tuple[tuple[str, str], ...] = ()
    """Folders of the server's and where they are mounted here."""
    token_variable: str = TOKEN_VARIABLE
    timeout: float = TIMEOUT_S
    """Seconds for a whole request, from sending it to having its file."""
    arguments: tuple[str, ...] = ()
    """What of it the command line gave, to be given again."""

    @property
    def is_here(self) -> bool:
        """Whether the server is on this machine, so that its paths are ours."""
        return urlsplit(self.url).hostname in ("localhost", "127.0.0.1", "::1")

    def token(self) -> str | None:
        """The bearer token of the environment. Raises UsageError for one that no header can carry."""
        token = os.environ.get(self.token_variable, "").strip()
        if not token.isascii() or not (token.isprintable() or not token) or " " in token:
            raise UsageError(f"${self.token_variable}: a bearer token has ASCII characters and no blanks")
        return token or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the command line says of the target."""

    url: str | None = None
    """Puts every case on this server, whatever its file says."""
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
    """A server's address in one spelling. Raises ValueError: what is wrong with it, credentials not repeated."""
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError:
        raise ValueError("is no valid URL") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            f"holds credentials, which would stand in results and reports; put a token into ${TOKEN_VARIABLE}"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must read http://host:port or https://host")
    if parts.query or parts.fragment or any(c.isspace() or not c.isprintable() for c in parts.geturl()):
        raise ValueError("must be an address alone: no query, no fragment, no blanks")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    usual = {"http": 80, "https": 443}[parts.scheme]
    where = host if port in (None, usual) else f"{host}:{port}"
    return f"{parts.scheme}://{where}{parts.path.rstrip('/')}"


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port: where a token may go. Raises ValueError for no URL."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def target_of(keys: Keys | str | None, folder: Path, given: Given) -> Target | None:
    """The target of a case, None if it is drawn here.

    `folder`: what paths in `keys` are relative to. Raises ValueError: what is wrong with the case's keys.
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
            raise ValueError(f"lora_root {keys.lora_root} is no folder")
    return Target(
        url=base_url(keys.url),
        lora_root=root,
        disk=tuple((there, str(folder / here)) for there, here in keys.disk.items()),
        token_variable=keys.token_env or TOKEN_VARIABLE,
    )
