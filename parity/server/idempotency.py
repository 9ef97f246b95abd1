"""`Idempotency-Key`: a request that is sent again with the same key is the same request, not another generation.

As draft-ietf-httpapi-idempotency-key-header-07 has it: the key is a string in quotes, and one that comes with another
body is answered with 422. Its 409, for a key whose first request is still being processed, is never needed: accepting
is one transaction. A key without quotes is taken too, as many clients send it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi.exceptions import RequestValidationError

from pipelines.reference.request import Request

HEADER = "Idempotency-Key"
KEEP_HOURS = 24
"""How long a key is remembered, unless its request is removed sooner. Later it begins another request."""
MAX_LENGTH = 255
"""Characters of a key; a UUID has 36."""

_KEY = re.compile(r'"([\x20\x21\x23-\x5b\x5d-\x7e]+)"|([\x21\x23-\x5b\x5d-\x7e]+)')
_MISTAKE = f"must be one key of 1 to {MAX_LENGTH} ASCII characters, in quotes; without quotes and backslashes in it"

PARAMETER = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": f"a key of your own for this request, e.g. a UUID in quotes: sent again within {KEEP_HOURS} hours, "
    "the request is answered as before and not queued again",
    "schema": {"type": "string", "pattern": r'^"[ !#-[\]-~]+"$', "maxLength": MAX_LENGTH + 2},
}
"""The header in the OpenAPI document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryKey:
    """A key, and which request it stands for."""

    text: str
    fingerprint: str
    """SHA-256 of what the client asked for, without its Hub token, which is written nowhere."""


def read(headers: Sequence[str]) -> str | None:
    """Return the key in the headers of this name; None without one. Raises RequestValidationError."""
    if not headers:
        return None
    match = _KEY.fullmatch(headers[0].strip())
    text = match[1] or match[2] if match is not None else ""
    if len(headers) > 1 or not 0 < len(text) <= MAX_LENGTH:
        raise RequestValidationError([{"type": "idempotency_key", "loc": ("header", HEADER.lower()), "msg": _MISTAKE}])
    return text


def key_of(text: str | None, request: Request) -> RetryKey | None:
    """Return the key with the fingerprint of its request: of the values, however they are spelled."""
    if text is None:
        return None
    asked = request.model_dump_json(exclude={"hf_token"}, exclude_unset=True)
    return RetryKey(text=text, fingerprint=hashlib.sha256(asked.encode()).hexdigest())
