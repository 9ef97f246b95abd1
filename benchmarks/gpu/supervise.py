"""Runs the sections in worker processes, each within its time, and keeps what they answer."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.gpu.context import ROOT
from benchmarks.gpu.plan import SECTIONS, Section
from benchmarks.gpu.record import Outcome, Record, Row


class Worker:
    """One process that measures sections, one at a time."""

    def __init__(self, device: str, work: Path, log: Path, *, small: bool) -> None:
        command = [sys.executable, "-P", "-m", "benchmarks.gpu.worker", device, str(work)]
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [*command, "--small"] if small else command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "WAN_PARITY_CACHE": ""},
                start_new_session=True,  # with the processes that it starts it forms a group
            )
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(json.loads(line))
        self._answers.put(None)

    def measure(self, number: int, seconds: float, on_row: Callable[[Row], None]) -> tuple[str, str]:
        """Measure one section. Returns its status and the reason for it."""
        assert self._process.stdin is not None
        deadline = time.monotonic() + seconds
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{number}\n")
            self._process.stdin.flush()
        while True:
            try:
                message = self._answers.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return "stopped", f"took longer than {seconds:.0f} s"
            if message is None:
                code = self._process.wait()
                return "failed", f"the process {f'was killed by signal {-code}' if code < 0 else f'ended with {code}'}"
            if "end" in message:
                return message["end"], message["reason"]
            on_row(Row(**message["row"]))

    @property
    def usable(self) -> bool:
        """False once it has ended."""
        return self._process.poll() is None

    def close(self) -> None:
        """End it, and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def run(
    numbers: list[int],
    record: Record,
    *,
    device: str,
    small: bool,
    minutes: float,
    work: Path,
    log: Path,
    say: Callable[[str], None],
) -> None:
    """Measure sections until all are done or the time is over."""
    began = time.monotonic()
    end = began + 60 * minutes
    worker: Worker | None = None
    try:
        for number in numbers:
            section = SECTIONS[number]
            left = end - time.monotonic()
            if left < section.least:
                reason = f"{max(0, left):.0f} s were left, it needs at least {section.least:.0f}"
                record.leave_out(section.name, reason)
                say(f"{_at(began, end)} {number} {section.name}: left out: {reason}")
                continue
            if worker is None or not worker.usable:
                worker = Worker(device, work, log, small=small)
            limit = min(section.seconds, left)
            say(f"{_at(began, end)} {number} {section.name}: at most {limit:.0f} s")
            outcome = record.begin(section.name)
            _measure(worker, number, section, limit, outcome, record, say)
            if outcome.status == "stopped":
                worker.close()
                worker = None
    finally:
        if worker is not None:
            worker.close()


def _measure(
    worker: Worker,
    number: int,
    section: Section,
    limit: float,
    outcome: Outcome,
    record: Record,
    say: Callable[[str], None],
) -> None:
    began = time.monotonic()

    def on_row(row: Row) -> None:
        outcome.rows.append(row)
        outcome.seconds = time.monotonic() - began
        record.write()
        say(f"      {row.what}: {row.figure}{f' ({row.note})' if row.note else ''}")

    outcome.status, outcome.reason = worker.measure(number, limit, on_row)
    outcome.seconds = time.monotonic() - began
    record.write()
    if outcome.status != "done":
        say(f"      {section.name}: {outcome.status}: {outcome.reason}")


def _at(began: float, end: float) -> str:
    now = time.monotonic()
    return f"[{now - began:4.0f} s, {max(0, end - now):4.0f} s left]"
