"""Logs: one JSON object a line on stderr, with the request's id; no prompt, image, path or token ever."""

from __future__ import annotations

import contextvars
import json
import logging
import sys
from datetime import UTC, datetime

request_id: contextvars.ContextVar[str | None] = contextvars.ContextVar("request_id", default=None)
"""Of the API request that is being answered or drawn."""

_secrets: set[str] = set()

LOGGER = logging.getLogger("parity.server")


def hide(secret: str | None) -> None:
    """Never let a token through, should it stand in some library's error message."""
    if secret:
        _secrets.add(secret)


def redacted(text: str) -> str:
    """Text without the tokens that were hidden."""
    for secret in _secrets:
        text = text.replace(secret, "<token>")
    return text


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "request_id": request_id.get(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return redacted(json.dumps({key: value for key, value in line.items() if value is not None}))


def set_up() -> None:
    """Send this package's and uvicorn's log lines to stderr as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json())
    for name in ("parity.server", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(logging.INFO)


def log(event: str, **fields: object) -> None:
    """`event`: what happened, in fixed words; `fields`: numbers and names of ours."""
    LOGGER.info(event, extra={"fields": fields})


def log_failure(event: str, **fields: object) -> None:
    """As `log`, with the traceback of the exception being handled: a mistake of ours."""
    LOGGER.error(event, extra={"fields": fields}, exc_info=True)
