"""The one thread that draws: takes requests from the queue, one at a time, and stops between steps when told to."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from parity.server import logs
from parity.server.drawer import Drawer, Progress
from parity.server.files import Results
from parity.server.inputs import Inputs
from parity.server.metrics import Metrics
from parity.server.queue import Queue, Task, as_text
from parity.server.settings import Settings
from pipelines.engine.engine import Engine
from pipelines.errors import ParityError

EXIT_HUNG = 70
"""The process' exit code when a step hangs (EX_SOFTWARE of sysexits.h)."""

RETRY_SECONDS = 5.0
_SWEEP_SECONDS = 3600.0
_OUR_MISTAKE = "a mistake of the server; its log says more under this request_id"


class _CanceledError(Exception):
    """Somebody canceled the running request."""


class _StoppingError(Exception):
    """The server is being stopped; the request goes back to its place."""


class _TookTooLongError(Exception):
    """The request's time is up."""


def end_process() -> None:
    """A thread that hangs in a driver or kernel cannot be ended alone."""
    os._exit(EXIT_HUNG)


class Worker:
    """Draws what the queue holds until stopped."""

    def __init__(
        self,
        settings: Settings,
        queue: Queue,
        engine: Engine,
        metrics: Metrics,
        inputs: Inputs,
        on_hang: Callable[[], None] = end_process,
    ) -> None:
        self._settings = settings
        self._queue = queue
        self._engine = engine
        self._metrics = metrics
        self._on_hang = on_hang
        self.results = Results(settings.data / "files")
        self._drawer = Drawer(settings, engine, metrics, inputs, self.results, settings.data / "downloads")
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._canceled: str | None = None
        self._lock = threading.Lock()
        self._running: str | None = None
        self._progress: Progress | None = None
        self._deadline = 0.0
        self._next_sweep = 0.0
        self._tokens: dict[str, str] = {}
        self._thread = threading.Thread(target=self._work, name="worker")

    def start(self) -> None:
        """Begin with what an earlier server left in the queue."""
        shutil.rmtree(self._drawer.downloads, ignore_errors=True)  # of a server that was killed
        self._drawer.downloads.mkdir(mode=0o700, parents=True, exist_ok=True)
        put_back, failed = self._queue.recover()
        self.results.prepare(self._queue.succeeded())
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

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                self._sweep()
                task = self._take()
                if task is not None:
                    self._run(task)
                    continue
            except Exception:  # the disk is full, say: the thread must outlive it
                logs.log_failure("the queue could not be used")
                self._stopping.wait(1.0)
            self._wake.wait(5.0)

    def _sweep(self) -> None:
        """Remove what is kept no longer: files first, so that a crash leaves none that no request knows."""
        days = self._settings.keep_days
        if days is None or time.monotonic() < self._next_sweep:
            return
        self._next_sweep = time.monotonic() + _SWEEP_SECONDS
        old = self._queue.finished_before(as_text(datetime.now(UTC) - timedelta(days=days)))
        for request_id in old:
            self.results.remove(request_id)
            self._queue.forget(request_id)
        logs.log("swept", removed=len(old))

    def _take(self) -> Task | None:
        with self._lock:  # `cancel` sees a request waiting or running, never neither
            task = self._queue.take()
            if task is not None:
                self._running, self._canceled = task.id, None
                self._progress = None
        return task

    def _run(self, task: Task) -> None:
        context = logs.request_id.set(task.id)
        limits = self._settings.limits
        self._deadline = time.monotonic() + limits.draw_seconds
        alarm = threading.Timer(limits.draw_seconds + limits.hang_seconds, self._hung, [task.id])
        alarm.daemon = True
        alarm.start()
        started = time.perf_counter()
        state = "failed"
        try:
            logs.log("drawing", attempt=task.attempts)
            drawing = self._drawer.draw(task, self._tokens.get(task.id), self._report, self._check)
            with self._lock:  # from here on it is too late to cancel
                if self._canceled == task.id:
                    raise _CanceledError
                self._running = None
            self._record(lambda: self._queue.succeed(task.id, drawing.outputs, drawing.metadata))
            state = "succeeded"
        except _StoppingError:
            self._record(lambda: self._queue.put_back(task.id))
            state = "put back"
        except _CanceledError:
            self._record(lambda: self._queue.cancel(task.id, waiting_only=False))
            state = "canceled"
        except Exception as error:
            reason = self._reason(task, error)
            self.results.remove(task.id)  # first: on a full disk the reason may need the room
            self._record(lambda: self._queue.fail(task.id, reason))
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
        """Write how a request ended, as soon as the disk lets us: else it would be running for ever.

        If the server is stopped before that, the next one runs the request again.
        """
        while True:
            try:
                write()
            except sqlite3.Error:
                logs.log_failure("the queue could not be written to; trying again")
                if not self._stopping.wait(RETRY_SECONDS):
                    continue
            return

    def _reason(self, task: Task, error: Exception) -> str:
        """What the API says of a request that failed: without the machine's folders and without tokens."""
        if isinstance(error, _TookTooLongError):
            return f"took more than {self._settings.limits.draw_seconds:g} s (--timeout)"
        if isinstance(error, ParityError):
            text = self._drawer.without_folders(str(error))
            if task.had_hub_token and task.id not in self._tokens:
                text += "; its hf_token was not kept when the server ended: send the request again"
            return logs.redacted(text)
        # torch has no class of its own for a CPU without memory.
        memory = isinstance(error, MemoryError) or "can't allocate memory" in str(error)
        disk = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        logs.log_failure("drawing failed", out_of_memory=memory, disk_full=disk)
        if disk:
            return "the server's disk is full: nothing was kept of this request"
        self._engine.close()  # nobody knows what is left in it
        return "ran out of memory: ask for fewer frames or pixels" if memory else _OUR_MISTAKE

    def _hung(self, request_id: str) -> None:
        """The time is up and no step has ended since: the process ends, and what starts it again goes on."""
        logs.request_id.set(request_id)
        logs.log("hung", seconds=self._settings.limits.hang_seconds, exit_code=EXIT_HUNG)
        self._on_hang()

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
