"""The only thread that lets generate: it takes one request at a time from the queue and can stop between steps."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from parity.server import logs
from parity.server.generator import (
    INTERNAL_ERROR,
    FailedError,
    Generated,
    Generates,
    InterruptedByCheckError,
    RequestProgress,
    downloads_of,
    results_of,
)
from parity.server.idempotency import RetryKey
from parity.server.metrics import Metrics
from parity.server.queue import MAX_ATTEMPTS, Queue, QueuedRequest, as_text
from parity.server.settings import Settings
from pipelines.errors import ProcessEndedError

RETRY_SECONDS = 5.0
_SWEEP_SECONDS = 3600.0


class _CanceledError(InterruptedByCheckError):
    """The running request was canceled."""


class _StoppingError(InterruptedByCheckError):
    """The server is stopping; the request returns to its place in the queue."""


class _TookTooLongError(InterruptedByCheckError):
    """The request exceeded its time limit."""


class Worker:
    """Generates the requests of the queue until it is stopped."""

    def __init__(self, settings: Settings, queue: Queue, generator: Generates, metrics: Metrics) -> None:
        self._settings = settings
        self._queue = queue
        self._generator = generator
        self._metrics = metrics
        self.results = results_of(settings)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._canceled: str | None = None
        self._lock = threading.Lock()
        self._running: str | None = None
        self._hung: str | None = None
        self._progress: RequestProgress | None = None
        self._deadline = 0.0
        self._next_sweep = 0.0
        self._tokens: dict[str, str] = {}
        self._thread = threading.Thread(target=self._work, name="worker")

    def start(self) -> None:
        """Start, beginning with the requests that an earlier server left in the queue."""
        self._clear_downloads()  # left by a server that was killed
        put_back, failed = self._queue.recover()
        self.results.prepare(self._queue.succeeded())
        logs.log("started", put_back=put_back, failed=failed, waiting=self._queue.count("in_queue"))
        self._thread.start()

    def stop(self) -> None:
        """Stop at once. The running request returns to the queue."""
        self._stopping.set()
        self._wake.set()
        self._generator.kill(for_good=True)
        self._thread.join()
        self._generator.close()

    def accept(self, body: str, hub_token: str | None, key: RetryKey | None = None) -> QueuedRequest:
        """Queue a request, or return the one that its key stands for.

        Its Hub token is kept only here, in memory, until the request has finished. Raises ApiError as `Queue.add`.
        """
        request_id = str(uuid.uuid4())
        if hub_token:
            logs.hide(hub_token)
            with self._lock:  # before the request can be taken
                self._tokens[request_id] = hub_token
        try:
            task = self._queue.add(request_id, body, had_hub_token=bool(hub_token), key=key)
        except BaseException:
            self._forget(request_id)
            raise
        if task.id != request_id:
            self._forget(request_id)
        self._wake.set()
        return task

    def cancel(self, request_id: str) -> bool:
        """Cancel a request and return True if it was waiting or running. A running one ends after the current step."""
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

    def progress(self, request_id: str) -> RequestProgress | None:
        """Return the progress of the running request; None for all others."""
        with self._lock:
            return self._progress if self._running == request_id else None

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                self._sweep()
                task = self._take()
                if task is not None:
                    self._run(task)
                    continue
            except Exception:  # for example a full disk: the thread must survive it
                logs.log_failure("the queue could not be used")
                self._stopping.wait(1.0)
            self._wake.wait(5.0)

    def _sweep(self) -> None:
        """Remove expired requests: their files first, so that a crash leaves no file without a request."""
        days = self._settings.keep_days
        if days is None or time.monotonic() < self._next_sweep:
            return
        self._next_sweep = time.monotonic() + _SWEEP_SECONDS
        old = self._queue.finished_before(as_text(datetime.now(UTC) - timedelta(days=days)))
        for request_id in old:
            self.results.remove(request_id)
            self._queue.forget(request_id)
        logs.log("swept", removed=len(old))

    def _take(self) -> QueuedRequest | None:
        with self._lock:  # `cancel` sees a request waiting or running, never neither
            task = self._queue.take()
            if task is not None:
                self._running, self._canceled = task.id, None
                self._progress = None
        return task

    def _run(self, task: QueuedRequest) -> None:
        context = logs.request_id.set(task.id)
        limits = self._settings.limits
        self._deadline = time.monotonic() + limits.request_seconds
        alarm = threading.Timer(limits.request_seconds + limits.hang_seconds, self._end_hung, [task.id])
        alarm.daemon = True
        alarm.start()
        started = time.perf_counter()
        state = "failed"
        try:
            logs.log("generating", attempt=task.attempts)
            generated = self._generator.generate(task, self._tokens.get(task.id), self._report, self._check)
            with self._lock:  # from here on the request can no longer be canceled
                if self._canceled == task.id:
                    raise _CanceledError
                self._running = None
            self._count(generated)
            self._record(lambda: self._queue.succeed(task.id, generated.outputs, generated.metadata))
            state = "succeeded"
        except _StoppingError:
            self._record(lambda: self._queue.put_back(task.id))
            state = "put back"
        except _CanceledError:
            self._record(lambda: self._queue.cancel(task.id, waiting_only=False))
            state = "canceled"
        except ProcessEndedError as error:
            state = self._record_death(task, error)
        except _TookTooLongError:
            self._fail(task, f"took more than {limits.request_seconds:g} s (--timeout)")
        except FailedError as error:
            self._fail(task, self._reason(task, error))
        except Exception:
            logs.log_failure("generation failed")
            self._fail(task, INTERNAL_ERROR)
        finally:
            alarm.cancel()
            with self._lock:
                self._running, self._progress = None, None
            if state != "put back":
                self._forget(task.id)
                self._metrics.finished.labels(state).inc()
            if state != "succeeded":
                self.results.remove(task.id)
            logs.log("finished", state=state, seconds=round(time.perf_counter() - started, 3))
            logs.request_id.reset(context)

    def _record(self, write: Callable[[], object]) -> None:
        """Write how a request ended, as soon as the disk allows it: otherwise it would count as running for ever.

        If the server is stopped before that, the next server runs the request again.
        """
        while True:
            try:
                write()
            except sqlite3.Error:
                logs.log_failure("the queue could not be written to; trying again")
                if not self._stopping.wait(RETRY_SECONDS):
                    continue
            return

    def _fail(self, task: QueuedRequest, reason: str) -> None:
        self.results.remove(task.id)  # first: on a full disk the reason may need the space
        self._record(lambda: self._queue.fail(task.id, logs.redacted(reason)))

    def _reason(self, task: QueuedRequest, error: FailedError) -> str:
        if error.foreseen and task.had_hub_token and task.id not in self._tokens:
            return f"{error}; its hf_token was lost when the server ended: send the request again"
        return str(error)

    def _record_death(self, task: QueuedRequest, error: ProcessEndedError) -> str:
        """Record what becomes of a request during which the process that generates died; return its state."""
        self._clear_downloads()
        limits = self._settings.limits
        if self._stopping.is_set():  # it was killed for that
            self._record(lambda: self._queue.put_back(task.id))
            return "put back"
        self._metrics.deaths.inc()
        logs.log("generating process died", how=error.how, attempt=task.attempts)
        if self._canceled == task.id:
            self._record(lambda: self._queue.cancel(task.id, waiting_only=False))
            return "canceled"
        if self._hung == task.id:
            seconds = limits.request_seconds + limits.hang_seconds
            self._fail(task, f"a step was still running after {seconds:g} s (--timeout): its process was ended")
            return "failed"
        if task.attempts < MAX_ATTEMPTS:
            self._record(lambda: self._queue.put_back(task.id, counts=True))
            return "put back"
        self._fail(task, f"{error}; this was attempt {task.attempts} of {MAX_ATTEMPTS} of the request")
        return "failed"

    def _end_hung(self, request_id: str) -> None:
        """End the process that generates: no step has ended since the time limit."""
        with self._lock:
            if self._running != request_id:
                return
            self._hung = request_id
        logs.request_id.set(request_id)
        logs.log("hung", seconds=self._settings.limits.hang_seconds)
        self._generator.kill()

    def _clear_downloads(self) -> None:
        downloads = downloads_of(self._settings)
        shutil.rmtree(downloads, ignore_errors=True)
        downloads.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _count(self, generated: Generated) -> None:
        seconds = self._metrics.generation_seconds.labels(generated.metadata["model"])
        for timing in generated.metadata["timings"]["prompts"]:
            seconds.observe(timing["generate"])

    def _report(self, progress: RequestProgress) -> None:
        if progress.step:
            self._metrics.steps.inc()
        with self._lock:
            self._progress = progress

    def _check(self) -> None:
        """Raise if there is a reason to stop; called between steps and during downloads."""
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
