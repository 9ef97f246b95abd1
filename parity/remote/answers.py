"""The fields of a server's answers that are read: the reference server's, and those that `parity serve` adds."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipelines.files.strict_json import loads
from pipelines.files.words import sentence

_LONGEST = 400
"""The most characters of a server's message that are quoted."""


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Accepted(_Answer):
    """The answer to POST /v1/inference."""

    request_id: str = Field(min_length=1, max_length=200)


class Service(_Answer):
    """The answer to GET /; only `parity serve` has one."""

    idempotency_key_hours: float = 0.0


class Step(_Answer):
    """The progress of a running request; only `parity serve` reports it."""

    prompt: int = 0
    prompts: int = 0
    step: int = 0
    steps: int = 0


class RequestStatus(_Answer):
    """The answer to GET /v1/requests/{id}/status."""

    status: str
    created_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    progress: Step | None = None

    @property
    def is_over(self) -> bool:
        return self.status in ("succeeded", "failed", "canceled", "cancelled")

    @property
    def is_waiting(self) -> bool:
        return self.status in ("in_queue", "queued")

    def seconds(self) -> tuple[float | None, float | None]:
        """Seconds in the queue, and seconds of generation."""
        return _between(self.created_at, self.started_at), _between(self.started_at, self.finished_at)


class VideoAnswer(_Answer):
    """One entry of the result's `outputs.videos`."""

    format: str | None = None
    width: int | None = None
    height: int | None = None
    num_frames: int | None = None
    fps: int | float | None = None
    seed: int | None = None
    file_path: str | None = None
    url: str | None = None

    def reported(self) -> dict[str, Any]:
        """The answer's statements about the video, without its place."""
        fields = self.model_dump(exclude={"file_path", "url"}, exclude_none=True)
        return fields | ({"format": self.format[:20]} if self.format is not None else {})


class Outputs(_Answer):
    """The result's `outputs`."""

    videos: list[VideoAnswer] = []


class Metadata(_Answer):
    """The result's `metadata`, which the API leaves open; `parity serve` names its profile in it."""

    profile: str | None = None


class RequestResult(_Answer):
    """The answer to GET /v1/requests/{id}/result."""

    status: str
    outputs: Outputs | None = None
    error: str | None = None
    metadata: Metadata | None = None


def read_json(body: bytes) -> Any:
    """Parse strict JSON. Raises ValueError."""
    return loads(body.decode("utf-8"))


def error_of(body: bytes) -> tuple[str | None, str]:
    """The code and the message of an answer other than 200, as far as they can be read.

    The reference server nests both in `detail.error`; 422 lists mistakes; FastAPI's own errors are plain.
    """
    try:
        detail = read_json(body)["detail"]
        if isinstance(detail, list):
            return None, short("; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in detail[:3]))
        if isinstance(detail, str):
            return None, short(detail)
        error = detail["error"]
        return short(str(error["code"]), 60), short(str(error["message"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None, short(body[: 2 * _LONGEST].decode("utf-8", "replace"), 120)


def short(text: str, limit: int = _LONGEST) -> str:
    """Text from a server, cleaned and shortened to fit one line of a message."""
    return sentence(text, limit)


def _between(start: str | None, end: str | None) -> float | None:
    """Seconds between two times of one clock; None if they cannot be read.

    The reference server (at af4aec1) writes `+00:00Z`, which is not valid ISO 8601.
    """
    try:
        first, last = (datetime.fromisoformat((text or "").replace("+00:00Z", "Z")) for text in (start, end))
        return round((last - first).total_seconds(), 3)
    except (ValueError, TypeError):
        return None
