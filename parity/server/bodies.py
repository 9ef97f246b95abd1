"""Bodies of requests: of a bounded size, number and patience, so that many clients cannot take the memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request
from fastapi.exceptions import RequestValidationError

from parity.server.errors import ApiError
from parity.server.settings import Limits


class Bodies:
    """Reads bodies and knows how much of them is in memory."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held = 0
        self._one = asyncio.Semaphore(1)

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """A JSON body, no larger and no slower than allowed. One at a time: parsing takes several times its size.

        The content type must be JSON's: a web page can send others to this machine without asking its browser's leave.
        Raises RequestValidationError and ApiError.
        """
        _check_type(request.headers.get("content-type", ""))
        self._check_length(request.headers.get("content-length", "0"))
        body = bytearray()
        try:
            try:
                async with asyncio.timeout(self._limits.body_seconds):
                    async for chunk in request.stream():
                        self._held += len(chunk)
                        body += chunk
                        self._check_size(len(body))
            except TimeoutError:
                raise ApiError("BODY_TOO_SLOW", "the body took too long to arrive", status=408) from None
            async with self._one:
                yield bytes(body)
        finally:
            self._held -= len(body)

    def _check_length(self, told: str) -> None:
        if told.isascii() and told.isdigit() and len(told) < 20:
            self._check_size(int(told))

    def _check_size(self, size: int) -> None:
        if size > self._limits.body:
            details = {"limit_bytes": self._limits.body}
            raise ApiError("BODY_TOO_LARGE", "the body is too large", status=413, details=details)
        if self._held > self._limits.bodies:
            raise ApiError(
                "TOO_BUSY", "too much is being sent at once; try again later", status=503, headers={"Retry-After": "5"}
            )


def _check_type(header: str) -> None:
    kind = header.partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        mistake = {"type": "content_type", "loc": ("header", "content-type"), "msg": "must be application/json"}
        raise RequestValidationError([mistake])
