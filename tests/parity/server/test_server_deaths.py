"""The process that generates dies, hangs or cannot start, which costs its request. More: tests/server_deaths.py."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from parity.server import generating, logs
from parity.server.generating import GeneratingProcess
from parity.server.generator import Generated
from parity.server.queue import Queue
from parity.server.settings import TOKEN_VARIABLE, Limits
from pipelines import apart
from pipelines.errors import ParityError, ProcessEndedError
from tests import server_deaths
from tests.support.prepared import python
from tests.support.serving import body, finished, settings_of, submit, thread

Log = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of ours begin where torch is imported."""
    monkeypatch.setattr(apart, "PYTHON", tuple(python()))


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    """The events of the server's log."""
    events: Log = []
    monkeypatch.setattr(logs, "log", lambda event, **fields: events.append((event, fields)))
    return events


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc, limits are set from outside")
def test_a_request_that_kills_the_process_costs_itself_only() -> None:
    kinds = ["SIGKILL amid the steps, once", "address space of 150 MiB more"]
    assert server_deaths.main(times=2, seed=0, kinds=kinds, python=python(), longest=math.inf) == 0


@pytest.mark.usefixtures("forks")
@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="what a process was started with is read from /proc")
def test_a_hung_process_is_ended_and_does_not_have_the_servers_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "the-token-of-the-server")
    limits = Limits(request_seconds=1.0, hang_seconds=0.05)
    generator = GeneratingProcess(settings_of(tmp_path, limits=limits, token="the-token-of-the-server"))
    assert generator.start() == "cpu"
    child = generator._child
    assert child is not None
    assert b"the-token" not in Path(f"/proc/{child.pid}/environ").read_bytes()
    os.kill(dict(log)["generating process started"]["pid"], signal.SIGSTOP)
    with thread(settings_of(tmp_path, limits=limits), generator=generator) as client:
        result = finished(client, submit(client, body()))
        assert result["status"] == "failed"
        assert result["error"] == "a step was still running after 1.05 s (--timeout): its process was ended"
        assert "parity_process_deaths_total 1.0" in client.get("/metrics").text
        assert not child.alive
    assert ("hung", {"seconds": 0.05}) in log


@pytest.mark.usefixtures("forks")
@pytest.mark.process
def test_a_process_that_cannot_start_fails_requests_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    monkeypatch.setattr(generating, "PAUSE_SECONDS", 0.01)
    settings = settings_of(tmp_path, device="cuda:99")
    generator = GeneratingProcess(settings)
    with pytest.raises(ParityError, match="cuda:99"):
        generator.start()
    with thread(settings, generator=generator) as client:
        result = finished(client, submit(client, body()))
        assert client.get("/health").status_code == 200
    assert result["status"] == "failed"
    assert result["error"].startswith("the process that generates could not be started: ")
    assert "cuda:99" in result["error"]
    pauses = [fields["pause"] for event, fields in log if event == "generating process not started"]
    assert pauses == [0.02, 0.04]


class Dying:
    """Every generation ends with its process."""

    def generate(self, *_: Any) -> Generated:
        raise ProcessEndedError("the process that generates", "was killed by signal 9 (SIGKILL)")

    def kill(self, *, for_good: bool = False) -> None:
        """Nothing is left to end."""

    def close(self) -> None:
        """Nothing is left to release."""


def test_deaths_of_the_server_and_of_the_process_add_up(tmp_path: Path) -> None:
    queue = Queue(tmp_path / "queue.sqlite", 10)
    queue.add("an-id", json.dumps(body()), had_hub_token=False)
    queue.take()
    queue.close()  # the server is killed
    with thread(settings_of(tmp_path), generator=Dying()) as client:
        for request_id in ("an-id", submit(client, body())):
            result = finished(client, request_id)
            assert result["error"] == (
                "the process that generates was killed by signal 9 (SIGKILL); this was attempt 2 of 2 of the request"
            )
        assert "parity_process_deaths_total 3.0" in client.get("/metrics").text
