"""A request whose answer is lost is sent again to a server that knows it by its key, and to no other."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from parity.case.target import Target
from parity.remote.client import Client
from pipelines.errors import TargetError
from tests.support.serving import body, settings_of, thread
from tests.support.targets import Handler, Server, serving


@contextmanager
def losing(port: int, lost: int) -> Iterator[str]:
    """The URL of a relay to a server, which hangs up instead of passing on the answers to the first requests."""

    def relay(client: socket.socket, loses: bool) -> None:
        with client, socket.create_connection(("127.0.0.1", port)) as server:
            server.settimeout(30)
            request = b""
            while b"\r\n\r\n" not in request:
                request += client.recv(1 << 16)
            length = request.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            while len(request.partition(b"\r\n\r\n")[2]) < int(length or b"0"):
                request += client.recv(1 << 16)
            server.sendall(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            answer = b""
            while chunk := server.recv(1 << 16):
                answer += chunk
            if not loses:
                client.sendall(answer)

    def accept(listening: socket.socket) -> None:
        count = 0
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            count += 1
            relay(client, count <= lost)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        running = threading.Thread(target=accept, args=[listening])
        running.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            running.join()


def deadline() -> float:
    return time.monotonic() + 30


def queued(client: httpx.Client) -> int:
    lines = client.get("/metrics").text.splitlines()
    return sum(int(float(line.split()[1])) for line in lines if line.startswith("parity_queue_"))


def test_an_answer_that_is_lost_costs_no_second_generation(tmp_path: Path) -> None:
    with thread(settings_of(tmp_path)) as server, losing(server.base_url.port or 0, lost=1) as url:
        client = Client(Target(url=url))
        request_id = client.submit(body(), deadline())
        assert server.get(f"/v1/requests/{request_id}/status").status_code == 200
        assert queued(server) == 1
        assert client.submit(body(), deadline()) != request_id  # another request, though its body is the same
        assert queued(server) == 2
        client.close()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as state:
        yield state


def remembers(handler: Handler) -> None:
    handler.json({"name": "wan-parity", "idempotency_key_hours": 24})


@pytest.mark.parametrize("status", [None, 502, 504])
def test_it_is_sent_again_to_a_server_that_remembers(status: int | None, server: Server) -> None:
    lose = Handler.drop if status is None else lambda handler: handler.bytes(b"", status)
    server.answers = {"": [remembers], "inference": [lose, lose, lambda handler: handler.json({"request_id": "one"})]}
    client = Client(Target(url=server.url))
    assert client.submit(body(), deadline()) == "one"
    client.close()
    assert server.count("/v1/inference") == 3
    assert len(set(server.keys) - {None}) == 1


@pytest.mark.parametrize(
    "root",
    [
        lambda handler: handler.json({"detail": "Not Found"}, 404),
        lambda handler: handler.json({"name": "wan-parity", "version": "0.1.0"}),
        lambda handler: handler.json({"idempotency_key_hours": 0}),
        lambda handler: handler.json({"idempotency_key_hours": "many"}),
        lambda handler: handler.bytes(b"<h1>hello</h1>"),
    ],
    ids=["none", "0.1", "no", "no number", "a page"],
)
@pytest.mark.parametrize("status", [None, 502])
def test_it_is_not_sent_again_to_any_other(root: object, status: int | None, server: Server) -> None:
    lose = Handler.drop if status is None else lambda handler: handler.bytes(b"", status)
    server.answers = {"": [root], "inference": [lose]}  # type: ignore[list-item]
    client = Client(Target(url=server.url))
    with pytest.raises(TargetError, match="it may have been accepted, so it is not sent again"):
        client.submit(body(), deadline())
    client.close()
    assert server.count("/v1/inference") == 1
