"""The reference server's error cases, the queue, cancelling and access: over a real socket, without generating."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from parity.case.load import DEMO
from parity.server import logs
from parity.server.queue import Queue
from parity.server.settings import Limits
from pipelines.errors import WeightsError
from tests.support.serving import PatientEngine, body, finished, settings_of, submit, thread, until

TOKEN = "a-token-of-some-length"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    limits = Limits(queue=1000, body=1 << 20)
    with thread(settings_of(tmp_path_factory.mktemp("contract"), limits=limits)) as client:
        yield client


def code(reply: httpx.Response) -> str:
    error = reply.json()["detail"]["error"]
    assert set(error) == {"code", "message", "details"}
    return f"{reply.status_code} {error['code']}"


LORA = {"path": "t2v_basic/tiny_t2v.safetensors"}
HIGH = {"path": "wan22_t2v/tiny22_t2v_high_noise.safetensors", "transformer": "high"}
NO_IMAGE = body(model="wan21_i2v_14b")


@pytest.mark.parametrize(
    ("request_body", "expected"),
    [
        (body(request={"model": "flux"}), "MODEL_NOT_FOUND"),
        (body(request={"model": "ltx2"}), "MODEL_NOT_FOUND"),
        (body(request={"model": "wan22_14b_t2v"}), "MOE_FORMAT_REQUIRED"),
        (body(request={"model": "wan22_14b_t2v", "loras": [HIGH, HIGH]}), "SINGLE_MOE_CONFIG_ONLY"),
        (body(request={"model": "wan22_14b_t2v", "loras": [HIGH | {"path": "gone.safetensors"}]}), "LORA_NOT_FOUND"),
        (body(request={"model": "wan22_14b_i2v", "loras": [HIGH]}), "CONTROL_IMAGE_REQUIRED"),
        (body(request={"loras": []}), "LORA_FILE_REQUIRED"),
        (body(request={"loras": [{"path": "gone.safetensors"}]}), "LORA_NOT_FOUND"),
        (body(request={"loras": [LORA, LORA]}), "SINGLE_LORA_ONLY"),
        (body(request={"loras": [LORA | {"transformer": "low"}]}), "MOE_FORMAT_NOT_SUPPORTED"),
        (NO_IMAGE, "CONTROL_IMAGE_REQUIRED"),
        (NO_IMAGE | {"loras": [{"path": "gone.safetensors"}]}, "LORA_NOT_FOUND"),  # its order of checks
        (body(model="wan21_i2v_14b", ctrl_img_1="a", ctrl_img_2="b"), "INVALID_PARAMETER"),
        (body(model="wan22_5b", ctrl_img_1="a", ctrl_img_2="b"), "INVALID_PARAMETER"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_error_codes(request_body: dict[str, Any], expected: str, client: httpx.Client) -> None:
    assert code(client.post("/v1/inference", json=request_body)) == f"400 {expected}"


@pytest.mark.parametrize("route", ["status", "result", "files/output_0.webp"])
def test_unknown_requests(route: str, client: httpx.Client) -> None:
    assert code(client.get(f"/v1/requests/no-such-id/{route}")) == "404 REQUEST_NOT_FOUND"
    assert code(client.post("/v1/requests/no-such-id/cancel")) == "404 REQUEST_NOT_FOUND"


@pytest.mark.parametrize(
    ("item", "key"),
    [
        ({"width": 63}, "width"),
        ({"width": 4097}, "width"),
        ({"guidance_scale": 20.5}, "guidance_scale"),
        ({"sample_steps": 0}, "sample_steps"),
        ({"sample_steps": 151}, "sample_steps"),
        ({"seed": -2}, "seed"),
        ({"num_frames": 1001}, "num_frames"),
        ({"fps": 121}, "fps"),
        ({"prompt": None}, "prompt"),
        ({"fps": "many"}, "fps"),
    ],
)
def test_bounds(item: dict[str, Any], key: str, client: httpx.Client) -> None:
    request = body(request={"hf_token": "hf_very_secret"}, **item)
    reply = client.post("/v1/inference", json=request)
    assert reply.status_code == 422
    assert [mistake["loc"] for mistake in reply.json()["detail"]] == [["body", "prompts", 0, key]]
    assert "hf_very_secret" not in reply.text


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"model": "\\ud800"}', '{"seed": NaN}', "[" * 5000])
def test_invalid_bodies(text: str, client: httpx.Client) -> None:
    reply = client.post("/v1/inference", content=text, headers={"content-type": "application/json"})
    assert reply.status_code == 422
    assert isinstance(reply.json()["detail"], list)


def test_what_the_reference_server_takes_is_taken(client: httpx.Client) -> None:
    """Unknown keys, numbers as text, keys of other models."""
    submit(client, body(request={"kv_cache": True, "extra": {"a": 1}}, width="96", seed=42.0, note="mine"))


def test_other_content_types_are_refused(client: httpx.Client) -> None:
    """Otherwise any web page could make its visitor's browser start generations."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        reply = client.post("/v1/inference", content=json.dumps(body()), headers={"content-type": kind})
        assert reply.status_code == 422


