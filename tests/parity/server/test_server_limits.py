"""The server survives slow clients, large bodies, full disks and hung steps, and old results do not fill it."""

from __future__ import annotations

import contextlib
import json
import socket
import sqlite3
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from parity.server import connection, worker
from parity.server.errors import ApiError
from parity.server.queue import Queue, as_text
from parity.server.schemas import MAX_PROMPTS
from parity.server.settings import Limits
from pipelines.prompts import MAX_CHARACTERS
from tests.support.serving import PatientEngine, body, finished, settings_of, submit, thread, until


@contextmanager
def connected(client: httpx.Client) -> Iterator[socket.socket]:
    with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as sock:
        sock.settimeout(30)
        yield sock


def hung_up(sock: socket.socket) -> bool:
    """Return True if the server ends the connection."""
    try:
        while sock.recv(1 << 16):
            pass
    except ConnectionResetError:
        pass
    return True


def healthy(client: httpx.Client) -> bool:
    return client.get("/health").status_code == 200


def test_slow_heads_are_hung_up_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.2)
    with thread(settings_of(tmp_path)) as client:
        for start in (b"", b"GET /health HTTP/1.1\r\nX: "):
            with connected(client) as slow:
                slow.sendall(start)
                assert hung_up(slow)
        with connected(client) as slow:  # the second request of a connection
            slow.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert slow.recv(100).startswith(b"HTTP/1.1 200 ")
            slow.sendall(b"GET /")
            assert hung_up(slow)
        assert healthy(client)


def test_a_client_that_does_not_read_is_disconnected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "READ_SECONDS", 0.2)
    lost = set()
    connection_lost = connection.Connection.connection_lost

    def noting(self: connection.Connection, exc: Exception | None) -> None:
        lost.add(self.client)
        connection_lost(self, exc)

    monkeypatch.setattr(connection.Connection, "connection_lost", noting)
    engine = PatientEngine()
    engine.steps.release()
    size = 64 << 20
    with thread(settings_of(tmp_path), engine) as client:
        request_id = submit(client, body())
        assert finished(client, request_id)["status"] == "succeeded"
        (tmp_path / "files" / f"{request_id}_output_0.webp").write_bytes(bytes(size))
        with connected(client) as slow:
            path = f"/v1/requests/{request_id}/files/output_0.webp"
            slow.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            until(lambda: slow.getsockname() in lost)
        patient = client.get(f"/v1/requests/{request_id}/files/output_0.webp")
        assert len(patient.content) == size


