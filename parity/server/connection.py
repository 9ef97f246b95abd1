"""Connections with time limits: uvicorn itself waits for ever for a request's head and for a slow reader."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 20.0
"""The time limit for a request's head, from the moment the server waits for its first byte."""
READ_SECONDS = 60.0
"""How long a client may pause while reading an answer."""
MAX_CONNECTIONS = 512
"""More are closed at once: each takes one of the files that a process may have open, usually 1024."""


class Connection(H11Protocol):
    """The connection of uvicorn (0.54) with time limits."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._alarm: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # asyncio does this only for sockets it opened itself. Without it, each answer waits 40 ms for the client's ACK.
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
        """Close the connection after this time; None waits for ever."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)
