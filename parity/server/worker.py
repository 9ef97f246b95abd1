"""The one thread that draws: takes requests from the queue, one at a time, and stops between steps when told to."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity.server import logs
from parity.server.files import write_atomically
from parity.server.inputs import Inputs
from parity.server.metrics import Metrics
from parity.server.plan import plan
from parity.server.queue import Queue, Task
from parity.server.settings import Settings
from pipelines.catalog import MODELS, Model
from pipelines.engine import Engine
from pipelines.errors import ParityError
from pipelines.recipe import Recipe
from pipelines.request import Request
from pipelines.video import encode

_OUR_MISTAKE = "a mistake of the server; its log says more under this request_id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where the running request is."""

    prompt: int
    """From 1; 0 while inputs are brought."""
    prompts: int
    step: int
    """Of the prompt's; 0 while its weights are loaded and its text is encoded."""
    steps: int


class _CanceledError(Exception):
    """Somebody canceled the running request."""


class _StoppingError(Exception):
    """The server is being stopped; the request goes back to its place."""


class _TookTooLongError(Exception):
    """The request's time is up."""


class Worker:
    """Draws what the queue holds until stopped."""

    def __init__(self, settings: Settings, queue: Queue, engine: Engine, metrics: Metrics, inputs: Inputs) -> None:
        self._settings = settings
        self._queue = queue
        self._engine = engine
        self._metrics = metrics
        self._inputs = inputs
        self._files = settings.data / "files"
        self._downloads = settings.data / "downloads"
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._canceled: str | None = None
        self._lock = threading.Lock()
        self._running: str | None = None
        self._progress: Progress | None = None
        self._deadline = 0.0
        self._tokens: dict[str, str] = {}
        self._thread = threading.Thread(target=self._work, name="worker")

    def start(self) -> None:
        """Begin with what an earlier server left in the queue."""
        shutil.rmtree(self._downloads, ignore_errors=True)  # of a server that was killed
        for folder in (self._files, self._downloads):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for part in self._files.glob("*.part*"):
            part.unlink(missing_ok=True)
        put_back, failed = self._queue.recover()
        logs.log("started", put_back=put_back, failed=failed, waiting=self._queue.count("in_queue"))
        self._thread.start()

    def stop(self) -> None:
        """Stop after the step under way. The running request goes back to the queue."""
        self._stopping.set()
        self._wake.set()
        self._thread.join()
        self._engine.close()

    def accept(self, body: str, hub_token: str | None) -> Task:
        """Queue a request. Its Hub token lives here alone, in memory, until the request is over.

        Raises ApiError QUEUE_FULL.
        """
        request_id = str(uuid.uuid4())
        if hub_token:
            logs.hide(hub_token)
            with self._lock:  # before the request can be taken
                self._tokens[request_id] = hub_token
        try:
            task = self._queue.add(request_id, body, had_hub_token=bool(hub_token))
        except BaseException:
            self._forget(request_id)
            raise
        self._wake.set()
        return task

    def cancel(self, request_id: str) -> bool:
        """Whether it was waiting or running. A running one ends after the step under way."""
        if self._cancel_running(request_id):
            return True
        if self._queue.cancel(request_id, waiting_only=True):
            self._forget(request_id)
            self._metrics.finished.labels("canceled").inc()
            return True
        return self._cancel_running(request_id)  # it may have begun in between

    def _cancel_running(self, request_id: str) -> bool:
        with self._lock:
            if self._running != request_id:
                return False
            self._canceled = request_id
            self._queue.ask_to_cancel(request_id)
            return True

    def progress(self, request_id: str) -> Progress | None:
        """Of the running request; None for all others."""
        with self._lock:
            return self._progress if self._running == request_id else None

    def file(self, request_id: str, index: int) -> Path:
        """Where a video lies. `request_id`: of a request the queue knows, so no user's text is in the name."""
        return self._files / f"{request_id}_output_{index}.webp"

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                task = self._take()
                if task is not None:
                    self._run(task)
                    continue
            except Exception:  # the disk is full, say: the thread must outlive it
                logs.log_failure("the queue could not be used")
                self._stopping.wait(1.0)
            self._wake.wait(5.0)

    def _take(self) -> Task | None:
        with self._lock:  # `cancel` sees a request waiting or running, never neither
            task = self._queue.take()
            if task is not None:
                self._running, self._canceled = task.id, None
                self._progress = None
        return task

    def _run(self, task: Task) -> None:
        context = logs.request_id.set(task.id)
        self._deadline = time.monotonic() + self._settings.limits.draw_seconds
        started = time.perf_counter()
        state = "failed"
        try:
            logs.log("drawing", attempt=task.attempts)
            outputs, metadata = self._draw(task)
            with self._lock:  # from here on it is too late to cancel
                if self._canceled == task.id:
                    raise _CanceledError
                self._running = None
            self._queue.succeed(task.id, outputs, metadata)
            state = "succeeded"
        except _StoppingError:
            self._queue.put_back(task.id)
            state = "put back"
        except _CanceledError:
            self._queue.cancel(task.id, waiting_only=False)
            state = "canceled"
        except _TookTooLongError:
            self._queue.fail(task.id, f"took more than {self._settings.limits.draw_seconds:g} s (--timeout)")
        except ParityError as error:
            self._queue.fail(task.id, self._told(task, error))
        except Exception as error:
            # torch has no class of its own for a CPU without memory.
            full = isinstance(error, MemoryError) or "can't allocate memory" in str(error)
            reason = "ran out of memory: ask for fewer frames or pixels" if full else _OUR_MISTAKE
            logs.log_failure("drawing failed", out_of_memory=full)
            self._queue.fail(task.id, reason)
            self._engine.close()  # nobody knows what is left in it
        finally:
            with self._lock:
                self._running, self._progress = None, None
            if state != "put back":
                self._forget(task.id)
                self._metrics.finished.labels(state).inc()
            if state != "succeeded":
                self._remove_files(task.id)
            logs.log("finished", state=state, seconds=round(time.perf_counter() - started, 3))
            logs.request_id.reset(context)

    def _told(self, task: Task, error: ParityError) -> str:
        """The message for the API: without the machine's folders and without tokens."""
        text = self._without_folders(str(error))
        if task.had_hub_token and task.id not in self._tokens:
            text += "; its hf_token was not kept when the server ended: send the request again"
        return logs.redacted(text)

    def _without_folders(self, text: str) -> str:
        for folder in (self._settings.lora_root, self._downloads, self._settings.data):
            text = text.replace(f"{folder}/", "").replace(str(folder), "…")
        return text

    def _draw(self, task: Task) -> tuple[dict[str, Any], dict[str, Any]]:
        """Outputs and metadata as the API gives them."""
        request = Request.model_validate_json(task.body)
        model = MODELS[request.model]
        token = self._tokens.get(task.id)
        self._report(Progress(prompt=0, prompts=len(request.prompts), step=0, steps=0))
        started = time.perf_counter()
        videos: list[dict[str, Any]] = []
        timings: list[dict[str, float]] = []
        with self._download_folder() as folder:
            here = self._inputs.bring(request, model, folder, self._check)
            planned = plan(here, model, self._settings, token)
            brought = time.perf_counter() - started
            for index, recipe in enumerate(planned.recipes):
                video, timing = self._draw_one(task.id, index, recipe, model, len(planned.recipes), token)
                videos.append(video)
                timings.append(timing)
        metadata = {
            "model": model.id,
            "profile": self._settings.profile,
            "config": planned.config,
            "toolkit": planned.toolkit,
            "notes": [self._without_folders(note) for note in planned.recipes[0].notes],
            "inference_time": round(time.perf_counter() - started, 3),
            "timings": {"inputs": round(brought, 3), "prompts": timings},
        }
        return {"images": [], "videos": videos}, metadata

    def _draw_one(
        self, request_id: str, index: int, recipe: Recipe, model: Model, prompts: int, token: str | None
    ) -> tuple[dict[str, Any], dict[str, float]]:
        def on_step(step: int, steps: int) -> None:
            self._metrics.steps.inc()
            self._report(Progress(prompt=index + 1, prompts=prompts, step=step, steps=steps))
            self._check()

        self._check()
        self._report(Progress(prompt=index + 1, prompts=prompts, step=0, steps=recipe.steps))
        clock = time.perf_counter()
        frames = self._engine.generate(recipe, on_step, token)
        drawn = time.perf_counter()
        self._metrics.draw_seconds.labels(model.id).observe(drawn - clock)
        path = self.file(request_id, index)
        write_atomically(path, encode(frames, recipe.codec, recipe.fps))
        video = {
            "format": recipe.codec.format,
            "width": int(frames.shape[2]),
            "height": int(frames.shape[1]),
            "num_frames": int(frames.shape[0]),
            "fps": recipe.fps,
            "file_path": str(path),
            "seed": recipe.seed,
        }
        return video, {"generate": round(drawn - clock, 3), "save": round(time.perf_counter() - drawn, 3)}

    def _report(self, progress: Progress) -> None:
        with self._lock:
            self._progress = progress

    def _check(self) -> None:
        """Between steps and while downloading: is there a reason to stop?"""
        if self._canceled is not None and self._canceled == self._running:
            raise _CanceledError
        if self._stopping.is_set():
            raise _StoppingError
        if time.monotonic() >= self._deadline:
            raise _TookTooLongError

    def _forget(self, request_id: str) -> None:
        with self._lock:
            token = self._tokens.pop(request_id, None)
            if token not in self._tokens.values():
                logs.forget(token)

    def _remove_files(self, request_id: str) -> None:
        for path in self._files.glob(f"{request_id}_output_*"):
            path.unlink(missing_ok=True)

    @contextmanager
    def _download_folder(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(dir=self._downloads) as folder:
            yield Path(folder)