def test_bodies_have_a_limit(client: httpx.Client) -> None:
    large = json.dumps(body(ctrl_img="A" * (2 << 20))).encode()
    headers = {"content-type": "application/json"}
    assert code(client.post("/v1/inference", content=large, headers=headers)) == "413 BODY_TOO_LARGE"
    chunks = (large[i : i + 65536] for i in range(0, len(large), 65536))  # no length given
    assert code(client.post("/v1/inference", content=chunks, headers=headers)) == "413 BODY_TOO_LARGE"


def test_slow_bodies_are_given_up(tmp_path: Path) -> None:
    with thread(settings_of(tmp_path, limits=Limits(body_seconds=0.3))) as client:
        url = client.base_url
        with socket.create_connection((url.host, url.port or 0)) as slow:
            head = f"POST /v1/inference HTTP/1.1\r\nHost: {url.host}\r\nContent-Type: application/json\r\n"
            slow.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
            slow.settimeout(30)
            assert slow.recv(100).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "path",
    [
        "../models/tiny-wan-t2v/vae/diffusion_pytorch_model.safetensors",
        "t2v_basic/../../models/tiny-wan-t2v/vae/diffusion_pytorch_model.safetensors",
        str(next((DEMO / "models" / "tiny-wan-t2v").rglob("*.safetensors"))),
        "/etc/passwd",
        "t2v_basic",
        "t2v_basic/config.yaml",
        "",
        ".",
        "a\0b",
        "a" * 5000,
        "file:///etc/passwd",
        "~/x.safetensors",
    ],
)
def test_lora_paths_stay_in_the_root(path: str, client: httpx.Client) -> None:
    reply = client.post("/v1/inference", json=body(request={"loras": [{"path": path}]}))
    assert code(reply) == "400 LORA_NOT_FOUND"
    assert str(DEMO) not in reply.json()["detail"]["error"]["message"]


def test_links_that_leave_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    outside = tmp_path / "outside.safetensors"
    outside.write_bytes((DEMO / "jobs" / "t2v_basic" / "tiny_t2v.safetensors").read_bytes())
    (root / "link.safetensors").symlink_to(outside)
    (root / "folder").symlink_to(tmp_path)
    (root / "circle.safetensors").symlink_to(root / "circle.safetensors")
    (root / "inside.safetensors").write_bytes(outside.read_bytes())
    (root / "good.safetensors").symlink_to("inside.safetensors")
    with thread(settings_of(tmp_path / "data", lora_root=root.resolve())) as client:
        for path in ("link.safetensors", "folder/outside.safetensors", "circle.safetensors"):
            reply = client.post("/v1/inference", json=body(request={"loras": [{"path": path}]}))
            assert code(reply) == "400 LORA_NOT_FOUND"
        for path in ("inside.safetensors", "good.safetensors", str(root / "inside.safetensors")):
            submit(client, body(request={"loras": [{"path": path}]}))


