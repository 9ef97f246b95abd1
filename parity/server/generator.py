"""Generates the videos of one request, from its body to the files, with the metadata of its result.

It runs in the process that generates (`generating.py`), with all that reads what a client sent.
"""

from __future__ import annotations

import errno
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import ValidationError

from parity.server import logs
from parity.server.files import Results
from parity.server.inputs import Inputs
from parity.server.plan import plan
from parity.server.queue import QueuedRequest
from parity.server.settings import Settings
from pipelines.catalog import MODELS
from pipelines.errors import ParityError
from pipelines.files.shown import shown
from pipelines.media.video import encode
from pipelines.recipe import Recipe
from pipelines.reference.request import Request

if TYPE_CHECKING:
    from pipelines.engine.engine import Engine

INTERNAL_ERROR = "internal error of the server; its log has the details under this request_id"


class InterruptedByCheckError(Exception):
    """Base of what a `check` raises to end a generation; nothing has failed."""


class FailedError(Exception):
    """The request failed. The message is for its client: without folders of this machine."""

    def __init__(self, message: str, *, foreseen: bool) -> None:
        """`foreseen`: something about this request or its files, not a bug and not a lack of memory or disk."""
        super().__init__(message)
        self.foreseen = foreseen


Report = Callable[["RequestProgress"], None]
Check = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestProgress:
    """How far the running request is."""

    prompt: int
    """The number of the current prompt, from 1; 0 while inputs are fetched."""
    prompts: int
    step: int
    """The current denoising step of the prompt; 0 while its weights are loaded and its text is encoded."""
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """The outputs and metadata of a finished request."""

    outputs: dict[str, Any]
    metadata: dict[str, Any]


class Generates(Protocol):
    """What the worker needs: the process that generates, or, in tests, a `Generator` in its own."""

    def generate(self, queued: QueuedRequest, token: str | None, report: Report, check: Check) -> Generated:
        """Generate the videos of a request and save them.

        `report` is called with every progress; `check` between steps and during downloads, and it raises an
        InterruptedByCheckError to stop. Raises that, FailedError, and ProcessEndedError if the process died.
        """

    def kill(self, *, for_good: bool = False) -> None:
        """End at once what is being generated, from another thread; `generate` then raises ProcessEndedError.

        `for_good`: and generate nothing more.
        """

    def close(self) -> None:
        """Release all memory, when nothing is being generated."""


def downloads_of(settings: Settings) -> Path:
    """The folder of what is fetched for the running request; nothing in it is needed by another."""
    return settings.data / "downloads"


def results_of(settings: Settings) -> Results:
    return Results(settings.data / "files")


@dataclass(frozen=True, slots=True)
class Generator:
    """Generates one request at a time, in this process."""

    settings: Settings
    engine: Engine
    inputs: Inputs

    def generate(self, queued: QueuedRequest, token: str | None, report: Report, check: Check) -> Generated:
        """See `Generates`."""
        try:
            return self._generate(queued, token, report, check)
        except (InterruptedByCheckError, FailedError):
            raise
        except ParityError as error:
            raise FailedError(self._without_folders(str(error)), foreseen=True) from None
        except Exception as error:
            raise FailedError(self._reason(error), foreseen=False) from None

    def _reason(self, error: Exception) -> str:
        """Say why a request failed without its fault, and log it."""
        # torch has no exception class for a CPU that runs out of memory.
        memory = isinstance(error, MemoryError) or "can't allocate memory" in str(error)
        disk = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        logs.log_failure("generation failed", out_of_memory=memory, disk_full=disk)
        if disk:
            return "the server's disk is full: no output of this request was kept"
        self.engine.close()  # its state is unknown after the error
        return "ran out of memory: request fewer frames or pixels" if memory else INTERNAL_ERROR

    def kill(self, *, for_good: bool = False) -> None:
        """Nothing in this process can be killed: `check` ends it after the current step."""

    def close(self) -> None:
        """Release the weights."""
        self.engine.close()

    def _generate(self, queued: QueuedRequest, token: str | None, report: Report, check: Check) -> Generated:
        request = _parsed(queued.body)
        model = MODELS[request.model]
        report(RequestProgress(prompt=0, prompts=len(request.prompts), step=0, steps=0))
        started = time.perf_counter()
        videos: list[dict[str, Any]] = []
        timings: list[dict[str, float]] = []
        with tempfile.TemporaryDirectory(dir=downloads_of(self.settings)) as folder:
            fetched = self.inputs.fetch(request, model, Path(folder), check)
            planned = plan(fetched, model, self.settings, token)
            fetch_seconds = time.perf_counter() - started
            for index, recipe in enumerate(planned.recipes):

                def on_step(step: int, steps: int, prompt: int = index + 1) -> None:
                    report(RequestProgress(prompt=prompt, prompts=len(planned.recipes), step=step, steps=steps))
                    check()

                check()
                report(RequestProgress(prompt=index + 1, prompts=len(planned.recipes), step=0, steps=recipe.steps))
                video, timing = self._generate_one(queued.id, index, recipe, on_step, token)
                videos.append(video)
                timings.append(timing)
        metadata = {
            "model": model.id,
            "profile": self.settings.profile,
            "config": planned.config,
            "toolkit": planned.toolkit,
            "notes": [self._without_folders(note) for note in planned.recipes[0].notes],
            "inference_time": round(time.perf_counter() - started, 3),
            "timings": {"inputs": round(fetch_seconds, 3), "prompts": timings},
        }
        return Generated(outputs={"images": [], "videos": videos}, metadata=metadata)

    def _generate_one(
        self,
        request_id: str,
        index: int,
        recipe: Recipe,
        on_step: Callable[[int, int], None],
        token: str | None,
    ) -> tuple[dict[str, Any], dict[str, float]]:
        clock = time.perf_counter()
        frames = self.engine.generate(recipe, on_step, token)
        generated = time.perf_counter()
        path = results_of(self.settings).save(request_id, index, encode(frames, recipe.codec, recipe.fps))
        video = {
            "format": recipe.codec.format,
            "width": int(frames.shape[2]),
            "height": int(frames.shape[1]),
            "num_frames": int(frames.shape[0]),
            "fps": recipe.fps,
            "file_path": str(path),
            "seed": recipe.seed,
        }
        return video, {"generate": round(generated - clock, 3), "save": round(time.perf_counter() - generated, 3)}

    def _without_folders(self, text: str) -> str:
        """Remove the folders of this machine from a message: a client must not learn them."""
        for folder in (self.settings.lora_root, downloads_of(self.settings), self.settings.data):
            text = text.replace(f"{folder}/", "").replace(str(folder), "…")
        return text


def _parsed(body: str) -> Request:
    """The request of a body that was accepted, perhaps by a version with other limits. Raises FailedError."""
    try:
        return Request.model_validate_json(body)
    except ValidationError as error:
        mistakes = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise FailedError(f"this version does not accept the request: {shown(mistakes)}", foreseen=True) from None
