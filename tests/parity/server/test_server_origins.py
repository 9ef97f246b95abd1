"""Who may ask: names in `Host`, pages of other origins, and what every answer says to a browser. Over a raw socket."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from parity.cli.main import main
from parity.server import docs_page
from parity.server.guard import SAFE_HEADERS
from tests.support.serving import body, settings_of, submit, thread

TOKEN = "a-token-of-some-length"
BEARER = f"Authorization: Bearer {TOKEN}"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server without a token, which two more names lead to."""
    settings = settings_of(
        tmp_path_factory.mktemp("open"), base_url="https://gpu1.example", server_names=frozenset({"proxy.example"})
    )
    with thread(settings) as client:
        yield client


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server with a token, whose names nobody said."""
    with thread(settings_of(tmp_path_factory.mktemp("token"), token=TOKEN)) as client:
        yield client


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server with a token and a name."""
    settings = settings_of(tmp_path_factory.mktemp("named"), token=TOKEN, server_names=frozenset({"gpu1.example"}))
    with thread(settings) as client:
        yield client


def asked(client: httpx.Client, *lines: str, start: str = "GET /v1/models HTTP/1.1") -> tuple[int, str]:
    """The status and the code of an answer to a request of these lines."""
    with socket.create_connection(("127.0.0.1", client.base_url.port or 0)) as sock:
        sock.settimeout(30)
        sock.sendall("\r\n".join([start, "Connection: close", *lines, "", ""]).encode())
        answer = b""
        while chunk := sock.recv(1 << 16):
            answer += chunk
    code = re.search(rb'"code":"([A-Z_]+)"', answer)
    return int(answer.split()[1]), code[1].decode() if code else ""


def port(client: httpx.Client) -> int:
    return client.base_url.port or 0


FINE = (200, "")
HOST = (400, "HOST_NOT_ALLOWED")
ORIGIN = (403, "CROSS_ORIGIN")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", FINE),
        ("localhost:PORT", FINE),
        ("localhost:9999", FINE),  # a port that is forwarded here
        ("LocalHost.", FINE),
        ("127.0.0.1:PORT", FINE),
        ("127.1.2.3", FINE),
        ("[::1]:PORT", FINE),
        ("gpu1.example", FINE),
        ("proxy.example:8443", FINE),
        ("evil.example", HOST),
        ("evil.example:PORT", HOST),
        ("localhost.evil.example", HOST),
        ("evil-localhost", HOST),
        ("evil@localhost", HOST),
        ("localhost@evil.example", HOST),
        ("localhost/evil", HOST),
        ("localhost:", HOST),
        ("localhost:x", HOST),
        ("[::1", HOST),
        ("::1", HOST),
        ("", HOST),
        (":PORT", HOST),
        ("192.168.1.5", HOST),
        ("0.0.0.0:PORT", HOST),
        ("localhost, evil.example", HOST),
    ],
)
def test_names_without_a_token(host: str, expected: tuple[int, str], client: httpx.Client) -> None:
    assert asked(client, f"Host: {host.replace('PORT', str(port(client)))}") == expected


def test_requests_without_one_name_are_refused(client: httpx.Client, guarded: httpx.Client) -> None:
    assert asked(client)[0] == 400  # HTTP/1.1 must have one
    assert asked(client, start="GET /v1/models HTTP/1.0") == HOST
    for lines in (["Host: localhost", "Host: evil.example"], ["Host: evil.example", "Host: localhost"]):
        assert asked(client, *lines)[0] == 400
    assert asked(guarded, BEARER, start="GET /v1/models HTTP/1.0") == FINE  # a client that is no browser


@pytest.mark.parametrize("target", ["http://evil.example/v1/models", "http://localhost/v1/models", "//evil.example/"])
def test_targets_with_a_name_of_their_own_lead_nowhere(target: str, client: httpx.Client) -> None:
    assert asked(client, "Host: localhost", start=f"GET {target} HTTP/1.1")[0] == 404


