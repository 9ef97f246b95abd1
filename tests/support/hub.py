"""A Hub on this machine: the part of its HTTP API that huggingface_hub 2.4 downloads a repository with."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from huggingface_hub import constants

from pipelines import hub as hub_names

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Repositories by id, each a file's bytes by path, and what goes wrong with them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.gated: set[str] = set()
        """Repositories that answer 401 without a token."""
        self.stalls: set[str] = set()
        """Files, by path, that stop after half their bytes."""
        self.silent = False
        """True to accept requests and answer none."""
        self.down = False
        """True to answer everything with 503."""
        self.requests: list[str] = []
        """Method and path of every request."""
        self.hanging = threading.Event()

    def add(self, name: str, folder: Path) -> None:
        """Publish a folder."""
        paths = (path for path in folder.rglob("*") if path.is_file())
        self.repositories[name] = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        path = urlsplit(self.path).path.strip("/").split("/")
        self.hub.requests.append(f"{self.command} {'/'.join(path)}")
        api = path[:2] == ["api", "models"]
        name = "/".join(path[2:4] if api else path[:2])
        files = self.hub.repositories.get(name)
        if self.hub.silent:
            self.hub.hanging.wait(30)
        elif self.hub.down:
            self._send(503, b"down")
        elif name in self.hub.gated and "Authorization" not in self.headers:
            self._send(401, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."})
        elif files is None:
            self._send(401, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif not api:
            self._file("/".join(path[4:]), files)
        elif "tree" in path:
            self._json([_entry(file, content) for file, content in files.items()])
        else:
            sized = "blobs=true" in self.path.lower()  # what files_metadata=True asks for
            siblings = [{"rfilename": file} | ({"size": len(data)} if sized else {}) for file, data in files.items()]
            self._json({"id": name, "sha": COMMIT, "siblings": siblings})

    def _file(self, name: str, files: dict[str, bytes]) -> None:
        content = files.get(name)
        if content is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha1(content).hexdigest()}"', "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        stalls = name in self.hub.stalls and self.command == "GET"
        self._send(206 if start else 200, content[start:], headers, sent=len(content[start:]) // 2 if stalls else None)
        if stalls:
            self.hub.hanging.wait(30)
            self.close_connection = True

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None, sent: int | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:sent])


def _entry(path: str, content: bytes) -> dict[str, object]:
    return {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}


@contextmanager
def serving_hub() -> Iterator[Hub]:
    """Serve an empty Hub on a free port of this machine."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub = handler.hub = Hub(f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.hanging.set()
        server.shutdown()
        server.server_close()


def point_to(url: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make huggingface_hub, which has read its variables already, use this Hub and this cache."""
    hub_names.forget_answers()
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    for name, value in (("HF_ENDPOINT", url), ("HF_HUB_CACHE", str(cache)), ("HF_HUB_DISABLE_XET", "1")):
        monkeypatch.setenv(name, value)  # for processes that are started
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An empty Hub, and an empty cache for what is downloaded from it."""
    with serving_hub() as served:
        point_to(served.url, tmp_path / "hub-cache", monkeypatch)
        yield served
        hub_names.forget_answers()


@pytest.fixture
def closed_port() -> str:
    """A URL at which nothing listens."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        port = server.server_port
    return f"http://127.0.0.1:{port}"