def test_progress_cancel_and_a_full_queue(tmp_path: Path) -> None:
    engine = PatientEngine()
    with thread(settings_of(tmp_path, limits=Limits(queue=3)), engine) as client:
        running, waiting, last = (submit(client, body(sample_steps=4, seed=i)) for i in range(3))
        assert code(client.post("/v1/inference", json=body())) == "429 QUEUE_FULL"

        def at(step: int) -> bool:
            progress = client.get(f"/v1/requests/{running}/status").json()["progress"]
            return bool(progress == {"prompt": 1, "prompts": 1, "step": step, "steps": 4})

        until(lambda: at(0))
        engine.steps.release()
        until(lambda: at(1))
        assert client.get(f"/v1/requests/{running}/result").json()["outputs"] is None
        assert client.get(f"/v1/requests/{waiting}/status").json()["status"] == "in_queue"
        assert client.post(f"/v1/requests/{waiting}/cancel").json()["status"] == "canceled"
        submit(client, body())  # there is room again
        assert client.post(f"/v1/requests/{running}/cancel").status_code == 200
        engine.steps.release()
        assert finished(client, running)["status"] == "canceled"
        for _ in range(5):
            engine.steps.release()
        assert finished(client, last)["status"] == "succeeded"
        assert [recipe.seed for recipe in engine.drawn][:1] == [2]
        assert code(client.post(f"/v1/requests/{last}/cancel")) == "409 NOT_CANCELLABLE"
        assert 'parity_requests_total{state="canceled"} 2.0' in client.get("/metrics").text


