"""A server of the API that misbehaves on purpose: real HTTP on loopback, with answers set by the test."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from parity.case.load import DEMO

GUITAR = sorted((DEMO / "jobs" / "t2v_basic" / "samples").glob("*_0.webp"))[0].read_bytes()
"""The preview: 9 frames of 96x64."""
OTHER = sorted((DEMO / "jobs" / "t2v_basic" / "samples").glob("*_1.webp"))[0].read_bytes()
"""Another video of the same shape."""

Answer = Callable[["Handler"], None]


def error(code: str, message: str = "no") -> dict[str, Any]:
    return {"detail": {"error": {"code": code, "message": message, "details": {}}}}


@dataclass(slots=True)
class Server:
    """The requests received and the answers to give: the next of `answers` for a path, the last one forever."""

    url: str
    asked: list[tuple[str, str]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    """Of each request, its `Idempotency-Key`."""
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    """The answers by the path's last part: inference, status, result, cancel, output_0.webp."""
    files: dict[str, bytes] = field(default_factory=lambda: {"output_0.webp": OTHER, "output_1.webp": OTHER})
    video: dict[str, Any] = field(default_factory=dict)
    """Changed keys of every video in its results; None removes a key."""
    metadata: dict[str, Any] = field(default_factory=dict)

    def count(self, name: str) -> int:
        return sum(path.endswith(name) for _, path in self.asked)

    def next(self, name: str) -> Answer | None:
        waiting = self.answers.get(name, [])
        return waiting.pop(0) if len(waiting) > 1 else waiting[0] if waiting else None


class Handler(BaseHTTPRequestHandler):
    """One exchange."""

    state: Server

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", 0))
        body = self.rfile.read(length)
        if body:
            self.state.bodies.append(json.loads(body))
        self._answer("POST")

    def do_GET(self) -> None:
        self._answer("GET")

    def _answer(self, method: str) -> None:
        state, name = self.state, self.path.partition("?")[0].rpartition("/")[2]
        state.asked.append((method, self.path))
        state.tokens.append(self.headers.get("authorization"))
        state.keys.append(self.headers.get("idempotency-key"))
        scripted = state.next(name)
        if scripted is not None:
            scripted(self)
        elif name == "inference":
            self.json({"request_id": f"id-{len(state.bodies)}", "status": "queued"})
        elif name == "status":
            self.json({"status": "succeeded"})
        elif name == "result":
            count = len(state.bodies[-1]["prompts"])
            self.json({"status": "succeeded", "outputs": {"videos": [self.video(i) for i in range(count)]}})
        elif name in state.files:
            self.bytes(state.files[name])
        else:
            self.json({"detail": "Not Found"}, 404)

    def video(self, index: int) -> dict[str, Any]:
        """A video's description like the reference server's, with `parity serve`'s `url`."""
        url = f"{self.state.url}/v1/requests/id/files/output_{index}.webp"
        seed = self.state.bodies[-1]["prompts"][index].get("seed")
        usual = {"format": "webp", "width": 96, "height": 64, "num_frames": 9, "fps": 15, "seed": seed, "url": url}
        return {key: value for key, value in (usual | self.state.video).items() if value is not None}

    def json(self, body: Any, status: int = 200, **headers: str) -> None:
        if status == 200 and "outputs" in body and self.state.metadata:
            body = body | {"metadata": self.state.metadata}
        self.bytes(json.dumps(body).encode(), status, **headers)

    def bytes(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        given = {"Content-Length": str(len(body))} | {name.replace("_", "-"): text for name, text in headers.items()}
        for name, text in given.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def drop(self) -> None:
        """Close the connection without an answer."""
        self.close_connection = True
        self.connection.close()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def serving() -> Iterator[Server]:
    """A server that answers correctly until a test changes its answers."""
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = Server(f"http://127.0.0.1:{listening.server_address[1]}")
    listening.RequestHandlerClass = type("Bound", (Handler,), {"state": state})
    running = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
    running.start()
    try:
        yield state
    finally:
        listening.shutdown()
        running.join()
        listening.server_close()
