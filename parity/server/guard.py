"""The middleware that every HTTP request passes first: it checks access, logs, counts, and sets safe headers."""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi.responses import JSONResponse, PlainTextResponse

from parity.server import logs
from parity.server.errors import ApiError
from parity.server.metrics import Metrics
from parity.server.origins import Origins
from parity.server.settings import Settings

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_OPEN = ("/health",)
"""Paths that need no token, because health probes have none."""

SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""What every answer says unless its route says otherwise: nothing in it is run, framed, embedded elsewhere or kept."""
_SAFE = [(name.lower().encode(), value.encode()) for name, value in SAFE_HEADERS.items()]


class Guard:
    """ASGI middleware for access control, logging and metrics."""

    def __init__(self, app: App, settings: Settings, metrics: Metrics) -> None:
        self._app = app
        self._token = settings.token.encode() if settings.token is not None else None
        self._origins = Origins(settings)
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, answered = 500, False
        clock = time.perf_counter()

        async def sending(message: dict[str, Any]) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status, answered = message["status"], True
                headers = list(message.get("headers", ()))
                said = {name.lower() for name, _ in headers}
                message = {**message, "headers": [*headers, *(pair for pair in _SAFE if pair[0] not in said)]}
            await send(message)

        try:
            error = self._objection(scope)
            if error is not None:
                answer = JSONResponse(error.body(), error.status, error.headers)
                await answer(scope, receive, sending)  # type: ignore[arg-type]
            else:
                await self._app(scope, receive, sending)
        except Exception:
            if not answered:  # Starlette would answer, outside of here; it still logs the error
                await PlainTextResponse("Internal Server Error", 500)(scope, receive, sending)  # type: ignore[arg-type]
            raise
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
        error = self._origins.objection(scope["headers"], probe=scope["path"] in _OPEN)
        if error is not None or self._token is None or scope["path"] in _OPEN:
            return error
        given = [bytes(value) for name, value in scope["headers"] if name == b"authorization"]
        kind, _, token = (given[0] if len(given) == 1 else b"").partition(b" ")
        if kind.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._token):
            return None
        return ApiError(
            "UNAUTHORIZED",
            "send `Authorization: Bearer <token>`",
            headers={"WWW-Authenticate": "Bearer"},
        )
