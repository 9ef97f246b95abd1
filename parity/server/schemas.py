"""The API's answers. Names and shapes are those of the reference server (src/schemas/response.py at af4aec1).

`progress`, `url` and `profile` are additions.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from parity.server.idempotency import KEEP_HOURS
from pipelines.reference.request import LoraItem, PromptItem, Request

MAX_PROMPTS = 100
"""Without this limit, a few megabytes of commas would cause gigabytes of error messages."""


class Body(Request):
    """Body of POST /v1/inference. The limits on the lists are additions; the reference server has none."""

    loras: list[LoraItem] = Field(max_length=8, description="exactly one for Wan 2.1")
    prompts: list[PromptItem] = Field(min_length=1, max_length=MAX_PROMPTS, description="the videos to generate")


class Accepted(BaseModel):
    """Answer of POST /v1/inference."""

    request_id: str
    status: Literal["queued"] = "queued"
    status_url: str = Field(description="URL to ask how far it is")
    result_url: str = Field(description="URL of the result")
    created_at: str = Field(description="ISO 8601, UTC")


class StepProgress(BaseModel):
    """How far a running request is."""

    prompt: int = Field(description="number of the current prompt, from 1; 0 while inputs are fetched")
    prompts: int = Field(description="how many there are")
    step: int = Field(description="denoising steps done; 0 while weights are loaded")
    steps: int = Field(description="of the current prompt")


class Status(BaseModel):
    """Answer of GET /v1/requests/{request_id}/status."""

    request_id: str
    status: Literal["in_queue", "in_progress", "succeeded", "failed", "canceled"]
    created_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    error: str | None = Field(default=None, description="why the request failed, if it did")
    progress: StepProgress | None = Field(default=None, description="while it is in progress")


class Video(BaseModel):
    """One video of a result."""

    format: str
    width: int
    height: int
    num_frames: int
    fps: int
    file_path: str = Field(description="on the server's disk")
    url: str = Field(description="where it can be downloaded; replace .webp by .mp4 to get H.264")
    seed: int


class Outputs(BaseModel):
    """The generated files; Wan models generate no images."""

    images: list[Any]
    videos: list[Video]


class Result(BaseModel):
    """Answer of GET /v1/requests/{request_id}/result."""

    request_id: str
    status: Literal["in_queue", "in_progress", "succeeded", "failed", "canceled"]
    outputs: Outputs | None = None
    error: str | None = None
    created_at: str | None = None
    finished_at: str | None = None
    metadata: dict[str, Any] | None = None


class ModelInfo(BaseModel):
    """One model of GET /v1/models."""

    id: str
    base_model: str
    resolution_divisor: int
    default_steps: int
    default_guidance_scale: float
    requires_control_image: bool
    is_video_model: bool
    default_num_frames: int | None
    default_fps: int | None


class Models(BaseModel):
    """Answer of GET /v1/models."""

    models: list[ModelInfo]


class Service(BaseModel):
    """Answer of GET /: what this is, and where to go from here."""

    name: str
    version: str
    profile: str = Field(description="`reference` or `faithful`, see docs/serve.md")
    idempotency_key_hours: int = Field(
        default=KEEP_HOURS, description="how long an `Idempotency-Key` of `POST /v1/inference` is remembered"
    )
    links: dict[str, str] = Field(description="URLs: API documentation, its OpenAPI document, models, health, metrics")


class Health(BaseModel):
    """Answer of GET /health."""

    status: Literal["healthy"] = "healthy"


class ErrorInfo(BaseModel):
    """The error itself."""

    code: str
    message: str
    details: dict[str, Any]


class ErrorDetail(BaseModel):
    """Envelope of `ErrorInfo`."""

    error: ErrorInfo


class ErrorBody(BaseModel):
    """Answer other than 200. For an unknown path, `detail` is plain text."""

    detail: ErrorDetail | str


class Mistake(BaseModel):
    """One place where a body violates the schema."""

    type: str
    loc: list[str | int]
    msg: str


class MistakesBody(BaseModel):
    """Answer 422."""

    detail: list[Mistake]


def request_schema() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the body's JSON Schema and the schemas it refers to, for the OpenAPI document.

    Case files refuse unknown keys; the API ignores them.
    """
    schema = Body.model_json_schema(ref_template="#/components/schemas/{model}")
    parts: dict[str, Any] = schema.pop("$defs")
    for part in (schema, *parts.values()):
        part.pop("additionalProperties", None)
    parts["LoraItem"]["properties"]["path"]["description"] = (
        "a .safetensors file below the LoRA root, or an http(s) URL"
    )
    parts["PromptItem"]["properties"]["ctrl_img"]["description"] = "control image: base64, data URL or http(s) URL"
    return schema, parts
