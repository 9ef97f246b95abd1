"""Turns the body of a request into one that the queue may hold, with the reference server's schema and checks."""

from __future__ import annotations

import secrets

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from parity.server import lora_root
from parity.server.errors import CODES, ApiError
from parity.server.schemas import Body
from parity.server.settings import Settings
from pipelines.catalog import MODELS, Model
from pipelines.reference.request import (
    Problem,
    Request,
    check_control_images,
    check_loras,
    check_numbers,
    check_prompts,
)

_MAX_VALUES = 20_000
"""The limit on characters that begin a value in JSON. Legitimate requests are large because of base64, which has none
of them; refusing 32 MB of commas would cost 5 seconds and 2 GB."""


def parse(body: bytes) -> Request:
    """Parse a body as the reference server does: unknown keys are ignored, "96" is a number.

    Raises RequestValidationError, which does not repeat the input, because that may contain a token.
    """
    if sum(map(body.count, (b"{", b"[", b","))) > _MAX_VALUES:
        raise RequestValidationError([{"type": "too_long", "loc": ("body",), "msg": "has too many values"}])
    try:
        request = Body.model_validate_json(body, strict=False, extra="ignore")
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_input=False)
        raise RequestValidationError([{**item, "loc": ("body", *item["loc"])} for item in mistakes]) from None
    if (problem := check_prompts(request)) is not None:  # as Body's own limits, which cannot see both texts
        raise RequestValidationError([{"type": "string_too_long", "loc": ("body", *problem[0]), "msg": problem[1]}])
    return request


def check(request: Request, settings: Settings) -> Model:
    """Return the request's model if the server accepts the request, else raise ApiError with the reference's codes."""
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
    problem = problem or check_numbers(request, model)
    _refuse(problem, {"model": model.id, "prompt_index": problem[0][1] if problem else None})
    return model


def _refuse(problem: Problem | None, details: dict[str, object]) -> None:
    if problem is None:
        return
    code, colon, message = problem[1].partition(": ")
    if not colon or code not in CODES:  # the reference server has no code for this: it fails during generation
        code, message = "INVALID_PARAMETER", problem[1]
    raise ApiError(code, message, details=details)


def to_keep(request: Request) -> str:
    """Return the request as JSON for the queue: without its Hub token, and with random seeds fixed for a second run."""
    prompts = [
        item.model_copy(update={"seed": secrets.randbelow(2**31 - 1)})
        if item.seed is not None and item.seed < 0
        else item
        for item in request.prompts
    ]
    return request.model_copy(update={"prompts": prompts}).model_dump_json(exclude={"hf_token"}, exclude_none=True)
