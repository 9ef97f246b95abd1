"""Requests to a server of the API, and the parts of its answers that a client can rely on.

    python -m tests.contract http://127.0.0.1:8000 >answers.json

asks a running server whose LoRA root is cases/jobs and whose checkpoints are the tiny ones. tests/data/README.md says
how tests/data/reference_server.json was made with it.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from dataclasses import dataclass
from typing import Any

import httpx

from parity.case.load import DEMO
from pipelines.catalog import MODELS
from tests.support.serving import body, finished

LORA = {"path": "t2v_basic/tiny_t2v.safetensors"}
HIGH = {"path": "wan22_t2v/tiny22_t2v_high_noise.safetensors", "transformer": "high"}
IMAGE = base64.b64encode((DEMO / "jobs" / "i2v_basic" / "ctrl.png").read_bytes()).decode()
ID = "00000000-0000-4000-8000-000000000000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One HTTP request."""

    method: str = "POST"
    path: str = "/v1/inference"
    json: Any = None
    content: bytes | None = None
    kind: str = "application/json"


def minimal(model: str, **item: Any) -> dict[str, Any]:
    """The minimal request of the API's documents, small enough to be generated on a CPU in a second."""
    kind = "i2v" if "i2v" in model else "t2v"
    prompt = {"prompt": "[trigger] a photo of a person", "width": 64, "height": 64, "seed": 42, "sample_steps": 1}
    prompt |= {"guidance_scale": 4.0, "neg": "", "num_frames": 5, "fps": 16}
    prompt |= {"ctrl_img": IMAGE} if kind == "i2v" else {}
    lora = {"path": f"{kind}_basic/tiny_{kind}.safetensors", "network_multiplier": 1.0}
    return {"model": model, "trigger_word": "sks", "prompts": [prompt | item], "loras": [lora]}


def two_prompts() -> dict[str, Any]:
    request = minimal("wan21_14b", width=100, num_frames=4)
    del request["prompts"][0]["seed"]
    return request | {"prompts": request["prompts"] * 2}


_BOUNDS: tuple[tuple[str, Any], ...] = (
    ("width", 63),
    ("width", 4097),
    ("height", "high"),
    ("guidance_scale", -0.1),
    ("guidance_scale", 20.5),
    ("sample_steps", 0),
    ("sample_steps", 151),
    ("seed", -2),
    ("num_frames", 0),
    ("num_frames", 1001),
    ("num_frames", 5.5),
    ("fps", 0),
    ("fps", 121),
    ("prompt", 7),
    ("resolution", "Ultra"),
    ("resolution", "High"),
)
_I2V = body(model="wan21_i2v_14b")

