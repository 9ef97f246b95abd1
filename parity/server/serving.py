"""Runs the server: binds the address, locks the data folder, loads, answers until it is stopped."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from parity.server.settings import Settings
from pipelines.errors import UsageError
from pipelines.files.content import make_ignored
from pipelines.files.words import cannot_write, reason_of

if TYPE_CHECKING:
    from parity.server.generator import Generates
    from parity.server.queue import Queue


def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM. Raises UsageError before anything is loaded."""
    if sys.platform == "win32":
        raise UsageError("parity serve does not run on Windows yet, because it uses POSIX file locks: use WSL")
    with _bound(settings) as bound, _owned(settings.data):
        _run(settings, bound)


@contextlib.contextmanager
def _bound(settings: Settings) -> Iterator[socket.socket]:
    """Bind the socket before minutes of loading, so that an address in use is reported at once."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        bound = socket.create_server((settings.host, settings.port), family=family, backlog=128)
    except OSError as error:
        reason = reason_of(error)
        raise UsageError(f"--host {settings.host} --port {settings.port}: cannot bind: {reason}") from None
    with bound:
        yield bound


@contextlib.contextmanager
def _owned(data: Path) -> Iterator[None]:
    """Create and lock the data folder, so that only this process uses it and other users cannot read it."""
    import fcntl

    try:
        make_ignored(data, mode=0o700)
        lock = (data / "lock").open("w")
    except OSError as error:
        raise UsageError(cannot_write(f"--data {data}", error)) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(f"--data {data}: already used by another server") from None
        yield


def _base_url(settings: Settings, bound: socket.socket) -> str:
    if settings.base_url is not None:
        return settings.base_url
    port = bound.getsockname()[1]
    all_interfaces = settings.host in ("0.0.0.0", "::", "")
    host = "localhost" if all_interfaces else settings.host
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _run(settings: Settings, bound: socket.socket) -> None:
    from parity.server import logs
    from parity.server.generating import GeneratingProcess
    from parity.server.queue import Queue

    logs.set_up()
    logs.hide(settings.token)
    queue = Queue(settings.data / "queue.sqlite", settings.limits.queue)
    with contextlib.closing(queue), contextlib.closing(GeneratingProcess(settings)) as generator:
        device = generator.start()
        _answer(settings, bound, queue, generator, device)


def _answer(settings: Settings, bound: socket.socket, queue: Queue, generator: Generates, device: str) -> None:
    import uvicorn

    from parity.server.api import create_app
    from parity.server.connection import Connection
    from parity.server.metrics import Metrics
    from parity.server.worker import Worker

    metrics = Metrics(queue)
    worker = Worker(settings, queue, generator, metrics)
    base_url = _base_url(settings, bound)
    app = create_app(settings, base_url, queue, worker, metrics)
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )
    worker.start()
    try:
        print(f"{base_url}  profile {settings.profile}, device {device}; Ctrl-C stops the server", flush=True)
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn has shut down and passes the signal on
            uvicorn.Server(config).run(sockets=[bound])
    finally:
        worker.stop()