def test_names_with_a_token(guarded: httpx.Client, named: httpx.Client) -> None:
    """A token is enough where no name was said, and where one was, addresses go on: probes of Kubernetes use them."""
    for host in ("any.name", "10.0.0.7:8000"):
        assert asked(guarded, f"Host: {host}", BEARER) == FINE
        assert asked(guarded, f"Host: {host}") == (401, "UNAUTHORIZED")
    for host in ("gpu1.example", "gpu1.example:80", "10.0.0.7:8000", "[fd00::7]:8000", "localhost"):
        assert asked(named, f"Host: {host}", BEARER) == FINE
    assert asked(named, "Host: evil.example", BEARER) == HOST
    for host in ("10.0.0.7:8000", "any.name"):
        assert asked(named, f"Host: {host}", start="GET /health HTTP/1.1") == FINE
    assert asked(named, "Host: gpu1.example", BEARER, f"Authorization: Bearer {TOKEN}x")[0] == 401


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["Origin: http://HOST"], FINE),
        (["Origin: https://HOST"], FINE),  # a proxy ended TLS
        (["Origin: https://gpu1.example"], FINE),  # --base-url, whose proxy says another Host
        (["Sec-Fetch-Site: same-origin", "Origin: http://HOST"], FINE),
        (["Sec-Fetch-Site: same-origin", "Origin: null"], FINE),  # a form of a page that says no referrer
        (["Sec-Fetch-Site: none"], FINE),
        (["Origin: http://evil.example"], ORIGIN),
        (["Origin: http://localhost:1"], ORIGIN),
        (["Origin: http://HOST.evil.example"], ORIGIN),
        (["Origin: null"], ORIGIN),
        (["Origin: "], ORIGIN),
        (["Origin: http://HOST", "Origin: http://evil.example"], ORIGIN),
        (["Sec-Fetch-Site: cross-site"], ORIGIN),
        (["Sec-Fetch-Site: same-site"], ORIGIN),
        (["Sec-Fetch-Site: of-the-future"], ORIGIN),
        (["Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"], ORIGIN),
        (["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"], ORIGIN),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_pages(lines: list[str], expected: tuple[int, str], client: httpx.Client, named: httpx.Client) -> None:
    host = f"localhost:{port(client)}"
    assert asked(client, f"Host: {host}", *(line.replace("HOST", host) for line in lines)) == expected
    if expected == ORIGIN:  # whatever else is in order, and /health too
        for start in ("POST /v1/inference HTTP/1.1", "OPTIONS /v1/inference HTTP/1.1", "GET /health HTTP/1.1"):
            assert asked(named, "Host: gpu1.example", BEARER, *lines, start=start) == ORIGIN


def test_every_answer_has_safe_headers(client: httpx.Client, guarded: httpx.Client) -> None:
    local = {"host": "localhost"}
    request_id = submit(client, body())
    answers = [
        client.get("/v1/models", headers=local),
        client.get("/metrics", headers=local),
        client.get("/nowhere", headers=local),
        client.get(f"/v1/requests/{request_id}/status", headers=local),
        client.put("/v1/inference", headers=local),
        client.post("/v1/inference", json={}, headers=local),
        client.get("/v1/models", headers={"host": "evil.example"}),
        client.get("/v1/models", headers={"origin": "null"}),
        guarded.get("/v1/models"),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 404, 200, 405, 422, 400, 403, 401]
    for answer in answers:
        assert {name: answer.headers.get(name) for name in SAFE_HEADERS} == SAFE_HEADERS
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_an_error_of_ours_has_safe_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with thread(settings_of(tmp_path)) as client:
        monkeypatch.setattr("parity.server.queue.Queue.get", lambda *_: 1 // 0)
        answer = client.get("/v1/requests/a/status")
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    assert {name: answer.headers.get(name) for name in SAFE_HEADERS} == SAFE_HEADERS


def test_the_page_of_the_documentation_runs_only_what_was_looked_at(client: httpx.Client) -> None:
    answer = client.get("/docs", headers={"host": "localhost"})
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
    for url in re.findall(r'(?:src|href)="(https:[^"]*)"', answer.text):
        assert re.search(rf'"{re.escape(url)}" integrity="sha384-[A-Za-z0-9+/]{{64}}" crossorigin', answer.text)
        assert re.search(r"@\d+\.\d+\.\d+/", url)
    assert answer.text == docs_page.HTML


@pytest.mark.parametrize("name", ["http://a.example", "a.example:80", "", ".", "a/b", "a-", "*.example"])
def test_a_server_name_is_a_name(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["serve", "--lora-root", str(tmp_path), "--server-name", name])
    assert "--server-name: must be a host name without a port" in capsys.readouterr().err