QUESTIONS: dict[str, Question] = {
    "health": Question(method="GET", path="/health"),
    "models": Question(method="GET", path="/v1/models"),
    "no such route": Question(method="GET", path="/v1/nothing"),
    "another method": Question(method="DELETE", path="/v1/inference"),
    "status of no request": Question(method="GET", path=f"/v1/requests/{ID}/status"),
    "result of no request": Question(method="GET", path=f"/v1/requests/{ID}/result"),
    "unknown model": Question(json=body(request={"model": "flux9"})),
    "model of Wan 2.2": Question(json=body(request={"model": "wan22_14b_t2v"})),
    "one expert twice": Question(json=body(request={"model": "wan22_14b_t2v", "loras": [HIGH, HIGH]})),
    "no LoRA": Question(json=body(request={"loras": []})),
    "LoRA missing": Question(json=body(request={"loras": [{"path": "gone.safetensors"}]})),
    "LoRA outside the root": Question(json=body(request={"loras": [{"path": "../README.md"}]})),
    "LoRA that is no safetensors file": Question(json=body(request={"loras": [{"path": "t2v_basic/config.yaml"}]})),
    "two LoRAs": Question(json=body(request={"loras": [LORA, LORA]})),
    "LoRA of an expert": Question(json=body(request={"loras": [LORA | {"transformer": "low"}]})),
    "LoRA of no expert": Question(json=body(request={"loras": [LORA | {"transformer": "middle"}]})),
    "LoRA scale too large": Question(json=body(request={"loras": [LORA | {"network_multiplier": 2.5}]})),
    "LoRA as text": Question(json=body(request={"loras": ["t2v_basic/tiny_t2v.safetensors"]})),
    "no control image": Question(json=_I2V),
    "no control image, LoRA missing": Question(json=_I2V | {"loras": [{"path": "gone.safetensors"}]}),
    "two control images": Question(json=body(model="wan21_i2v_14b", ctrl_img_1=IMAGE, ctrl_img_2=IMAGE)),
    "control image that is none": Question(json=minimal("wan21_i2v_14b", ctrl_img="no picture")),
    "control image for T2V": Question(json=minimal("wan21_14b", ctrl_img=IMAGE)),
    "no prompts": Question(json=body(request={"prompts": []})),
    "prompts missing": Question(json={"model": "wan21_14b", "loras": [LORA]}),
    "prompt missing": Question(json=body(prompt=None)),
    "model missing": Question(json={"loras": [LORA], "prompts": [{"prompt": "a"}]}),
    "body empty": Question(content=b""),
    "body cut off": Question(content=b'{"model": '),
    "body is a list": Question(content=b"[]"),
    "body is text": Question(content=b'"wan21_14b"'),
    "body of another type": Question(content=json.dumps(minimal("wan21_14b")).encode(), kind="text/plain"),
    "minimal T2V": Question(json=minimal("wan21_14b")),
    "minimal T2V 1.3B": Question(json=minimal("wan21_1b")),
    "minimal I2V": Question(json=minimal("wan21_i2v_14b")),
    "minimal I2V 480P": Question(json=minimal("wan21_i2v_14b480p")),
    "numbers as text": Question(json=minimal("wan21_14b", width="64", seed=42.0)),
    "unknown keys": Question(json=minimal("wan21_14b", note="mine") | {"kv_cache": True, "extra": {"a": [1]}}),
    "two prompts, no seeds, another size": Question(json=two_prompts()),
    "random seed": Question(json=minimal("wan21_14b", seed=-1)),
    "nulls": Question(json=minimal("wan21_14b", neg=None, trigger_word=None, ctrl_img=None)),
    **{f"{key} {value}": Question(json=body(**{key: value})) for key, value in _BOUNDS},
}


def ask(client: httpx.Client, question: Question) -> dict[str, Any]:
    """Return the stable parts of an answer; an accepted request is waited for."""
    content = question.content if question.json is None else json.dumps(question.json).encode()
    headers = {"content-type": question.kind} if content is not None else {}
    reply = client.request(question.method, question.path, content=content, headers=headers)
    is_json = reply.headers.get("content-type", "").startswith("application/json")
    seen: dict[str, Any] = {"status": reply.status_code, "body": _steady(reply.json()) if is_json else reply.text}
    if reply.status_code == 200 and question.method == "POST":
        request_id = reply.json()["request_id"]
        result = finished(client, request_id)
        seen["result"] = _steady(result)
        seen["status when over"] = _steady(client.get(f"/v1/requests/{request_id}/status").json())
    if question.path == "/v1/models":  # it has other models too, and weights elsewhere
        ours = [model for model in seen["body"]["models"] if model["id"] in MODELS]
        seen["body"]["models"] = [{key: model[key] for key in model if key != "base_model"} for model in ours]
    return seen


_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_FOLDER = re.compile(r"(?<![\w.>-])(/[\w.-]+)+/")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00)?Z")


def _steady(value: Any) -> Any:
    """Replace ids, times, folders and measured seconds; leave out what was sent."""
    if isinstance(value, dict):
        return {key: _steady(item) for key, item in value.items() if key not in ("input", "ctx")}
    if isinstance(value, list):
        return [_steady(item) for item in value]
    if isinstance(value, float) and value != round(value, 1):
        return "<number>"
    if not isinstance(value, str):
        return value
    text = _TIME.sub("<time>", _UUID.sub("<id>", value))
    return _FOLDER.sub("<folder>/", re.sub(r"http://127\.0\.0\.1:\d+", "<server>", text))


def main() -> None:
    headers = {"connection": "close"}  # a server that breaks on one question breaks no other
    with httpx.Client(base_url=sys.argv[1], timeout=120, trust_env=False, headers=headers) as client:
        print(json.dumps({name: ask(client, question) for name, question in QUESTIONS.items()}, indent=1))


if __name__ == "__main__":
    main()