def test_answers_do_not_wait_for_the_clients_acknowledgement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    delays = []
    data_received = connection.Connection.data_received

    def noting(self: connection.Connection, data: bytes) -> None:
        sock = self.transport.get_extra_info("socket")
        delays.append(not sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        data_received(self, data)

    monkeypatch.setattr(connection.Connection, "data_received", noting)
    with thread(settings_of(tmp_path)) as client:
        assert healthy(client)
    assert delays == [False]


def test_connections_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_CONNECTIONS", 2)
    monkeypatch.setattr(connection, "HEAD_SECONDS", 600.0)  # which would end it, too
    with thread(settings_of(tmp_path)) as client:
        with connected(client), connected(client), connected(client) as one_too_many:
            assert hung_up(one_too_many)
            with pytest.raises(httpx.TransportError):
                healthy(client)

        def answers() -> bool:
            with contextlib.suppress(httpx.TransportError):  # until it has noticed that they are closed
                return healthy(client)
            return False

        until(answers)


def test_bodies_in_memory_are_counted(tmp_path: Path) -> None:
    with thread(settings_of(tmp_path, limits=Limits(bodies=10_000))) as client, connected(client) as slow:
        head = "POST /v1/inference HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        slow.sendall(f"{head}Content-Length: 9999\r\n\r\n".encode() + b" " * 9_900)

        def refused() -> bool:
            reply = client.post("/v1/inference", json=body())
            return reply.status_code == 503 and reply.json()["detail"]["error"]["code"] == "TOO_BUSY"

        until(refused)
        slow.close()
        until(lambda: client.post("/v1/inference", json=body()).status_code == 200)


@pytest.mark.parametrize("key", ["prompts", "loras", "note"])
@pytest.mark.parametrize("item", ["{}", "1", '{"prompt":"a","path":"a"}'])
def test_bodies_of_many_values_are_refused_cheaply(key: str, item: str, tmp_path: Path) -> None:
    """Without a bound, 8 MB of commas took 72 seconds and 3.5 GB to refuse."""
    text = json.dumps(body() | {key: "LIST"}).replace('"LIST"', "[" + ",".join([item] * 1_000_000) + "]")
    with thread(settings_of(tmp_path)) as client:
        reply = client.post("/v1/inference", content=text, headers={"content-type": "application/json"})
    assert reply.status_code == 422
    assert [mistake["type"] for mistake in reply.json()["detail"]] == ["too_long"]


def test_prompts_have_a_bound(tmp_path: Path) -> None:
    prompt = body()["prompts"][0]
    with thread(settings_of(tmp_path)) as client:
        submit(client, body(request={"prompts": [prompt] * MAX_PROMPTS}))
        reply = client.post("/v1/inference", json=body(request={"prompts": [prompt] * (MAX_PROMPTS + 1)}))
        assert [mistake["loc"] for mistake in reply.json()["detail"]] == [["body", "prompts"]]


def with_text(key: str, text: str) -> dict[str, Any]:
    request = body()
    request["prompts"][0][key] = text
    return request


def test_a_trigger_word_cannot_multiply_a_prompt(tmp_path: Path) -> None:
    """A request of 60 KiB, which would become 30 MB of text and end the process in the tokenizer."""
    big = body(prompt="[trigger]" * 5000, trigger_word="x" * 6000)
    fits = body(prompt="[trigger]" * 8, trigger_word="x" * 6000)
    tracemalloc.start()
    try:
        with thread(settings_of(tmp_path)) as client:
            submit(client, fits)
            tracemalloc.reset_peak()
            reply = client.post("/v1/inference", json=big)
            peak = tracemalloc.get_traced_memory()[1]
            for item in ("prompt", "neg", "trigger_word"):  # each text alone
                longer = client.post("/v1/inference", json=with_text(item, "x" * (MAX_CHARACTERS + 1)))
                assert (longer.status_code, longer.json()["detail"][0]["loc"][-1]) == (422, item)
            assert healthy(client)
    finally:
        tracemalloc.stop()
    assert reply.status_code == 422
    (mistake,) = reply.json()["detail"]
    assert (mistake["type"], mistake["loc"]) == ("string_too_long", ["body", "prompts", 0, "prompt"])
    assert mistake["msg"].startswith("has 30000000 characters with 6000 for each of 5000 [trigger]")
    assert peak < 30 << 20


def test_videos_and_seeds_beyond_what_can_be_generated_are_not_queued(tmp_path: Path) -> None:
    whole: dict[str, Any] = {"width": 4096, "height": 4096, "num_frames": 16, "seed": 2**64 - 1}
    with thread(settings_of(tmp_path)) as client:
        submit(client, body(**whole))
        for key, value, words in (("num_frames", 17, "need 3.4 GB"), ("seed", 2**64, "64 bits"), ("seed", 10**99, "")):
            reply = client.post("/v1/inference", json=body(**whole | {key: value}))
            error = reply.json()["detail"]["error"]
            assert (reply.status_code, error["code"]) == (400, "INVALID_PARAMETER")
            assert error["details"]["prompt_index"] == 0
            assert words in error["message"]
        assert healthy(client)


def test_a_start_removes_what_a_killed_server_left(tmp_path: Path) -> None:
    engine = PatientEngine()
    engine.steps.release()
    with thread(settings_of(tmp_path), engine) as client:
        done = submit(client, body())
        assert finished(client, done)["status"] == "succeeded"
        waiting = submit(client, body(sample_steps=2))
    for name in (
        f"{waiting}_output_0.webp",
        f"{done}_output_1.webp.part",
        f"{done}_output_0.part.mp4",
        "x_output_0.mp4",
    ):
        (tmp_path / "files" / name).write_bytes(b"half")
    with thread(settings_of(tmp_path)):
        assert [path.name for path in (tmp_path / "files").iterdir()] == [f"{done}_output_0.webp"]


def test_what_an_earlier_version_accepted_and_this_one_does_not_is_said(tmp_path: Path) -> None:
    queue = Queue(tmp_path / "queue.sqlite", 10)
    longer = body()["prompts"][0] | {"prompt": "x" * (MAX_CHARACTERS + 1)}
    queue.add("earlier", json.dumps(body(request={"prompts": [longer]})), had_hub_token=False)
    queue.close()
    with thread(settings_of(tmp_path)) as client:
        result = finished(client, "earlier")
    assert result["status"] == "failed"
    assert result["error"].startswith("this version does not accept the request: prompts.0.prompt: ")


def aged(data: Path, request_id: str, days: float) -> None:
    """Let a request be over for longer than it is."""
    database = sqlite3.connect(data / "queue.sqlite")
    when = as_text(datetime.now(UTC) - timedelta(days=days))
    database.execute("UPDATE requests SET finished_at=? WHERE id=?", (when, request_id))
    database.commit()
    database.close()


def test_old_results_are_removed_if_asked_for(tmp_path: Path) -> None:
    engine = PatientEngine()
    for _ in range(2):
        engine.steps.release()
    with thread(settings_of(tmp_path), engine) as client:
        old, young = (submit(client, body()) for _ in range(2))
        assert all(finished(client, it)["status"] == "succeeded" for it in (old, young))
        waiting = submit(client, body(sample_steps=2))
    aged(tmp_path, old, 8)
    aged(tmp_path, waiting, 8)  # not over, whatever is written there
    with thread(settings_of(tmp_path)) as client:  # keeps all
        assert client.get(f"/v1/requests/{old}/status").status_code == 200
    with thread(settings_of(tmp_path, keep_days=7.0)) as client:
        until(lambda: client.get(f"/v1/requests/{old}/status").status_code == 404)
        assert client.get(f"/v1/requests/{old}/files/output_0.webp").status_code == 404
        assert client.get(f"/v1/requests/{young}/files/output_0.webp").status_code == 200
        assert client.get(f"/v1/requests/{waiting}/status").json()["status"] in ("in_queue", "in_progress")
        assert [path.name for path in (tmp_path / "files").iterdir()] == [f"{young}_output_0.webp"]


def test_a_full_disk_fails_the_request_and_not_the_server(tmp_path: Path) -> None:
    engine = PatientEngine()
    with thread(settings_of(tmp_path), engine) as client:
        first, second = (submit(client, body()) for _ in range(2))
        (tmp_path / "files" / f"{first}_output_0.webp.part").symlink_to("/dev/full")
        for _ in range(2):
            engine.steps.release()
        result = finished(client, first)
        assert (result["status"], result["outputs"]) == ("failed", None)
        assert "disk is full" in result["error"]
        assert finished(client, second)["status"] == "succeeded"
        assert [path.name for path in (tmp_path / "files").iterdir()] == [f"{second}_output_0.webp"]


def test_a_queue_that_is_full_on_the_disk_goes_on(tmp_path: Path) -> None:
    queue = Queue(tmp_path / "queue.sqlite", 10_000)
    database: Any = queue._db
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count={pages + 20}")
    accepted = 0

    def fill() -> None:
        nonlocal accepted
        for accepted in range(1000):
            queue.add(f"id-{accepted}", "x" * 2000, had_hub_token=False)

    with pytest.raises(ApiError) as caught:
        fill()
    assert (caught.value.code, caught.value.status) == ("DISK_FULL", 507)
    assert queue.count("in_queue") == accepted > 0
    database.execute("PRAGMA max_page_count=100000")
    queue.add("another", "x" * 20_000, had_hub_token=False)
    assert queue.count("in_queue") == accepted + 1
    queue.close()


def test_how_a_request_ended_is_written_when_the_disk_lets_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "RETRY_SECONDS", 0.01)
    succeed, failures = Queue.succeed, iter([sqlite3.OperationalError("database or disk is full")] * 3)

    def reluctant(*arguments: Any) -> None:
        for error in failures:
            raise error
        succeed(*arguments)

    monkeypatch.setattr(Queue, "succeed", reluctant)
    engine = PatientEngine()
    engine.steps.release()
    with thread(settings_of(tmp_path), engine) as client:
        assert finished(client, submit(client, body()))["status"] == "succeeded"
    assert next(failures, None) is None
