"""Logs: one JSON object per line on stderr, with the request's id; never a prompt, image, path or token."""

from __future__ import annotations

import contextvars
import json
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

request_id: contextvars.ContextVar[str | None] = contextvars.ContextVar("request_id", default=None)
"""The id of the API request that is being answered or generated."""

_LONGEST = 20_000
"""The most characters of a traceback or an event: both may quote what a client sent."""
_secrets: set[str] = set()
_SHORTEST = 8
"""The smallest length of a token that is redacted. A client may send anything as a token, and redacting every "e" would
make the log unreadable."""

LOGGER = logging.getLogger("parity.server")


def hide(secret: str | None) -> None:
    """Redact a token from now on, in case the error message of a library contains it."""
    if secret and len(secret) >= _SHORTEST:
        _secrets.add(secret)


def forget(secret: str | None) -> None:
    """Stop redacting a token, because its request has finished."""
    _secrets.discard(secret or "")


def redacted(text: str) -> str:
    """Return the text without the hidden tokens."""
    for secret in list(_secrets):
        text = text.replace(secret, "<token>")
    return text


class JsonLines(logging.Formatter):
    """Formats a log record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": redacted(record.getMessage())[:_LONGEST],
            "request_id": request_id.get(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = redacted(self.formatException(record.exc_info))[-_LONGEST:]
        elif hasattr(record, "traceback"):  # of the process that generates
            line["traceback"] = redacted(record.traceback)
        return json.dumps({key: value for key, value in line.items() if value is not None})


def set_up() -> None:
    """Send the log lines of this package and of uvicorn to stderr as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("parity.server", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(logging.INFO)


def hand_over(take: Callable[[dict[str, Any]], None]) -> None:
    """Give the log records of this process to `take`, which brings them to `log_of` in another one."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else None
            fields = getattr(record, "fields", {})
            take({"level": record.levelno, "event": record.getMessage(), "fields": fields, "traceback": trace})

    LOGGER.handlers, LOGGER.propagate = [Handler()], False
    LOGGER.setLevel(logging.INFO)


def log_of(record: dict[str, Any]) -> None:
    """Log a record of another process."""
    extra = {"fields": record["fields"]} | ({"traceback": record["traceback"]} if record["traceback"] else {})
    LOGGER.log(record["level"], "%s", record["event"], extra=extra)


def log(event: str, **fields: object) -> None:
    """Log an event. `event` is a fixed text; `fields` are numbers and names that do not come from a client."""
    LOGGER.info(event, extra={"fields": fields})


def log_failure(event: str, **fields: object) -> None:
    """Log an event with the traceback of the current exception, which is a bug of this server."""
    LOGGER.error(event, extra={"fields": fields}, exc_info=True)
