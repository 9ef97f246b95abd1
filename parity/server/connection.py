"""Connections that cannot be held for nothing: uvicorn waits for ever for a request's head and for a slow reader."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 20.0
"""From the first byte that is awaited to the end of a request's head."""
READ_SECONDS = 60.0
"""How long a client may read nothing of an answer."""
MAX_CONNECTIONS = 512
"""More are hung up on: each takes one of the files a process may have open, usually 1024."""


class Connection(H11Protocol):
    """uvicorn's (0.54) with alarms."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._alarm: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # asyncio does it for sockets it has opened itself. Without, each answer waits 40 ms for the client's ACK.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self._expect(HEAD_SECONDS)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            if not self.flow.write_paused:
                self._expect(None)
        elif self._alarm is None:
            self._expect(HEAD_SECONDS)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect(READ_SECONDS)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._expect(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect(None)
        super().connection_lost(exc)

    def _expect(self, seconds: float | None) -> None:
        """Hang up after so long; None: wait."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)
