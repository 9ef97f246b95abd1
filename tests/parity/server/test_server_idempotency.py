"""A request that is sent again with its `Idempotency-Key` is one request; another body is not. Over a real socket."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from parity.case.load import DEMO
from parity.server.idempotency import KEEP_HOURS, MAX_LENGTH
from parity.server.queue import Queue, as_text
from parity.server.settings import Limits
from tests.support.serving import PatientEngine, body, finished, settings_of, submit, thread

KEY = '"8e03978e-40d5-43e8-bc93-6894a57f9324"'


def send(client: httpx.Client, key: str | bytes, request: object = None) -> httpx.Response:
    headers = [
        (b"content-type", b"application/json"),
        (b"idempotency-key", key.encode() if isinstance(key, str) else key),
    ]
    content = request if isinstance(request, str) else json.dumps(body() if request is None else request)
    return client.post("/v1/inference", content=content, headers=headers)


def accepted(reply: httpx.Response) -> str:
    assert reply.status_code == 200, reply.text
    return str(reply.json()["request_id"])


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with thread(settings_of(tmp_path_factory.mktemp("serve"), limits=Limits(queue=1000))) as client:
        yield client


def waiting(client: httpx.Client) -> int:
    lines = client.get("/metrics").text.splitlines()
    return sum(int(float(line.split()[1])) for line in lines if line.startswith("parity_queue_"))


def test_the_same_request_is_answered_again(client: httpx.Client) -> None:
    before = waiting(client)
    first = send(client, '"a"')
    for key in ('"a"', "a"):
        assert send(client, key).json() == first.json()
    assert waiting(client) == before + 1
    assert accepted(send(client, '"b"')) != accepted(first)
    assert submit(client, body()) != submit(client, body())  # without a key, as ever


def test_values_count_and_not_their_spelling(client: httpx.Client) -> None:
    first = accepted(send(client, '"spelling"', body(seed=7)))
    again = json.dumps(body(seed="7") | {"note": "unknown keys are not read"}, indent=3, sort_keys=True)
    assert accepted(send(client, '"spelling"', again)) == first
    assert accepted(send(client, '"spelling"', body(seed=7, request={"hf_token": "hf_another"}))) == first


@pytest.mark.parametrize("other", [{"seed": 6}, {"prompt": "a dog"}, {"neg": "ugly"}, {"seed": None}], ids=str)
def test_another_body_is_refused(other: dict[str, Any], client: httpx.Client) -> None:
    first = accepted(send(client, '"other"'))
    before = waiting(client)
    reply = send(client, '"other"', body(**other))
    error = reply.json()["detail"]["error"]
    assert (reply.status_code, error["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert error["details"] == {"request_id": first}
    assert waiting(client) == before


def test_a_random_seed_is_chosen_once(client: httpx.Client) -> None:
    assert accepted(send(client, '"r"', body(seed=-1))) == accepted(send(client, '"r"', body(seed=-1)))


@pytest.mark.parametrize(
    "key",
    ["", '""', '"open', 'open"', '"a"b"', '"a\\"', "a b", '"a", "b"', '"é"', "é", "x" * (MAX_LENGTH + 1), "a\x01"],
    ids=lambda key: repr(key)[:20],
)
def test_what_is_no_key_is_refused(key: str, client: httpx.Client) -> None:
    reply = send(client, key)
    assert (reply.status_code, [it["loc"] for it in reply.json()["detail"]]) == (422, [["header", "idempotency-key"]])


def test_a_key_has_a_length_and_is_one(client: httpx.Client) -> None:
    accepted(send(client, f'"{"x" * MAX_LENGTH}"'))
    headers = [("idempotency-key", '"a"'), ("idempotency-key", '"a"')]
    assert client.post("/v1/inference", json=body(), headers=headers).status_code == 422


def test_a_body_that_is_refused_leaves_its_key_free(client: httpx.Client) -> None:
    assert send(client, '"free"', body(request={"loras": []})).status_code == 400
    accepted(send(client, '"free"'))


def test_requests_of_the_same_moment_are_one(client: httpx.Client) -> None:
    before = waiting(client)
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: send(client, '"same moment"'), range(24)))
    assert len({accepted(reply) for reply in replies}) == 1
    assert waiting(client) == before + 1


def test_a_retry_needs_no_place_and_no_file(tmp_path: Path) -> None:
    """It was accepted: that the queue is full by now, or its LoRA gone, is no answer to it."""
    root = tmp_path / "root"
    root.mkdir()
    lora = root / "a.safetensors"
    shutil.copy(DEMO / "jobs" / "t2v_basic" / "tiny_t2v.safetensors", lora)
    asked = body(request={"loras": [{"path": "a.safetensors"}]})
    with thread(settings_of(tmp_path / "data", lora_root=root, limits=Limits(queue=1))) as client:
        first = accepted(send(client, KEY, asked))
        assert send(client, '"new"', asked).status_code == 429
        lora.unlink()
        assert accepted(send(client, KEY, asked)) == first
        assert client.post("/v1/inference", json=asked).status_code == 400


def test_keys_outlive_the_server_and_the_request(tmp_path: Path) -> None:
    engine = PatientEngine()
    engine.steps.release()
    with thread(settings_of(tmp_path), engine) as client:
        first = accepted(send(client, KEY))
        assert finished(client, first)["status"] == "succeeded"
    with thread(settings_of(tmp_path)) as client:
        assert accepted(send(client, KEY)) == first
        assert send(client, KEY, body(seed=6)).status_code == 422
        assert client.get(f"/v1/requests/{first}/files/output_0.webp").status_code == 200


def test_keys_are_forgotten(tmp_path: Path) -> None:
    """After a day, and with their request: they do not pile up."""
    file = tmp_path / "queue.sqlite"
    with thread(settings_of(tmp_path)) as client:
        first = accepted(send(client, KEY))
        database = sqlite3.connect(file)
        long_ago = as_text(datetime.now(UTC) - timedelta(hours=KEEP_HOURS + 1))
        database.execute("UPDATE retry_keys SET created_at=?", (long_ago,))
        database.commit()
        second = accepted(send(client, KEY, body(seed=6)))
        assert second != first
        assert database.execute("SELECT request_id FROM retry_keys").fetchall() == [(second,)]
        database.close()
        client.post(f"/v1/requests/{second}/cancel")
        assert client.get("/").json()["idempotency_key_hours"] == KEEP_HOURS
    queue = Queue(file, 10)
    queue.forget(second)
    queue.close()
    database = sqlite3.connect(file)
    assert database.execute("SELECT COUNT(*) FROM retry_keys").fetchone() == (0,)
    database.close()


OLDER = """
CREATE TABLE requests (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, state TEXT NOT NULL, body TEXT NOT NULL,
    had_hub_token INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, cancel_asked INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL, started_at TEXT, finished_at TEXT, outputs TEXT, metadata TEXT, error TEXT
);
CREATE INDEX requests_by_state ON requests (state, number);
PRAGMA user_version=1;
"""
"""The queue of 0.1, before there were keys."""


def test_the_queue_of_an_older_server_goes_on(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "queue.sqlite")
    database.executescript(OLDER)
    database.execute(
        "INSERT INTO requests (id, state, body, had_hub_token, created_at) VALUES ('old', 'in_queue', ?, 0, ?)",
        (json.dumps(body()), "2026-01-01T00:00:00Z"),
    )
    database.commit()
    database.close()
    engine = PatientEngine()
    for _ in range(2):
        engine.steps.release()
    with thread(settings_of(tmp_path), engine) as client:
        assert finished(client, "old")["status"] == "succeeded"
        first = accepted(send(client, KEY))
        assert accepted(send(client, KEY)) == first
        assert finished(client, first)["status"] == "succeeded"
    database = sqlite3.connect(tmp_path / "queue.sqlite")
    assert database.execute("PRAGMA user_version").fetchone() == (1,)  # and the older server can go on with it
    database.close()
