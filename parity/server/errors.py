"""The API's errors: a code for clients, a message for people, details.

Codes and shape are those of the reference server (src/api/v1/inference.py of runcomfy-com/ai-toolkit-inference at
af4aec1). UNAUTHORIZED, HOST_NOT_ALLOWED, QUEUE_FULL, TOO_BUSY, DISK_FULL, BODY_TOO_LARGE, BODY_TOO_SLOW,
NOT_CANCELLABLE, FILE_NOT_FOUND, MP4_FAILED and INVALID_PARAMETER with status 400 are additions.
"""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """A deliberate answer other than 200."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int = 400,
        details: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.details = details or {}
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """Return `{"detail": {"error": {code, message, details}}}`."""
        return {"detail": {"error": {"code": self.code, "message": str(self), "details": self.details}}}


def request_not_found(request_id: str) -> ApiError:
    return ApiError(
        "REQUEST_NOT_FOUND",
        "there is no request with this id",
        status=404,
        details={"request_id": request_id},
    )
