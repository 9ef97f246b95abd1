"""Servers for tests: the real command in a process, or its parts in a thread with an engine controlled by the test."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvicorn

from parity.case.load import DEMO
from parity.selftest.workshop import tiny_checkpoint
from parity.server.api import create_app
from parity.server.connection import Connection
from parity.server.fetch import Resolve, system_resolve
from parity.server.generator import Generates, Generator
from parity.server.inputs import Inputs
from parity.server.metrics import Metrics
from parity.server.queue import Queue
from parity.server.settings import Limits, Settings
from parity.server.worker import Worker
from pipelines.catalog import MODELS
from pipelines.engine.engine import Engine
from pipelines.engine.stages import OnStep
from pipelines.media.video import Frames
from pipelines.recipe import Recipe
from tests.support.paths import ROOT

CHECKPOINTS = {model.id: str(tiny_checkpoint(model)) for model in MODELS.values()}
OVER = ("succeeded", "failed", "canceled")

FRESH = httpx.Limits(max_keepalive_connections=0)
"""A connection for each request, as `parity.remote` has it: the server may end an idle one just as it is used again."""


def body(*, model: str = "wan21_14b", request: dict[str, Any] | None = None, **item: Any) -> dict[str, Any]:
    """A request of one step and one frame, prompt keys replaced (None removes one)."""
    prompt = {"prompt": "a cat", "width": 64, "height": 64, "sample_steps": 1, "num_frames": 1, "seed": 5} | item
    kind = "i2v" if "i2v" in model else "t2v"
    whole = {
        "model": model,
        "loras": [{"path": f"{kind}_basic/tiny_{kind}.safetensors"}],
        "prompts": [{key: value for key, value in prompt.items() if value is not None}],
    }
    return whole | (request or {})


def until(condition: Callable[[], Any], seconds: float = 120.0) -> Any:
    """Wait until `condition` is true and return its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.02)
    return value


def finished(client: httpx.Client, request_id: str) -> dict[str, Any]:
    """The result of a request, once it is over."""

    def over() -> bool:
        return client.get(f"/v1/requests/{request_id}/status").json()["status"] in OVER

    until(over)
    result: dict[str, Any] = client.get(f"/v1/requests/{request_id}/result").json()
    return result


def submit(client: httpx.Client, request: dict[str, Any]) -> str:
    """The id of an accepted request."""
    reply = client.post("/v1/inference", json=request)
    assert reply.status_code == 200, reply.text
    return str(reply.json()["request_id"])


@contextmanager
def process(
    data: Path, *arguments: str, python: Sequence[str] = (sys.executable,), **environment: str
) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """`parity serve` on a free loopback port, with the tiny checkpoints. Killed at the end if it still runs."""
    command = [*python, "-m", "parity", "serve", "--port", "0", "--device", "cpu", "--data", str(data)]
    command += ["--lora-root", str(DEMO / "jobs")]
    for model, folder in CHECKPOINTS.items():
        command += ["--checkpoint", f"{model}={folder}"]
    log = (data.parent / f"{data.name}.log").open("a")
    running = subprocess.Popen(
        [*command, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    try:
        assert running.stdout is not None
        first = running.stdout.readline()
        assert first.startswith("http://"), (data.parent / f"{data.name}.log").read_text()
        with httpx.Client(base_url=first.split()[0], timeout=60, trust_env=False, limits=FRESH) as client:
            yield running, client
    finally:
        kill(running)
        assert running.stdout is not None
        running.stdout.close()
        log.close()


def generating_pid(data: Path) -> int:
    """The process that generates for the server of `process`, by its log."""
    lines = (data.parent / f"{data.name}.log").read_text().splitlines()
    return int([json.loads(line)["pid"] for line in lines if '"generating process started"' in line][-1])


def lives(pid: int) -> bool:
    """Whether a process runs; a dead one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def kill(running: subprocess.Popen[str]) -> None:
    """Kill a server and wait until nothing is left of it: what `prepared.python()` started lets go a moment later."""
    running.kill()
    running.wait()
    assert running.stdout is not None
    running.stdout.read()


class PatientEngine(Engine):
    """An engine that generates nothing and does a step when the test says so, so that no test depends on time."""

    def __init__(self) -> None:
        self.steps = threading.Semaphore(0)
        self.drawn: list[Recipe] = []

    def generate(self, recipe: Recipe, on_step: OnStep | None = None, token: str | None = None) -> Frames:
        del token
        for step in range(recipe.steps):
            assert self.steps.acquire(timeout=60)
            if on_step is not None:
                on_step(step + 1, recipe.steps)
        self.drawn.append(recipe)
        return np.zeros((recipe.num_frames.applied, recipe.height.applied, recipe.width.applied, 3), np.uint8)

    def close(self) -> None:
        """There is nothing to release."""


def settings_of(data: Path, **changes: Any) -> Settings:
    """Settings of a loopback server with the tiny checkpoints."""
    values: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": 0,
        "lora_root": (DEMO / "jobs").resolve(),
        "data": data,
        "profile": "reference",
        "checkpoints": CHECKPOINTS,
        "device": "cpu",
        "offload": "none",
        "allowed_hosts": frozenset(),
        "base_url": None,
        "token": None,
        "limits": Limits(),
    }
    return Settings(**(values | changes))


@contextmanager
def thread(
    settings: Settings,
    engine: Engine | None = None,
    resolve: Resolve = system_resolve,
    generator: Generates | None = None,
) -> Iterator[httpx.Client]:
    """The server's parts in this process, behind a real socket. `generator` replaces that of the engine."""
    settings.data.mkdir(parents=True, exist_ok=True)
    queue = Queue(settings.data / "queue.sqlite", settings.limits.queue)
    metrics = Metrics(queue)
    engine = engine or PatientEngine()
    worker = Worker(settings, queue, generator or Generator(settings, engine, Inputs(settings, resolve)), metrics)
    with socket.create_server(("127.0.0.1", 0)) as bound:
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        app = create_app(settings, settings.base_url or url, queue, worker, metrics)
        config = uvicorn.Config(app, http=Connection, ws="none", log_config=None, access_log=False, proxy_headers=False)
        server = uvicorn.Server(config)
        running = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        worker.start()
        running.start()
        until(lambda: server.started)
        try:
            with httpx.Client(base_url=url, timeout=60, trust_env=False, limits=FRESH) as client:
                yield client
        finally:
            server.should_exit = True
            running.join()
            if isinstance(engine, PatientEngine):
                for _ in range(1000):
                    engine.steps.release()
            worker.stop()
            queue.close()
