"""The server: imports what commands import, then forks for each connection of a launcher. One thread, so it may."""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
import types
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from pipelines import apart

_ENCODERS = ("transformers.models.clip.modeling_clip", "transformers.models.umt5.modeling_umt5")
_MODULES = (
    "parity.cli.main",
    "parity.diagnosis.search",
    "parity.run.session",
    "parity.server.api",
    "parity.server.generating",
    "reports.render",
    "uvicorn",
)


def main(address: str) -> None:
    given = dict(os.environ)
    _import()
    made = {name: value for name, value in os.environ.items() if name not in given}
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "threads do not survive a fork"
    gc.collect()
    gc.freeze()
    launcher = str(Path(__file__).with_name("launch.py"))
    apart.PYTHON = (sys.executable, "-I", "-S", launcher, address)  # what a fork starts is a fork, too
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches the launchers
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(16)
        print("ready", flush=True)
        while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
            connection, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                _keep(connection, made)
            connection.close()
            _reap(os.WNOHANG)
    _reap(0)


def _reap(options: int) -> None:
    """Wait for the keepers that ended, or for all."""
    try:
        while os.waitpid(-1, options)[0]:
            pass
    except ChildProcessError:
        pass


def _import() -> None:
    """Import what `parity run`, `diagnose` and `serve` do, and compute nothing."""
    for name in _MODULES:
        importlib.import_module(name)
    from parity.case.load import DEMO, load_case
    from pipelines.engine import checkpoint, torch_setup

    with torch_setup.deterministic():
        checkpoint.load_pipeline(load_case(DEMO / "i2v-waving-faithful.yaml").inference)
        for name in _ENCODERS:
            importlib.import_module(name)


def _keep(connection: socket.socket, made: dict[str, str]) -> NoReturn:
    """Fork once more, pass signals on, and tell the launcher how the command ended."""
    size, streams, _, _ = socket.recv_fds(connection, 8, 3)
    asked = b""
    while len(asked) < int.from_bytes(size, "big"):
        asked += connection.recv(1 << 16)
    pid = os.fork()
    if pid == 0:
        connection.close()
        told = json.loads(asked)
        _be_the_command(streams, told | {"environment": made | told["environment"]})
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(pid)
    while ended not in select.select([connection.fileno(), ended], [], [])[0]:
        signals = connection.recv(16)
        for number in signals or [signal.SIGKILL]:
            os.kill(pid, number)
        if not signals:
            break  # the launcher was killed
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        connection.send(code.to_bytes(8, "big", signed=True))
    finally:
        os._exit(0)


def _be_the_command(streams: list[int], asked: dict[str, Any]) -> NoReturn:
    """Do what Python does with these arguments, and end as it ends."""
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
        os.close(stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    opened = partial(open, encoding="utf-8", closefd=False)
    sys.stdin = opened(0)
    sys.stdout = opened(1, "w")  # on a terminal line by line
    sys.stderr = opened(2, "w", 1, errors="backslashreplace")
    option, what, *arguments = asked["arguments"]
    sys.path[0:0] = [
        asked["folder"] if option == "-m" else "",
        *filter(None, os.environ.get("PYTHONPATH", "").split(":")),
    ]
    sys.argv = [option, *arguments]
    code = 0
    try:
        if option == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            module = sys.modules["__main__"] = types.ModuleType("__main__")
            exec(compile(what, "<string>", "exec"), module.__dict__)
    except SystemExit as stop:
        code = _code(stop.code)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _code(said: object) -> int:
    if said is None or isinstance(said, int):
        return said or 0
    print(said, file=sys.stderr)
    return 1


if __name__ == "__main__":
    main(sys.argv[1])
