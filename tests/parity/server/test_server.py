"""`parity serve` as a process, used over a real socket by a client of the reference server."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from parity.case.load import DEMO, load_case
from pipelines.catalog import MODELS
from pipelines.media.video import encode
from pipelines.reference.inference import request_of_preview
from tests.parity.factors.test_model_pages import tiny
from tests.support.documented import blocks, made_tiny
from tests.support.drawn import Drawn
from tests.support.prepared import python
from tests.support.serving import body, finished, generating_pid, kill, lives, process, submit, until

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with process(tmp_path_factory.mktemp("serve") / "data", python=python()) as (_, client):
        yield client


@pytest.mark.parametrize("case_id", ["t2v-guitar-reference", "i2v-waving-reference"])
def test_the_server_generates_what_a_case_generates(case_id: str, client: httpx.Client, drawn: Drawn) -> None:
    recipe = load_case(DEMO / f"{case_id}.yaml").inference
    expected = encode(drawn(recipe), recipe.codec, recipe.fps)
    served = _served(client, request_of_preview(recipe).model_dump(exclude_none=True))
    assert hashlib.sha256(served).hexdigest() == hashlib.sha256(expected).hexdigest()


def _served(client: httpx.Client, request: dict[str, Any]) -> bytes:
    result = finished(client, submit(client, request))
    assert result["status"] == "succeeded", result
    return client.get(result["outputs"]["videos"][0]["url"]).content


def test_life_of_a_request(client: httpx.Client) -> None:
    accepted = client.post("/v1/inference", json=body(width=100, seed=None))
    assert accepted.status_code == 200
    answer = accepted.json()
    assert set(answer) == {"request_id", "status", "status_url", "result_url", "created_at"}
    assert answer["status"] == "queued"
    assert client.get(answer["status_url"]).status_code == 200
    result = finished(client, answer["request_id"])
    assert result["status"] == "succeeded"
    assert result == client.get(answer["result_url"]).json()
    assert result["outputs"]["images"] == []
    (video,) = result["outputs"]["videos"]
    assert (video["format"], video["width"], video["height"]) == ("webp", 96, 64)
    assert (video["num_frames"], video["fps"], video["seed"]) == (1, 16, 42)
    assert Path(video["file_path"]).read_bytes() == client.get(video["url"]).content
    status = client.get(answer["status_url"]).json()
    assert status["created_at"] <= status["started_at"] <= status["finished_at"]
    assert status["progress"] is None


def test_a_request_of_two_prompts_and_a_random_seed(client: httpx.Client) -> None:
    two = body(request={"prompts": [body()["prompts"][0] | {"seed": -1}, {"prompt": "b", "sample_steps": 1}]})
    two["prompts"][1] |= {"width": 64, "height": 64, "num_frames": 1}
    videos = finished(client, submit(client, two))["outputs"]["videos"]
    assert [video["url"].rpartition("/")[2] for video in videos] == ["output_0.webp", "output_1.webp"]
    assert videos[0]["seed"] >= 0
    assert videos[1]["seed"] == 43
    again = finished(client, submit(client, body(seed=videos[0]["seed"])))["outputs"]["videos"]
    assert client.get(again[0]["url"]).content == client.get(videos[0]["url"]).content


def test_mp4_is_made_when_asked_for(client: httpx.Client) -> None:
    result = finished(client, submit(client, body(num_frames=5)))
    url = result["outputs"]["videos"][0]["url"].replace(".webp", ".mp4")
    reply = client.get(url)
    assert reply.headers["content-type"] == "video/mp4"
    assert reply.content[4:8] == b"ftyp"
    assert client.get(url).content == reply.content


@pytest.mark.parametrize("model", MODELS)
def test_the_request_of_a_models_page_is_generated(model: str, client: httpx.Client) -> None:
    result = finished(client, submit(client, tiny(model)))
    assert result["status"] == "succeeded", result
    (video,) = result["outputs"]["videos"]
    assert {key: video[key] for key in ("width", "height", "num_frames")} == {
        "width": 96,
        "height": 64,
        "num_frames": 5,
    }


@pytest.mark.parametrize(
    ("page", "lora", "file"),
    [
        ("docs/api.md", "t2v_basic/tiny_t2v.safetensors", None),
        ("docs/serve.md", "i2v_basic/tiny_i2v.safetensors", "person.webp"),
    ],
)
def test_the_documents_curl_commands_work(
    page: str, lora: str, file: str | None, client: httpx.Client, tmp_path: Path
) -> None:
    """The minimal requests of the API's own documents. LoRA, port and the size of what is drawn are replaced."""
    (script,) = blocks(page, "sh")
    for old, new in (("my_lora_job/my_lora.safetensors", lora), ("http://127.0.0.1:8000", str(client.base_url))):
        assert old in script
        script = script.replace(old, new.rstrip("/"))
    shutil.copy(DEMO / "jobs" / "i2v_basic" / "ctrl.png", tmp_path / "person.png")
    command = ["bash", "-euo", "pipefail", "-c", made_tiny(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    result = finished(client, json.loads(done.stdout.splitlines()[0])["request_id"])
    assert result["status"] == "succeeded", result
    if file is not None:
        assert (tmp_path / file).read_bytes() == client.get(result["outputs"]["videos"][0]["url"]).content


def test_models_and_health(client: httpx.Client) -> None:
    assert client.get("/health").json() == {"status": "healthy"}
    models = {model["id"]: model for model in client.get("/v1/models").json()["models"]}
    assert list(models) == list(MODELS)
    assert models["wan21_i2v_14b"] == {
        "id": "wan21_i2v_14b",
        "base_model": "Wan-AI/Wan2.1-I2V-14B-720P-Diffusers",
        "resolution_divisor": 16,
        "default_steps": 25,
        "default_guidance_scale": 4.0,
        "requires_control_image": True,
        "is_video_model": True,
        "default_num_frames": 41,
        "default_fps": 16,
    }


def test_a_killed_server_goes_on_and_forgets_nothing(tmp_path: Path) -> None:
    with process(tmp_path / "data", python=python()) as (running, client):
        done = submit(client, body())
        before = finished(client, done)
        video = client.get(before["outputs"]["videos"][0]["url"]).content
        ids = [submit(client, body(sample_steps=60)) for _ in range(2)]
        until(lambda: client.get(f"/v1/requests/{ids[0]}/status").json()["progress"] is not None)
        generating = generating_pid(tmp_path / "data")
        assert lives(generating) or sys.platform != "linux"
        kill(running)
        until(lambda: not lives(generating))
    with process(tmp_path / "data", python=python()) as (running, client):
        after = client.get(f"/v1/requests/{done}/result").json()
        assert after["metadata"] == before["metadata"]
        assert client.get(after["outputs"]["videos"][0]["url"]).content == video
        assert [finished(client, request_id)["status"] for request_id in ids] == ["succeeded", "succeeded"]
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=60) == 0
    log = (tmp_path / "data.log").read_text()
    assert '"put_back": 1' in log
    assert "a cat" not in log
