"""The API's routes.

Paths, fields and codes are those of the reference server (src/api/v1/inference.py at af4aec1); the routes for files,
cancel and metrics are additions.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from parity.server import docs_page, downloads, idempotency, intake, logs
from parity.server.bodies import Bodies
from parity.server.errors import ApiError
from parity.server.guard import Guard
from parity.server.metrics import Metrics
from parity.server.queue import Queue, QueuedRequest
from parity.server.schemas import (
    Accepted,
    ErrorBody,
    Health,
    MistakesBody,
    ModelInfo,
    Models,
    Outputs,
    Result,
    Service,
    Status,
    StepProgress,
    request_schema,
)
from parity.server.settings import Settings
from parity.server.worker import Worker
from pipelines.catalog import MODELS
from pipelines.errors import MediaError
from pipelines.files.shown import shown

_FILE = re.compile(r"output_([0-9]{1,6})\.(webp|mp4)")
_MEDIA = {"webp": "image/webp", "mp4": "video/mp4"}
_METRICS = "text/plain; version=0.0.4; charset=utf-8"


def create_app(settings: Settings, base_url: str, queue: Queue, worker: Worker, metrics: Metrics) -> FastAPI:
    """Create the ASGI application. `base_url` is the start of all URLs in answers."""
    app = FastAPI(
        title="wan-parity",
        description="Generates Wan videos with ai-toolkit LoRAs.",
        version=version("wan-parity"),
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(Guard, settings=settings, metrics=metrics)
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(RequestValidationError, _invalid_body)
    app.add_exception_handler(ClientDisconnect, _disconnected)
    _add_service(app, settings, base_url, metrics)
    _add_inference(app, settings, base_url, queue, worker)
    _add_requests(app, base_url, queue, worker)
    _add_files(app, queue, worker)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """List the error answers that every route can give, plus its own."""
    models: dict[int | str, dict[str, Any]] = {status: {"model": ErrorBody} for status in (400, 401, 403, *statuses)}
    models[422] = {"model": MistakesBody}
    return models


def _add_service(app: FastAPI, settings: Settings, base_url: str, metrics: Metrics) -> None:
    pages = {"docs": "/docs", "openapi": "/openapi.json", "models": "/v1/models"}
    pages |= {"health": "/health", "metrics": "/metrics"}
    links = {name: base_url + path for name, path in pages.items()}

    @app.get("/", responses=_errors())
    async def service() -> Service:
        """Say what this server is, and where its documentation is."""
        return Service(name=app.title, version=app.version, profile=settings.profile, links=links)

    @app.get("/health", responses=_errors())
    async def health() -> Health:
        """Say that the server runs. Needs no token."""
        return Health()

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        """Show the OpenAPI document as a page that can send requests."""
        return Response(docs_page.HTML, media_type="text/html", headers=docs_page.HEADERS)

    @app.get("/metrics", response_class=Response, responses={**_errors(), 200: {"content": {"text/plain": {}}}})
    def prometheus() -> Response:
        """Return figures for Prometheus."""
        return Response(metrics.text(), media_type=_METRICS)

    @app.get("/v1/models", responses=_errors())
    async def models() -> Models:
        """List the models that are served, with their defaults."""
        return Models(
            models=[
                ModelInfo(
                    id=model.id,
                    base_model=model.base_checkpoint,
                    resolution_divisor=model.size_divisor,
                    default_steps=model.defaults.sample_steps,
                    default_guidance_scale=model.defaults.guidance_scale,
                    requires_control_image=model.needs_control_image,
                    is_video_model=True,
                    default_num_frames=model.defaults.num_frames,
                    default_fps=model.defaults.fps,
                )
                for model in MODELS.values()
            ]
        )


def _add_inference(app: FastAPI, settings: Settings, base_url: str, queue: Queue, worker: Worker) -> None:
    schema, _ = request_schema()
    bodies = Bodies(settings.limits)
    reads = {
        "parameters": [idempotency.PARAMETER],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
    }
    errors = _errors(408, 413, 429, 503, 507) | {422: {"model": MistakesBody | ErrorBody}}

    @app.post("/v1/inference", responses=errors, openapi_extra=reads)
    async def inference(request: Request) -> Accepted:
        """Accept a request and put it into the queue."""
        given = idempotency.read(request.headers.getlist(idempotency.HEADER))

        def accept(body: bytes) -> QueuedRequest:
            parsed = intake.parse(body)
            key = idempotency.key_of(given, parsed)
            if key is not None and (earlier := queue.accepted(key)) is not None:
                return earlier  # whether or not it would be accepted now
            intake.check(parsed, settings)
            return worker.accept(intake.to_keep(parsed), parsed.hf_token, key)

        async with bodies.read(request) as body:
            task = await run_in_threadpool(accept, body)
        logs.request_id.set(task.id)
        url = f"{base_url}/v1/requests/{task.id}"
        return Accepted(
            request_id=task.id,
            status_url=f"{url}/status",
            result_url=f"{url}/result",
            created_at=task.created_at,
        )


def _add_requests(app: FastAPI, base_url: str, queue: Queue, worker: Worker) -> None:
    def status_of(request_id: str) -> Status:
        task = queue.get(request_id)
        progress = worker.progress(request_id) if task.state == "in_progress" else None
        return Status(
            request_id=task.id,
            status=task.state,
            created_at=task.created_at,
            started_at=task.started_at,
            finished_at=task.finished_at,
            error=task.error,
            progress=StepProgress(**asdict(progress)) if progress is not None else None,
        )

    @app.get("/v1/requests/{request_id}/status", responses=_errors(404))
    def status(request_id: str) -> Status:
        """Say whether a request is waiting, running or finished, and how far it is."""
        return status_of(request_id)

    @app.get("/v1/requests/{request_id}/result", responses=_errors(404))
    def result(request_id: str) -> Result:
        """Return the videos of a request, once it has succeeded."""
        task = queue.get(request_id)
        outputs = None
        if task.outputs is not None:
            files = f"{base_url}/v1/requests/{task.id}/files"
            videos = [
                {**video, "url": f"{files}/output_{index}.webp"} for index, video in enumerate(task.outputs["videos"])
            ]
            outputs = Outputs.model_validate({"images": [], "videos": videos})
        return Result(
            request_id=task.id,
            status=task.state,
            outputs=outputs,
            error=task.error,
            created_at=task.created_at,
            finished_at=task.finished_at,
            metadata=task.metadata,
        )

    @app.post("/v1/requests/{request_id}/cancel", responses=_errors(404, 409))
    def cancel(request_id: str) -> Status:
        """Stop a request: at once if it is waiting, after the current step if it is running."""
        task = queue.get(request_id)
        if not worker.cancel(request_id):
            state = queue.get(request_id).state
            raise ApiError(
                "NOT_CANCELLABLE",
                "the request has already finished",
                details={"request_id": task.id, "status": state},
            )
        return status_of(request_id)


def _add_files(app: FastAPI, queue: Queue, worker: Worker) -> None:
    binary = {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in _MEDIA.values()}}
    parts: dict[int | str, dict[str, Any]] = {
        200: binary,
        206: {"description": "the part that `Range` asked for"},
        304: {"description": "the file that `If-None-Match` named is still the same"},
        416: {"description": "`Range` begins beyond the end"},
    }
    path = "/v1/requests/{request_id}/files/{name}"

    @app.head(path, include_in_schema=False)
    @app.get(path, response_class=FileResponse, responses={**_errors(404, 507), **parts})
    def file(request: Request, request_id: str, name: str) -> Response:
        """Download a video of a result: output_0.webp as it was generated, output_0.mp4 for players."""
        task = queue.get(request_id)
        match = _FILE.fullmatch(name)
        videos = (task.outputs or {}).get("videos", [])
        missing = ApiError("FILE_NOT_FOUND", "the request has no such file", details={"name": shown(name, 100)})
        if match is None or int(match[1]) >= len(videos):
            raise missing
        index, kind = int(match[1]), match[2]
        path = worker.results.path(task.id, index)
        if not path.is_file():
            raise missing
        if kind == "mp4":
            try:
                path = worker.results.mp4(task.id, index, videos[index]["fps"], videos[index]["num_frames"])
            except MediaError as error:
                logs.log_failure("mp4 failed")
                raise ApiError("MP4_FAILED", f"{error}; the .webp is available") from None
        try:
            return downloads.send(request, path, _MEDIA[kind], f"{task.id}_output_{index}.{kind}")
        except FileNotFoundError:  # its request has just been removed
            raise missing from None


async def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(error.body(), error.status, error.headers)


async def _invalid_body(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"detail": list(error.errors())}, 422)


async def _disconnected(_: Request, _error: Exception) -> Response:
    return Response(status_code=400)  # the client has disconnected, so nobody reads it


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        _, parts = request_schema()
        schema["components"]["schemas"].update(parts)
        app.openapi_schema = schema
    return app.openapi_schema
