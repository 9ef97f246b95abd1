"""Keeps secrets and user names out of what people paste into a bug report."""

from __future__ import annotations

import dataclasses
import getpass
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from parity.doctor.check import Check

SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSW|API_?KEY|CREDENTIAL|COOKIE|CACHE_KEY$", re.IGNORECASE)
"""Variables whose values are never shown."""

_LOGIN_IN_URL = re.compile(r"(?<=://)[^/\s@]+@")
_SHORTEST_SECRET = 6
"""A shorter value is no secret, and leaving it out would cut words."""


class Redactor:
    """Replaces tokens, logins in URLs, the home folder and the user's name."""

    def __init__(self, environ: Mapping[str, str], token_files: Iterable[Path] = ()) -> None:
        """`token_files`: files that hold nothing but a token."""
        values = [value.strip() for name, value in environ.items() if SECRET_NAME.search(name)]
        self._secrets = sorted(
            {value for value in (*values, *map(_content, token_files)) if len(value) >= _SHORTEST_SECRET},
            key=len,
            reverse=True,
        )
        self._home = _home()
        self._user = _user()

    def __call__(self, text: str) -> str:
        """The text without them."""
        for secret in self._secrets:
            text = text.replace(secret, "…")
        text = _LOGIN_IN_URL.sub("…@", text)
        if self._home is not None:
            text = re.sub(rf"{re.escape(self._home)}(?=$|[\s/\\:;,)'\"])", "~", text)
        if self._user is not None:
            text = re.sub(rf"(?<=[/\\]){re.escape(self._user)}(?=$|[\s/\\:;,)'\"])", "USER", text)
        return text

    def check(self, check: Check) -> Check:
        """The check without them."""
        to_do = None if check.to_do is None else self(check.to_do)
        return dataclasses.replace(check, found=self(check.found), to_do=to_do)


def _content(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _home() -> str | None:
    """The home folder, unless it is the root of a file system, as it is in some containers."""
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 (Path.home() raises where there is none)
    return str(home) if len(home.parts) > 1 else None


def _user() -> str | None:
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):  # no such user: a container started with a bare number
        return None
    return None if name == "root" else name
