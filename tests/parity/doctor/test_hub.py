"""The Hub as the doctor finds it, by real servers on this machine: what is wrong is told apart, and what to do."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import close_session

from parity.doctor import hub
from parity.doctor.check import Asked, Check

TOKEN = "hf_planted_token"


@pytest.fixture(autouse=True)
def _client_of_this_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The Hub's client reads proxies and certificates when it is made, once for a process."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_TOKEN", "HF_HUB_OFFLINE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    close_session()
    yield
    close_session()


@contextmanager
def served(statuses: Mapping[str, int], hang: float = 0, page: bytes = b"") -> Iterator[str]:
    """A server on loopback that answers `model`, `whoami` and `proxy` with these statuses, or always with a page."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(hang)
            whoami = "whoami" in self.path
            answer = {"name": "somebody"} if whoami else {"id": self.path.removeprefix("/api/models/")}
            self._send(statuses["whoami" if whoami else "model"], page or json.dumps(answer).encode())

        def do_CONNECT(self) -> None:
            self._send(statuses["proxy"], b"")

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):  # the client gave up
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def asked(endpoint: str, **environ: str) -> list[Check]:
    return list(hub.hub(Asked(environ={"HF_HOME": "/nowhere", "HF_ENDPOINT": endpoint} | environ)))


def closed_port() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_a_hub_that_answers() -> None:
    with served({"model": 200, "whoami": 200}) as url:
        reached, login = asked(url + "/", HF_TOKEN=TOKEN)
    assert (reached.status, reached.found) == ("ok", f"{url} answers")
    assert (login.status, login.found) == ("ok", "as somebody, by the token of HF_TOKEN")


def test_without_a_token_nobody_is_asked_for() -> None:
    with served({"model": 200}) as url:
        _, login = asked(url)
    assert login.status == "ok"
    assert login.found.startswith("no token")


@pytest.mark.parametrize(("status", "level"), [(401, "problem"), (403, "problem"), (500, "warning")])
def test_a_token_that_is_refused(status: int, level: str) -> None:
    with served({"model": 200, "whoami": status}) as url:
        reached, login = asked(url, HF_TOKEN=TOKEN)
    assert (reached.status, login.status) == ("ok", level)
    assert str(status) in login.found
    assert TOKEN not in login.text


@pytest.mark.parametrize(
    ("status", "level", "says", "to_do"),
    [
        (401, "problem", "refuses a public repository (401)", "a mirror that needs a login"),
        (403, "problem", "refuses a public repository (403)", "proxy or firewall"),
        (404, "problem", "(404)", "check HF_ENDPOINT"),
        (429, "warning", "too many requests", "hf auth login"),
        (500, "problem", "an error of its own (500)", "try later"),
        (503, "problem", "an error of its own (503)", "try later"),
    ],
)
def test_answers_of_a_hub_that_does_not_work(status: int, level: str, says: str, to_do: str) -> None:
    with served({"model": status}) as url:
        reached, login = asked(url, HF_TOKEN=TOKEN)
    assert reached.status == level
    assert says in reached.found
    assert to_do in str(reached.to_do)
    assert login.status == "skipped"


@pytest.mark.parametrize("page", [b"<html>Welcome to our hotel</html>", b"[1]", b"{}"])
def test_a_page_that_is_no_hubs(page: bytes) -> None:
    with served({"model": 200}, page=page) as url:
        reached, _ = asked(url)
    assert (reached.status, reached.found) == ("problem", f"{url} answers, but not as a Hub (200)")


def test_a_closed_port() -> None:
    url = closed_port()
    reached, login = asked(url)
    assert (reached.status, reached.found) == ("problem", f"{url}: the connection is refused")
    assert "HF_HUB_OFFLINE=1" in str(reached.to_do)
    assert login.status == "skipped"


def test_a_server_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "TIMEOUT_S", 0.2)
    with served({"model": 200}, hang=0.6) as url:
        reached, _ = asked(url)
    assert reached.found == f"{url}: no answer within 0.2 s"


def test_a_name_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    reached, _ = asked("https://hub.invalid/mirror")
    assert "the name hub.invalid is not known (DNS)" in reached.found


def test_looking_up_a_name_may_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "TIMEOUT_S", 0.1)
    monkeypatch.setattr(hub, "_EXTRA_S", 0.1)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(0.5))
    reached, _ = asked("https://hub.invalid")
    assert "no answer within" in reached.found


def test_tls_that_fails() -> None:
    with served({"model": 200}) as url:
        reached, _ = asked(url.replace("http:", "https:"))
    assert "TLS to 127.0.0.1" in reached.found
    assert "SSL_CERT_FILE" in str(reached.to_do)


def test_a_proxy_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with served({"proxy": 407}) as url:
        monkeypatch.setenv("HTTPS_PROXY", url)
        reached, _ = asked("https://hub.invalid", HTTPS_PROXY=url)
    assert f"the proxy HTTPS_PROXY={url} refuses" in reached.found


def test_no_url() -> None:
    reached, _ = asked("huggingface.co")
    assert reached.found == "huggingface.co: is no URL"


def test_offline_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert next(hub.hub(Asked(offline=True))).status == "skipped"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    check = next(hub.hub(Asked()))
    assert (check.status, check.to_do) == ("warning", "unset HF_HUB_OFFLINE")
