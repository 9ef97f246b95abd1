"""The queue: all accepted requests in one SQLite file, so that a restart or a crash loses none."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from parity.server.errors import ApiError, request_not_found
from parity.server.idempotency import KEEP_HOURS, RetryKey
from pipelines.errors import UsageError

State = Literal["in_queue", "in_progress", "succeeded", "failed", "canceled"]
"""The states of a request, spelled as in the API."""

MAX_ATTEMPTS = 2
"""A request is run again once if it was running when the server, or the process that generates, ended by itself.

After a second time it may be the cause."""

_TABLE = """
CREATE TABLE IF NOT EXISTS requests (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    body TEXT NOT NULL,
    had_hub_token INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    cancel_asked INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL,
    started_at TEXT,
    finished_at TEXT,
    outputs TEXT,
    metadata TEXT,
    error TEXT
);
CREATE INDEX IF NOT EXISTS requests_by_state ON requests (state, number);
CREATE TABLE IF NOT EXISTS retry_keys (
    key TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    request_id TEXT NOT NULL,
    created_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS retry_keys_by_age ON retry_keys (created_at);
CREATE INDEX IF NOT EXISTS retry_keys_by_request ON retry_keys (request_id);
"""
_VERSION = 1
"""A table more does not change it: a file of a server before `retry_keys` gets one, and that server ignores it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedRequest:
    """One accepted request as the queue stores it."""

    id: str
    state: State
    body: str
    """The request as JSON, without its Hub token and with every random seed fixed."""
    had_hub_token: bool
    attempts: int
    """How often it was started."""
    created_at: str
    """ISO 8601 in UTC, like all times here."""
    started_at: str | None
    finished_at: str | None
    outputs: dict[str, Any] | None
    metadata: dict[str, Any] | None
    error: str | None


def as_text(when: datetime) -> str:
    """Format a time as the API does: ISO 8601 in UTC with `Z`."""
    return when.isoformat().replace("+00:00", "Z")


def now() -> str:
    return as_text(datetime.now(UTC))


def _forgotten_before() -> str:
    return as_text(datetime.now(UTC) - timedelta(hours=KEEP_HOURS))


class Queue:
    """Requests and their states. Several threads may use it, but only one process per file."""

    def __init__(self, file: Path, limit: int) -> None:
        """`limit` is the most requests that may wait or run. Raises UsageError for any other kind of file."""
        self._lock = threading.Lock()
        self._limit = limit
        try:
            self._db = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _VERSION):
                raise UsageError(f"{file}: this queue has another version ({version}); choose another --data")
            self._db.executescript(_TABLE)
            self._db.execute(f"PRAGMA user_version={_VERSION}")
        except sqlite3.Error as error:
            raise UsageError(f"{file}: not a queue of this server ({error}); choose another --data") from None

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Run one transaction: all of it or nothing, whenever the process ends."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk has rolled it back already
                    self._db.execute("ROLLBACK")
                raise

    def recover(self) -> tuple[int, int]:
        """After a start, put running requests back into the queue, or fail them if that was done before.

        Returns the two numbers (put back, failed).
        """
        with self._writing() as db:
            db.execute(
                "UPDATE requests SET state='canceled', finished_at=? WHERE state='in_progress' AND cancel_asked",
                (now(),),
            )
            failed = db.execute(
                "UPDATE requests SET state='failed', finished_at=?, error=? WHERE state='in_progress' AND attempts>=?",
                (
                    now(),
                    f"the server, or the process that generates, ended {MAX_ATTEMPTS} times while this request ran; "
                    "it will not be tried again",
                    MAX_ATTEMPTS,
                ),
            ).rowcount
            back = db.execute(
                "UPDATE requests SET state='in_queue', started_at=NULL WHERE state='in_progress'"
            ).rowcount
        return back, failed

    def add(self, request_id: str, body: str, *, had_hub_token: bool, key: RetryKey | None = None) -> QueuedRequest:
        """Add a request. It is on the disk when this returns.

        Returns the one that was accepted with the same key, if there is one: its id is another. Raises ApiError
        IDEMPOTENCY_KEY_REUSED, QUEUE_FULL and DISK_FULL.
        """
        try:
            request_id = self._add(request_id, body, had_hub_token, key)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE):
                raise
            raise ApiError("DISK_FULL", "the server's disk is full") from None
        return self.get(request_id)

    def _add(self, request_id: str, body: str, had_hub_token: bool, key: RetryKey | None) -> str:
        with self._writing() as db:
            if key is not None:
                db.execute("DELETE FROM retry_keys WHERE created_at<?", (_forgotten_before(),))
                if (earlier := self._of_key(key)) is not None:
                    return earlier
            open_now = db.execute(
                "SELECT COUNT(*) FROM requests WHERE state IN ('in_queue', 'in_progress')"
            ).fetchone()[0]
            if open_now >= self._limit:
                raise ApiError(
                    "QUEUE_FULL",
                    "the queue is full; try again later",
                    details={"limit": self._limit},
                    headers={"Retry-After": "30"},
                )
            db.execute(
                "INSERT INTO requests (id, state, body, had_hub_token, created_at) VALUES (?, 'in_queue', ?, ?, ?)",
                (request_id, body, had_hub_token, now()),
            )
            if key is not None:
                db.execute(
                    "INSERT INTO retry_keys (key, fingerprint, request_id, created_at) VALUES (?, ?, ?, ?)",
                    (key.text, key.fingerprint, request_id, now()),
                )
        return request_id

    def accepted(self, key: RetryKey) -> QueuedRequest | None:
        """Return the request that was accepted with this key. Raises ApiError IDEMPOTENCY_KEY_REUSED."""
        with self._lock:
            earlier = self._of_key(key)
        return self.get(earlier) if earlier is not None else None

    def _of_key(self, key: RetryKey) -> str | None:
        row = self._db.execute(
            "SELECT request_id, fingerprint FROM retry_keys WHERE key=? AND created_at>=?",
            (key.text, _forgotten_before()),
        ).fetchone()
        if row is None:
            return None
        if row["fingerprint"] != key.fingerprint:
            raise ApiError(
                "IDEMPOTENCY_KEY_REUSED",
                "this Idempotency-Key came with another body before: send a new key with a new request",
                details={"request_id": row["request_id"]},
            )
        return str(row["request_id"])

    def get(self, request_id: str) -> QueuedRequest:
        """Return a request. Raises ApiError REQUEST_NOT_FOUND."""
        with self._lock:
            row = self._db.execute("SELECT * FROM requests WHERE id=?", (request_id,)).fetchone()
        if row is None:
            raise request_not_found(request_id)
        return _queued(row)

    def take(self) -> QueuedRequest | None:
        """Mark the oldest waiting request as running and return it."""
        with self._writing() as db:
            row = db.execute("SELECT id FROM requests WHERE state='in_queue' ORDER BY number LIMIT 1").fetchone()
            if row is None:
                return None
            db.execute(
                "UPDATE requests SET state='in_progress', started_at=?, attempts=attempts+1 WHERE id=?",
                (now(), row["id"]),
            )
        return self.get(row["id"])

    def put_back(self, request_id: str, *, counts: bool = False) -> None:
        """Put the running request back into its place.

        `counts`: the attempt counts, because the process that generates died during it; the server only stops
        otherwise.
        """
        with self._writing() as db:
            db.execute(
                "UPDATE requests SET state='in_queue', started_at=NULL, attempts=attempts-? "
                "WHERE id=? AND state='in_progress'",
                (0 if counts else 1, request_id),
            )

    def succeed(self, request_id: str, outputs: dict[str, Any], metadata: dict[str, Any]) -> None:
        self._finish(request_id, "succeeded", outputs=json.dumps(outputs), metadata=json.dumps(metadata))

    def fail(self, request_id: str, error: str) -> None:
        self._finish(request_id, "failed", error=error)

    def cancel(self, request_id: str, *, waiting_only: bool) -> bool:
        """Cancel a request; return True if it was canceled. `waiting_only` leaves a running one to the worker."""
        return self._finish(request_id, "canceled", states=("in_queue",) if waiting_only else _OPEN)

    def _finish(
        self,
        request_id: str,
        state: State,
        *,
        outputs: str | None = None,
        metadata: str | None = None,
        error: str | None = None,
        states: tuple[State, ...] = ("in_queue", "in_progress"),
    ) -> bool:
        with self._writing() as db:
            marks = ", ".join("?" for _ in states)
            changed = db.execute(
                "UPDATE requests SET state=?, finished_at=?, outputs=?, metadata=?, error=? "
                f"WHERE id=? AND state IN ({marks})",
                (state, now(), outputs, metadata, error, request_id, *states),
            ).rowcount
        return bool(changed)

    def ask_to_cancel(self, request_id: str) -> None:
        """Record that the running request is to be canceled, in case the server ends before the current step does."""
        with self._writing() as db:
            db.execute("UPDATE requests SET cancel_asked=1 WHERE id=? AND state='in_progress'", (request_id,))

    def finished_before(self, when: str) -> list[str]:
        """List the requests that finished before a time in the format of `as_text`."""
        marks = ", ".join("?" for _ in _OPEN)
        with self._lock:
            rows = self._db.execute(
                f"SELECT id FROM requests WHERE state NOT IN ({marks}) AND finished_at<? ORDER BY number",
                (*_OPEN, when),
            ).fetchall()
        return [row["id"] for row in rows]

    def succeeded(self) -> set[str]:
        """List the requests that have a result."""
        with self._lock:
            return {row["id"] for row in self._db.execute("SELECT id FROM requests WHERE state='succeeded'")}

    def forget(self, request_id: str) -> None:
        """Delete a finished request, and its key."""
        with self._writing() as db:
            gone = db.execute(
                "DELETE FROM requests WHERE id=? AND state NOT IN ('in_queue', 'in_progress')", (request_id,)
            ).rowcount
            if gone:
                db.execute("DELETE FROM retry_keys WHERE request_id=?", (request_id,))

    def count(self, state: State) -> int:
        with self._lock:
            row = self._db.execute("SELECT COUNT(*) FROM requests WHERE state=?", (state,)).fetchone()
        return int(row[0])

    def close(self) -> None:
        with self._lock:
            self._db.close()


_OPEN: tuple[State, ...] = ("in_queue", "in_progress")


def _queued(row: sqlite3.Row) -> QueuedRequest:
    return QueuedRequest(
        id=row["id"],
        state=row["state"],
        body=row["body"],
        had_hub_token=bool(row["had_hub_token"]),
        attempts=row["attempts"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        outputs=json.loads(row["outputs"]) if row["outputs"] else None,
        metadata=json.loads(row["metadata"]) if row["metadata"] else None,
        error=row["error"],
    )
