"""Reads request bodies with limits on size, number and time, so that clients cannot use up the memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request
from fastapi.exceptions import RequestValidationError

from parity.server.errors import ApiError
from parity.server.settings import Limits


class Bodies:
    """Reads bodies and tracks how much memory they use."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held = 0
        self._one = asyncio.Semaphore(1)

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """Read a JSON body within the limits. Only one is parsed at a time: parsing takes several times its size.

        The content type must be JSON, because a web page can send other types here without its browser's permission.
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
                raise ApiError("BODY_TOO_SLOW", "the body took too long to arrive") from None
            async with self._one:
                yield bytes(body)
        finally:
            self._held -= len(body)

    def _check_length(self, length: str) -> None:
        if length.isascii() and length.isdigit() and len(length) < 20:
            self._check_size(int(length))

    def _check_size(self, size: int) -> None:
        if size > self._limits.body:
            details = {"limit_bytes": self._limits.body}
            raise ApiError("BODY_TOO_LARGE", "the body is too large", details=details)
        if self._held > self._limits.bodies:
            raise ApiError(
                "TOO_BUSY",
                "the server is receiving too much data at once; try again later",
                headers={"Retry-After": "5"},
            )


def _check_type(header: str) -> None:
    kind = header.partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        mistake = {"type": "content_type", "loc": ("header", "content-type"), "msg": "must be application/json"}
        raise RequestValidationError([mistake])
