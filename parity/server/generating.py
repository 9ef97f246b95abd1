"""The process that generates, apart from the one that answers: a request that kills it costs itself only.

It holds the weights from request to request, and it alone imports torch, fetches, and decodes what clients sent. It is
started with the server and again after its death, and asks before every step whether it may go on.
"""

from __future__ import annotations

import dataclasses
import faulthandler
import os
import subprocess
import threading
import time
from typing import IO, Any

from parity.server import logs
from parity.server.generator import (
    Check,
    FailedError,
    Generated,
    Generator,
    InterruptedByCheckError,
    Report,
    RequestProgress,
)
from parity.server.queue import QueuedRequest
from parity.server.settings import TOKEN_VARIABLE, Settings
from pipelines.apart import Child, Parent
from pipelines.errors import ParityError, ProcessEndedError
from pipelines.files import digests

_NAME = "the process that generates"
_LONGEST_LINE = 2000
"""How many bytes of a line that a library prints are logged at once."""
_CHECK_SECONDS = 0.05
"""At most this often it is asked whether to go on: a download asks at every read."""
PAUSE_SECONDS = 1.0
"""The pause after a start that failed; it doubles with every further one."""
_LONGEST_PAUSE = 60.0


class GeneratingProcess:
    """The process that generates, as seen by the one that answers. One thread generates; others may `kill`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._child: Child | None = None
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._failures = 0
        self._not_before = 0.0
        self._request_id: str | None = None

    def start(self) -> str:
        """Start it and return its device.

        Raises DeviceError for a device that is not there, and ProcessEndedError if it ends where it starts.
        """
        environment = {name: value for name, value in os.environ.items() if name != TOKEN_VARIABLE}
        with self._lock:
            if self._closed.is_set():
                raise ProcessEndedError(_NAME, "is not started again: the server is stopping")
            child = Child("parity.server.generating", _NAME, environment=environment, stderr=subprocess.PIPE)
            self._child = child
        assert child.stderr is not None
        threading.Thread(target=self._log_output, args=[child.stderr], name="output", daemon=True).start()
        child.send((dataclasses.replace(self._settings, token=None), digests.remembered_in()))
        try:
            ready = child.receive()
        except ParityError:
            child.end()
            raise
        device: str = ready["device"]
        logs.log("generating process started", pid=ready["pid"], device=device)
        return device

    def generate(self, queued: QueuedRequest, token: str | None, report: Report, check: Check) -> Generated:
        """See `parity.server.generator.Generates`. Starts the process if it has died."""
        self._request_id = queued.id
        try:
            child = self._ready(check)
            child.send((queued, token))
            return self._converse(child, report, check)
        except (FailedError, InterruptedByCheckError, ProcessEndedError):
            raise
        except BaseException:
            self.kill()  # it may wait for an answer that will never come
            raise
        finally:
            self._request_id = None

    def _converse(self, child: Child, report: Report, check: Check) -> Generated:
        interruption: InterruptedByCheckError | None = None
        while True:
            message = child.receive()
            if "progress" in message:
                report(RequestProgress(**message["progress"]))
            elif "check" in message:
                try:
                    check()
                except InterruptedByCheckError as error:
                    interruption = error
                child.send(interruption is None)
            elif "log" in message:
                logs.log_of(message["log"])
            elif "failed" in message:
                raise FailedError(message["failed"], foreseen=message["foreseen"])
            elif "generated" in message:
                return Generated(**message["generated"])
            else:
                assert interruption is not None
                raise interruption

    def _ready(self, check: Check) -> Child:
        """Return the process, started if it is not running. After failures it is tried less and less often."""
        if self._child is not None and self._child.alive:
            return self._child
        while time.monotonic() < self._not_before:
            check()
            self._closed.wait(0.2)
        if self._child is not None:
            self._child.end()
        try:
            self.start()
        except ParityError as error:
            self._failures += 1
            pause = min(PAUSE_SECONDS * 2.0**self._failures, _LONGEST_PAUSE)
            self._not_before = time.monotonic() + pause
            logs.log("generating process not started", reason=str(error), failures=self._failures, pause=pause)
            raise ProcessEndedError(_NAME, f"could not be started: {error}") from None
        self._failures = 0
        assert self._child is not None
        return self._child

    def _log_output(self, stderr: IO[bytes]) -> None:
        """Log what libraries print, and where Python was when a signal killed it."""
        while line := stderr.readline(_LONGEST_LINE):
            text = line.decode(errors="replace").rstrip().rpartition("\r")[2]
            if text:
                context = logs.request_id.set(self._request_id)
                logs.log("output of the generating process", text=logs.redacted(text))
                logs.request_id.reset(context)

    def kill(self, *, for_good: bool = False) -> None:
        """See `parity.server.generator.Generates`."""
        with self._lock:
            if for_good:
                self._closed.set()
            if self._child is not None:
                self._child.kill()

    def close(self) -> None:
        """End the process, with all its memory."""
        self.kill(for_good=True)
        if self._child is not None:
            self._child.end()


class _StoppedError(InterruptedByCheckError):
    """The server said not to go on."""


class _Answering:
    """The server, as seen by the process that generates."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent
        self._next_check = 0.0

    def report(self, progress: RequestProgress) -> None:
        self._parent.send(progress=dataclasses.asdict(progress))

    def check(self) -> None:
        if time.monotonic() < self._next_check:
            return
        self._parent.send(check=True)
        go_on: bool = self._parent.receive()
        self._next_check = time.monotonic() + _CHECK_SECONDS
        if not go_on:
            raise _StoppedError

    def log(self, record: dict[str, Any]) -> None:
        self._parent.send(log=record)


def main() -> None:
    """Run as the process that generates."""
    parent = Parent()
    faulthandler.enable(all_threads=False)
    settings, hashes = parent.receive()
    digests.remember_in(*hashes)
    from parity.server.inputs import Inputs
    from pipelines.engine.engine import Engine

    server = _Answering(parent)
    logs.hand_over(server.log)
    try:
        engine = Engine(settings.device, settings.offload)
    except ParityError as error:
        parent.fail(error)
        return
    generator = Generator(settings, engine, Inputs(settings))
    parent.send(device=str(engine.device), pid=os.getpid())
    while True:
        queued, token = parent.receive()
        try:
            generated = generator.generate(queued, token, server.report, server.check)
        except FailedError as error:
            parent.send(failed=str(error), foreseen=error.foreseen)
        except InterruptedByCheckError:
            parent.send(interrupted=True)
        else:
            parent.send(generated=dataclasses.asdict(generated))


if __name__ == "__main__":
    main()
