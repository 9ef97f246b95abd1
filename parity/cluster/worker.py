"""A worker: keeps its engine warm and runs the cases that it is given, one at a time."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from parity.case.load import Case
from parity.cluster.mailbox import Courier
from parity.cluster.messages import Doing, Kept, Message, Planned, Work, Worker
from parity.cluster.parcel import Sender
from parity.results.case import CaseResult
from pipelines import cpu_kernels
from pipelines.phases import Phase, in_words


class Runner:
    """Runs as an actor of Ray. It imports torch only in `start`, so that the CPU's kernels are chosen before."""

    def __init__(self, number: int, work: Work, mailbox: Any) -> None:
        """`mailbox` is Ray's handle of the actor `Mailbox`."""
        self._number, self._work = number, work
        self._courier = Courier(_put_into(mailbox), _interrupt)

    def start(self) -> Worker:
        """Take a device, and return who this is. Raises UsageError and DeviceError as `Session` does."""
        with contextlib.suppress(OSError):  # then a missing file was noticed before, by its absolute path
            os.chdir(self._work.folder)
        cpu_kernels.choose(self._work.cpu_kernels)
        if sys.platform != "win32":
            from parity.run import interrupt

            interrupt.listen(signal.SIGUSR1)

        import ray

        from parity.cluster.session import WorkerSession
        from pipelines.engine import fingerprint

        folder = Path(tempfile.mkdtemp(prefix="wan-parity-worker-", dir=self._work.scratch))
        self._sender = Sender(folder)
        self._session = WorkerSession(self._work, folder, self._send)
        self._session.__enter__()
        gpus = ray.get_runtime_context().get_accelerator_ids().get("GPU", ())
        return Worker(
            number=self._number,
            host=socket.gethostname(),
            pid=os.getpid(),
            gpus=tuple(map(str, gpus)),
            environment=self._session.environment,
            code=fingerprint.code(),
        )

    def run(self, case: Case) -> bool:
        """Run a case; its result is sent, the last one too. Returns False if the run is being stopped."""
        try:
            with self._courier:
                self._session.run_case(case, _Telling(self._number, case.id, self._courier))
        except KeyboardInterrupt:
            return False
        self._sender.clear(case.id)
        return True

    def close(self) -> None:
        """Release the weights, and delete the folder."""
        self._session.__exit__()
        shutil.rmtree(self._sender.folder, ignore_errors=True)

    def _send(self, result: CaseResult) -> None:
        self._courier.send(Kept(self._number, result, self._sender.new(result.id)))


def _put_into(mailbox: Any) -> Callable[[Sequence[Message]], bool]:
    import ray

    def put(messages: Sequence[Message]) -> bool:
        stop: bool = ray.get(mailbox.put.remote(messages))
        return stop

    return put


def _interrupt() -> None:
    """Let the main thread end what it does, as Ctrl-C does on one machine.

    Ray 2.60 starts its processes with SIGINT blocked, so that Ctrl-C in a terminal reaches the driver alone.
    """
    main = threading.main_thread().ident
    if sys.platform != "win32" and main is not None:
        signal.pthread_kill(main, signal.SIGUSR1)


class _Telling:
    """Progress that tells the driver what is done; the driver knows by itself when a case begins and ends."""

    def __init__(self, worker: int, case: str, courier: Courier) -> None:
        self._worker, self._case, self._courier = worker, case, courier
        self._label, self._steps = "", 0

    def case_started(self, case: Case) -> None: ...

    def case_kept(self, result: CaseResult) -> None: ...

    def case_finished(self, result: CaseResult) -> None: ...

    def planned(self, plan: str, generations: float | None = None) -> None:
        self._courier.send(Planned(self._worker, self._case, plan, generations))

    def waiting(self, why: str) -> None:
        self._say(why)

    def trial_started(self, label: str, steps: int) -> None:
        self._label, self._steps = ("" if label == self._case else f"{label}: "), steps
        self._say(f"step 1 of {steps}")

    def phase(self, name: Phase, part: str) -> None:
        self._say(f"step 1 of {self._steps}" if name == "denoise" else in_words(name, part))

    def step_done(self, done: int, steps: int) -> None:
        self._say(f"step {done + 1} of {steps}" if done < steps else "decoding")

    def _say(self, words: str) -> None:
        self._courier.say(Doing(self._worker, self._case, f"{self._label}{words}"))
