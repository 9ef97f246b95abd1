"""`parity serve` as a process: what a client of the reference server meets, over a real socket."""

from __future__ import annotations

import base64
import hashlib
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from parity.case import DEMO, load_case
from parity.server.drawing import recipes_of
from pipelines.catalog import MODELS
from pipelines.engine import Engine
from pipelines.inference import request_of_preview
from pipelines.recipe import differing_factors
from pipelines.request import Request
from pipelines.video import encode
from tests.serving import body, finished, process, settings_of, submit, until

SEEDS = {
    "wan21_14b": {"prompt": "[trigger] a photo of a person"},
    "wan21_i2v_14b": {"prompt": "[trigger] a photo of a person", "ctrl_img": "…"},
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with process(tmp_path_factory.mktemp("serve") / "data") as (_, client):
        yield client


def control_image() -> str:
    return base64.b64encode((DEMO / "jobs" / "i2v_basic" / "ctrl.png").read_bytes()).decode()


@pytest.mark.parametrize("profile", ["reference", "faithful"])
def test_what_is_served_is_what_the_engine_draws(
    profile: str, client: httpx.Client, engine: Engine, tmp_path: Path
) -> None:
    request = body(sample_steps=2, num_frames=5, guidance_scale=5)
    settings = settings_of(tmp_path, profile=profile)
    recipe = recipes_of(Request.model_validate(request, strict=False), MODELS["wan21_14b"], settings, None)[0]
    expected = encode(engine.generate(recipe), recipe.codec, recipe.fps)
    if profile == "reference":
        served = _served(client, request)
    else:
        with process(tmp_path / "data", "--profile", profile) as (_, other):
            served = _served(other, request)
    assert hashlib.sha256(served).hexdigest() == hashlib.sha256(expected).hexdigest()


CASES = ["t2v-guitar-reference", "t2v-guitar-faithful", "i2v-waving-reference", "wan22-t2v-guitar-reference",
         "wan22-t2v-guitar-faithful", "wan22-i2v-waving-reference"]  # fmt: skip


@pytest.mark.parametrize("case_id", CASES)
def test_a_profile_is_the_graph_of_the_cases_pipeline(case_id: str, tmp_path: Path) -> None:
    case = load_case(DEMO / f"{case_id}.yaml")
    profile = case_id.rpartition("-")[2]
    request = request_of_preview(case.inference)
    settings = settings_of(tmp_path, profile=profile)
    (recipe,) = recipes_of(request, MODELS[case.inference.model], settings, None)
    assert differing_factors(recipe, case.inference) == []


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


@pytest.mark.parametrize("model", SEEDS)
def test_the_seed_documents_minimal_request_works_with_curl(model: str, client: httpx.Client) -> None:
    """Only the size of what is drawn is reduced: the tiny checkpoints, but nobody's time, could draw the whole."""
    kind = "i2v" if "i2v" in model else "t2v"
    item: dict[str, Any] = SEEDS[model] | {"width": 64, "height": 64, "seed": 42, "sample_steps": 1}
    item |= {"guidance_scale": 4.0, "neg": "", "num_frames": 5, "fps": 16}
    if "ctrl_img" in item:
        item["ctrl_img"] = control_image()
    request = {
        "model": model,
        "trigger_word": "sks",
        "prompts": [item],
        "loras": [{"path": f"{kind}_basic/tiny_{kind}.safetensors", "network_multiplier": 1.0}],
    }
    url, kind_of_body = f"{client.base_url}/v1/inference", "content-type: application/json"
    done = subprocess.run(
        ["curl", "-sf", "-X", "POST", url, "-H", kind_of_body, "-d", "@-"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
    )
    result = finished(client, json.loads(done.stdout)["request_id"])
    assert result["status"] == "succeeded", result
    assert result["outputs"]["videos"][0]["num_frames"] == 5


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
    with process(tmp_path / "data") as (running, client):
        done = submit(client, body())
        before = finished(client, done)
        video = client.get(before["outputs"]["videos"][0]["url"]).content
        ids = [submit(client, body(sample_steps=30, num_frames=9)) for _ in range(2)]
        until(lambda: client.get(f"/v1/requests/{ids[0]}/status").json()["progress"] is not None)
        running.kill()
        running.wait()
    with process(tmp_path / "data") as (running, client):
        after = client.get(f"/v1/requests/{done}/result").json()
        assert after["metadata"] == before["metadata"]
        assert client.get(after["outputs"]["videos"][0]["url"]).content == video
        assert [finished(client, request_id)["status"] for request_id in ids] == ["succeeded", "succeeded"]
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=60) == 0
    log = (tmp_path / "data.log").read_text()
    assert '"put_back": 1' in log
    assert "a cat" not in log