def test_a_request_that_takes_too_long_fails(tmp_path: Path) -> None:
    engine = PatientEngine()
    with thread(settings_of(tmp_path, limits=Limits(request_seconds=0.2)), engine) as client:
        request_id = submit(client, body(sample_steps=150))

        def over() -> bool:
            engine.steps.release()
            return str(client.get(f"/v1/requests/{request_id}/status").json()["status"]) == "failed"

        until(over)
        assert "0.2 s" in client.get(f"/v1/requests/{request_id}/result").json()["error"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("of ours, with hf_very_secret"), "internal error of the server"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), "out of memory"),
        (WeightsError("hf_very_secret is no token of ROOT/a.safetensors"), "<token> is no token of a.safetensors"),
    ],
)
def test_a_failed_generation_fails_one_request(error: Exception, told: str, tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    error.args = (str(error).replace("ROOT", str(settings.lora_root)),)

    class Broken(PatientEngine):
        def generate(self, *_: Any) -> Any:
            raise error

    with thread(settings, Broken()) as client:
        for _ in range(2):
            result = finished(client, submit(client, body(request={"hf_token": "hf_very_secret"})))
            assert result["status"] == "failed"
            assert told in result["error"]
            assert "hf_very_secret" not in json.dumps(result)


def test_a_hub_token_lost_in_a_crash_is_reported(tmp_path: Path) -> None:
    class Gated(PatientEngine):
        def generate(self, *_: Any) -> Any:
            raise WeightsError("gated")

    queue = Queue(tmp_path / "queue.sqlite", 10)
    queue.add("an-id", json.dumps(body()), had_hub_token=True)
    queue.close()
    with thread(settings_of(tmp_path), Gated()) as client:
        assert "hf_token was lost" in finished(client, "an-id")["error"]


def test_logs() -> None:
    for secret in ("hf_very_secret", "e"):
        logs.hide(secret)
    record = logging.LogRecord("parity.server", logging.INFO, "", 0, "an event with hf_very_secret", None, None)
    context = logs.request_id.set("an-id")
    line = json.loads(logs.JsonLines().format(record))
    logs.request_id.reset(context)
    logs.forget("hf_very_secret")
    assert (line["event"], line["request_id"], line["level"]) == ("an event with <token>", "an-id", "info")


def test_hub_tokens_are_written_nowhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with thread(settings_of(tmp_path)) as client:
        submit(client, body(request={"hf_token": "hf_very_secret"}))
    assert all(b"hf_very_secret" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    captured = capfd.readouterr()
    assert "hf_very_secret" not in captured.out + captured.err


def test_a_stopped_server_puts_the_running_request_back(tmp_path: Path) -> None:
    with thread(settings_of(tmp_path)) as client:
        request_id = submit(client, body(sample_steps=2))
        until(lambda: client.get(f"/v1/requests/{request_id}/status").json()["status"] == "in_progress")
    queue = Queue(tmp_path / "queue.sqlite", 10)
    task = queue.get(request_id)
    queue.close()
    assert (task.state, task.attempts) == ("in_queue", 0)


def test_a_request_that_ends_the_server_is_run_again_once(tmp_path: Path) -> None:
    queue = Queue(tmp_path / "queue.sqlite", 10)
    first, second = (queue.add(name, "{}", had_hub_token=False) for name in ("first", "second"))
    for expected in ((1, 0), (0, 1)):
        taken = queue.take()
        assert taken is not None
        assert taken.id == first.id
        queue.close()
        queue = Queue(tmp_path / "queue.sqlite", 10)
        assert queue.recover() == expected
    assert queue.get(first.id).state == "failed"
    assert queue.get(first.id).error is not None
    assert queue.get(second.id).state == "in_queue"
    queue.close()


def test_what_was_canceled_is_not_run_again(tmp_path: Path) -> None:
    queue = Queue(tmp_path / "queue.sqlite", 10)
    task = queue.add("an-id", "{}", had_hub_token=False)
    queue.take()
    queue.ask_to_cancel(task.id)
    assert queue.recover() == (0, 0)
    assert queue.get(task.id).state == "canceled"
    queue.close()


def test_file_names(tmp_path: Path) -> None:
    engine = PatientEngine()
    engine.steps.release()
    with thread(settings_of(tmp_path), engine) as client:
        request_id = submit(client, body())
        assert finished(client, request_id)["status"] == "succeeded"
        assert client.get(f"/v1/requests/{request_id}/files/output_0.webp").status_code == 200
        for name in ("output_1.webp", "output_0.png", "..%2f..%2fqueue.sqlite", "output_0.webp%00", "output_٠.webp"):
            assert client.get(f"/v1/requests/{request_id}/files/{name}").status_code == 404


def test_with_a_token_nothing_but_health_is_answered_without(tmp_path: Path) -> None:
    with thread(settings_of(tmp_path, token=TOKEN)) as client:
        routes = ["/", "/v1/models", "/metrics", "/docs", "/openapi.json", "/v1/requests/a/status"]
        for wrong in ({}, {"authorization": "Bearer x"}, {"authorization": TOKEN}, {"authorization": f"Basic {TOKEN}"}):
            assert [code(client.get(route, headers=wrong)) for route in routes] == ["401 UNAUTHORIZED"] * 6
            assert code(client.post("/v1/inference", json=body(), headers=wrong)) == "401 UNAUTHORIZED"
        right = {"authorization": f"Bearer {TOKEN}", "host": "any.name"}
        assert client.get("/v1/models", headers=right).status_code == 200
        assert client.get("/health").status_code == 200


def test_without_a_token_only_local_names_are_answered(client: httpx.Client) -> None:
    assert code(client.get("/v1/models", headers={"host": "rebound.example"})) == "400 HOST_NOT_ALLOWED"
    assert client.get("/v1/models", headers={"host": "localhost:8000"}).status_code == 200


def test_no_page_of_another_origin_is_let_in(client: httpx.Client) -> None:
    asked = {"origin": "https://other.example", "access-control-request-method": "POST"}
    reply = client.options("/v1/inference", headers=asked)
    assert "access-control-allow-origin" not in reply.headers
