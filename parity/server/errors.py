"""The API's errors: a code for clients, a message for people, details.

Codes and shape are those of the reference server (src/api/v1/inference.py of runcomfy-com/ai-toolkit-inference at
af4aec1). UNAUTHORIZED, HOST_NOT_ALLOWED, CROSS_ORIGIN, QUEUE_FULL, TOO_BUSY, DISK_FULL, BODY_TOO_LARGE, BODY_TOO_SLOW,
NOT_CANCELLABLE, IDEMPOTENCY_KEY_REUSED, FILE_NOT_FOUND, MP4_FAILED and INVALID_PARAMETER with status 400 are additions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipelines.files.shown import shown


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorCode:
    """One of the API's errors, as docs/api.md lists it."""

    status: int
    """The HTTP status that it comes with."""
    meaning: str
    """What is wrong and, where it is not obvious, what to do."""


CODES: dict[str, ErrorCode] = {
    code: ErrorCode(status=status, meaning=meaning)
    for code, status, meaning in (
        ("MODEL_NOT_FOUND", 400, "no such model; `details.supported_models` lists the ids, as `GET /v1/models` does"),
        ("LORA_FILE_REQUIRED", 400, "`loras` is empty"),
        ("LORA_NOT_FOUND", 400, "no `.safetensors` file of this path below the server's `--lora-root`"),
        ("SINGLE_LORA_ONLY", 400, "this model takes one LoRA"),
        (
            "MOE_FORMAT_REQUIRED",
            400,
            "this model has two transformers: say `transformer: high` or `low`",
        ),
        ("MOE_FORMAT_NOT_SUPPORTED", 400, "this model has one transformer: leave out `transformer`"),
        ("SINGLE_MOE_CONFIG_ONLY", 400, "more than one LoRA for the same transformer"),
        ("CONTROL_IMAGE_REQUIRED", 400, "a prompt lacks `ctrl_img`"),
        ("INVALID_PARAMETER", 400, "a value that the schema permits and this model cannot use"),
        (
            "HOST_NOT_ALLOWED",
            400,
            "the server does not answer to the name in `Host`; `--base-url` and `--server-name` add to its names",
        ),
        ("UNAUTHORIZED", 401, "send `Authorization: Bearer <token>`"),
        ("CROSS_ORIGIN", 403, "a web page of another origin sent this (`Origin`, `Sec-Fetch-Site`)"),
        ("REQUEST_NOT_FOUND", 404, "no request has this id, or its results were removed (`--keep-results`)"),
        ("FILE_NOT_FOUND", 404, "the request has no such file, or not yet"),
        ("BODY_TOO_SLOW", 408, "the body took too long to arrive"),
        ("NOT_CANCELLABLE", 409, "the request has already finished"),
        ("BODY_TOO_LARGE", 413, "the body is larger than `--max-body`; `details.limit_bytes`"),
        ("IDEMPOTENCY_KEY_REUSED", 422, "this `Idempotency-Key` came with another body; `details.request_id`"),
        ("QUEUE_FULL", 429, "too many requests are waiting; try again after `Retry-After` seconds"),
        ("TOO_BUSY", 503, "too much data arrives at once; try again after `Retry-After` seconds"),
        ("DISK_FULL", 507, "the server's disk is full"),
        ("MP4_FAILED", 507, "the video could not be converted; its `.webp` is there"),
    )
}
"""All codes, by status."""


class ApiError(Exception):
    """A deliberate answer other than 200, with the status that `CODES` gives to its code."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        details: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = CODES[code].status
        self.details = details or {}
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """Return `{"detail": {"error": {code, message, details}}}`."""
        return {"detail": {"error": {"code": self.code, "message": str(self), "details": self.details}}}


def request_not_found(request_id: str) -> ApiError:
    return ApiError(
        "REQUEST_NOT_FOUND",
        "there is no request with this id",
        details={"request_id": shown(request_id, 100)},
    )
