"""From a request's body to a request the queue may hold: the reference server's schema, checks and their order."""

from __future__ import annotations

import secrets

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from parity.server import lora_root
from parity.server.errors import ApiError
from parity.server.schemas import Body
from parity.server.settings import Settings
from pipelines.catalog import MODELS, Model
from pipelines.reference.request import Problem, Request, check_control_images, check_loras

_MAX_VALUES = 20_000
"""Signs that begin a value in JSON. What makes a request large is base64, which has none of them; 32 MB of commas would
cost 5 seconds and 2 GB to refuse."""


def parse(body: bytes) -> Request:
    """A body as a request, read as the reference server reads it: unknown keys are ignored, "96" is a number.

    Raises RequestValidationError. What was sent is not repeated in it: it may hold a token.
    """
    if sum(map(body.count, (b"{", b"[", b","))) > _MAX_VALUES:
        raise RequestValidationError([{"type": "too_long", "loc": ("body",), "msg": "has too many values"}])
    try:
        return Body.model_validate_json(body, strict=False, extra="ignore")
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_input=False)
        raise RequestValidationError([{**item, "loc": ("body", *item["loc"])} for item in mistakes]) from None


def check(request: Request, settings: Settings) -> Model:
    """The request's model, if the server takes the request. Raises ApiError with the reference server's codes."""
    if request.model not in MODELS:
        raise ApiError(
            "MODEL_NOT_FOUND",
            "this model is not served",
            details={"supported_models": list(MODELS)},
        )
    model = MODELS[request.model]
    loras = [item.model_dump() for item in request.loras]
    _refuse(check_loras(request, model), {"loras": loras})
    for item in request.loras:
        if not lora_root.is_url(item.path):
            lora_root.find(settings.lora_root, item.path)
    problem = check_control_images(request, model)
    _refuse(problem, {"model": model.id, "prompt_index": problem[0][1] if problem else None})
    return model


def _refuse(problem: Problem | None, details: dict[str, object]) -> None:
    if problem is None:
        return
    code, colon, message = problem[1].partition(": ")
    if not colon:  # the reference server has no code for it: it fails when it draws
        code, message = "INVALID_PARAMETER", problem[1]
    raise ApiError(code, message, details=details)


def to_keep(request: Request) -> str:
    """The request as JSON for the queue: no Hub token, and random seeds decided, so that it is the same run again."""
    prompts = [
        item.model_copy(update={"seed": secrets.randbelow(2**31 - 1)})
        if item.seed is not None and item.seed < 0
        else item
        for item in request.prompts
    ]
    return request.model_copy(update={"prompts": prompts}).model_dump_json(exclude={"hf_token"}, exclude_none=True)
