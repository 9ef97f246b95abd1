"""The middleware that every HTTP request passes first: it checks access, logs and counts."""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from fastapi.responses import JSONResponse

from parity.server import logs
from parity.server.errors import ApiError
from parity.server.metrics import Metrics
from parity.server.settings import Settings

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_OPEN = ("/health",)
"""Paths that need no token, because health probes have none."""


class Guard:
    """ASGI middleware for access control, logging and metrics."""

    def __init__(self, app: App, settings: Settings, metrics: Metrics) -> None:
        self._app = app
        self._token = settings.token.encode() if settings.token is not None else None
        own = urlsplit(settings.base_url).hostname if settings.base_url else None
        self._hosts = {"localhost", "127.0.0.1", "::1", settings.host.lower(), own}
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        clock = time.perf_counter()

        async def sending(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            error = self._objection(scope)
            if error is not None:
                answer = JSONResponse(error.body(), error.status, error.headers)
                await answer(scope, receive, sending)  # type: ignore[arg-type]
            else:
                await self._app(scope, receive, sending)
        finally:
            seconds = time.perf_counter() - clock
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in ("GET", "POST", "HEAD", "OPTIONS") else "other"
            self._metrics.answers.labels(method, route, str(status)).inc()
            self._metrics.answer_seconds.labels(route).observe(seconds)
            if method != "GET" or status >= 400:  # clients poll: successful answers are counted, not logged
                request_id = scope.get("path_params", {}).get("request_id") if status == 200 else None
                context = logs.request_id.set(request_id or logs.request_id.get())
                logs.log("answered", method=method, route=route, status=status, ms=round(seconds * 1000, 1))
                logs.request_id.reset(context)

    def _objection(self, scope: Scope) -> ApiError | None:
        headers = {bytes(name).lower(): bytes(value) for name, value in scope["headers"]}
        if self._token is None:
            host = _host_of(headers.get(b"host", b""))
            if host not in self._hosts:
                # Otherwise a web page whose name resolves to this machine (DNS rebinding) could send requests.
                return ApiError(
                    "HOST_NOT_ALLOWED",
                    "without a token only requests to localhost are answered; to use another name, set --base-url",
                )
            return None
        if scope["path"] in _OPEN:
            return None
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        if kind.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._token):
            return None
        return ApiError(
            "UNAUTHORIZED",
            "send `Authorization: Bearer <token>`",
            headers={"WWW-Authenticate": "Bearer"},
        )


def _host_of(header: bytes) -> str | None:
    try:
        return urlsplit("//" + header.decode("ascii")).hostname
    except ValueError:
        return None
