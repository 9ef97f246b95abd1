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
_SHORTEST = 8
"""Characters. A client may send anything as a token; looking for "e" would leave no log to read."""

LOGGER = logging.getLogger("parity.server")


def hide(secret: str | None) -> None:
    """Never let a token through, should it stand in some library's error message."""
    if secret and len(secret) >= _SHORTEST:
        _secrets.add(secret)


def forget(secret: str | None) -> None:
    """No longer look for a token: its request is over."""
    _secrets.discard(secret or "")


def redacted(text: str) -> str:
    """Text without the tokens that were hidden."""
    for secret in list(_secrets):
        text = text.replace(secret, "<token>")
    return text


class JsonLines(logging.Formatter):
    """A record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": redacted(record.getMessage()),
            "request_id": request_id.get(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = redacted(self.formatException(record.exc_info))
        return json.dumps({key: value for key, value in line.items() if value is not None})


def set_up() -> None:
    """Send this package's and uvicorn's log lines to stderr as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
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
