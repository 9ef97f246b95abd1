"""`parity serve` while its generating process dies: everything else is answered, and nothing of it is left.

    python -m tests.server_deaths --times 20

One server, in which one request after the other kills the process that generates: a segmentation fault and an abort
inside a call, signals from outside, an address space that is too small, the kernel's own killer in a cgroup (where this
user may make one), and the text that grows by its trigger word, put into the queue past all checks.
Meanwhile /health, a status and a download are asked for all the time. After each the next request must give the bytes
it gave before, and of the dead process neither memory nor a file may be left. Exit code 1 if not.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from parity.case.load import DEMO
from parity.server.queue import now
from tests.server_load import memory
from tests.support.cgroups import memory_of
from tests.support.paths import ROOT
from tests.support.serving import body, finished, generating_pid, process, submit, until
from tests.support.watching import watch

SLOWEST = 1.0
"""Seconds within which every answer must come."""
ROOM = 300
"""MiB that the process that generates may have more than after its first generation; the one that answers a sixth."""
LORA = DEMO / "jobs" / "t2v_basic" / "tiny_t2v.safetensors"
LARGE: dict[str, Any] = {"width": 2048, "height": 2048, "num_frames": 1}
"""Takes 1.5 GiB when it is decoded, by the tiny model too."""
GROWING: dict[str, Any] = {
    "prompts": [body()["prompts"][0] | {"prompt": "[trigger]" * 6000}],
    "trigger_word": "y" * 6000,
}
"""60 KiB that become 36 MB."""


@contextlib.contextmanager
def watched(client: httpx.Client, paths: list[str]) -> Iterator[list[tuple[int, dict[str, float]]]]:
    """Watch the server meanwhile; afterwards the list holds what `watch` sends."""
    spawn = multiprocessing.get_context("spawn")
    over, (mine, its) = spawn.Event(), spawn.Pipe(duplex=False)
    watcher = spawn.Process(target=watch, args=(str(client.base_url), paths, over, its), daemon=True)
    watcher.start()
    seen: list[tuple[int, dict[str, float]]] = []
    try:
        yield seen
    finally:
        over.set()
        seen.append(mine.recv())
        watcher.join()


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server, its folders, and the process that generates."""

    running: subprocess.Popen[str]
    client: httpx.Client
    data: Path
    chance: random.Random

    @property
    def pid(self) -> int:
        """The process that generates."""
        return generating_pid(self.data)

    def submit(self, request: dict[str, Any]) -> str:
        return submit(self.client, request)

    def begun(self, request_id: str, attempt: int) -> int:
        """Wait until an attempt is amid its steps, for a random moment; return the process that generates."""

        def steps() -> bool:
            found = self.client.get(f"/v1/requests/{request_id}/status").json()
            return bool(found["progress"] and found["progress"]["step"])

        until(lambda: self.attempts(request_id) == attempt and steps())
        threading.Event().wait(0.2 * self.chance.random())
        return self.pid

    def attempts(self, request_id: str) -> int:
        with contextlib.closing(sqlite3.connect(self.data / "queue.sqlite")) as database:
            return int(database.execute("SELECT attempts FROM requests WHERE id=?", [request_id]).fetchone()[0])

    def accept_unchecked(self, request: dict[str, Any]) -> str:
        """Put a request into the queue past all checks."""
        request_id = str(uuid.uuid4())
        with contextlib.closing(sqlite3.connect(self.data / "queue.sqlite", timeout=60)) as database, database:
            columns = "(id, state, body, had_hub_token, created_at) VALUES (?, 'in_queue', ?, 0, ?)"
            database.execute(f"INSERT INTO requests {columns}", [request_id, json.dumps(request), now()])
        return request_id

    def result(self, request_id: str) -> tuple[str, str]:
        """The state of a request once it is over, with its error or the SHA-256 of its video."""
        found = finished(self.client, request_id)
        if found["status"] != "succeeded":
            return found["status"], str(found["error"])
        video = self.client.get(found["outputs"]["videos"][0]["url"]).content
        return "succeeded", hashlib.sha256(video).hexdigest()


LONG: dict[str, Any] = {"sample_steps": 60}


def killed(number: signal.Signals, times: int) -> Callable[[Server], str]:
    """Kill the process `times` times amid one request."""

    def kill(server: Server) -> str:
        request_id = server.submit(body(**LONG))
        for attempt in range(1, times + 1):
            os.kill(server.begun(request_id, attempt), number)
        return request_id

    return kill


def crashed(name: str) -> Callable[[Server], str]:
    return lambda server: server.submit(body(request={"loras": [{"path": f"{name}.safetensors"}]}))


def short_of_space(server: Server) -> str:
    """A real limit, and a request that does not fit: torch says so, and the process lives."""
    with limited(server, 150):
        request_id = server.submit(body(**LARGE | {"width": 1024, "height": 1024}))  # a quarter, and sooner there
        server.result(request_id)
    return request_id


def grown(server: Server) -> str:
    with limited(server, 1500):
        request_id = server.accept_unchecked(body(request=GROWING))
        server.result(request_id)
    return request_id


@contextlib.contextmanager
def limited(server: Server, room: int) -> Iterator[None]:
    """Let the process that generates, and those after it, have at most `room` MiB of addresses more than it has."""
    import resource

    before = {pid: resource.prlimit(pid, resource.RLIMIT_AS) for pid in (server.running.pid, server.pid)}
    most = (memory(server.pid, "VmSize") + room) << 20
    for pid, (_, hard) in before.items():
        resource.prlimit(pid, resource.RLIMIT_AS, (most, hard))
    yield
    for pid in {*before, server.pid}:
        with contextlib.suppress(ProcessLookupError):  # it died of the limit
            resource.prlimit(pid, resource.RLIMIT_AS, before[server.running.pid])


def out_of_memory(server: Server) -> str:
    """Let the kernel kill the process that generates for want of memory in its cgroup, at both attempts."""
    with memory_of(700 << 20) as group:
        assert group is not None
        first = server.pid
        (group / "cgroup.procs").write_text(str(first))
        request_id = server.submit(body(**LARGE))
        until(lambda: server.pid != first)
        (group / "cgroup.procs").write_text(str(server.pid))  # before it has loaded anything
        server.result(request_id)
        until(lambda: not (group / "cgroup.procs").read_text().split())
    return request_id


Kind = tuple[Callable[[Server], str], str, str]
KINDS: dict[str, Kind] = {
    "segmentation fault inside a call": (crashed("segfault"), "failed", "signal 11 (SIGSEGV)"),
    "abort inside a call": (crashed("abort"), "failed", "signal 6 (SIGABRT)"),
    "SIGSEGV amid the steps, twice": (killed(signal.SIGSEGV, 2), "failed", "signal 11 (SIGSEGV)"),
    "SIGKILL amid the steps, once": (killed(signal.SIGKILL, 1), "succeeded", ""),
    "SIGKILL amid the steps, twice": (killed(signal.SIGKILL, 2), "failed", "signal 9 (SIGKILL)"),
    "address space of 150 MiB more": (short_of_space, "failed", "ran out of memory"),
    "text that grows to 36 MB": (grown, "failed", "should have at most 50000 characters"),
    "memory of the cgroup, by the kernel": (out_of_memory, "failed", "signal 9 (SIGKILL)"),
}
"""What kills, the state of the request that does, and what its error says."""
PLANTED = ("segmentation fault inside a call", "abort inside a call")
KERNEL = "memory of the cgroup, by the kernel"


def main(
    times: int,
    seed: int,
    kinds: Sequence[str] = tuple(KINDS),
    python: Sequence[str] = (sys.executable,),
    longest: float = SLOWEST,
) -> int:
    """The exit code: 1 if one of `times` deaths cost more than its request, or an answer took `longest` seconds."""
    with memory_of(700 << 20) as group:
        if group is None and KERNEL in kinds:
            print(f"not tried, for want of rights: {KERNEL}")
            kinds = [kind for kind in kinds if kind != KERNEL]
    good = 0
    with tempfile.TemporaryDirectory() as folder:
        root, scratch = Path(folder, "loras"), Path(folder, "tmp")
        scratch.mkdir()
        shutil.copytree(LORA.parent, root / LORA.parent.name)
        for name in ("abort", "segfault"):
            shutil.copy(LORA, root / f"{name}.safetensors")
        path = os.pathsep.join([str(ROOT / "tests/support/planted"), str(ROOT)])
        data = Path(folder) / "data"
        arguments = ("--lora-root", str(root))
        with process(data, *arguments, python=python, PYTHONPATH=path, TMPDIR=str(scratch)) as (running, client):
            server = Server(running=running, client=client, data=data, chance=random.Random(seed))
            done = server.submit(body())
            right = {"short": server.result(done), "long": server.result(server.submit(body(**LONG)))}
            assert {state for state, _ in right.values()} == {"succeeded"}, right
            cached = list(scratch.iterdir())  # torch's own, whoever imports it
            base = memory(running.pid, "VmRSS"), memory(server.pid, "VmRSS")
            paths = ["/health", f"/v1/requests/{done}/status", f"/v1/requests/{done}/files/output_0.webp"]
            with watched(client, paths) as seen:
                for number in range(times):
                    kind = kinds[number % len(kinds)]
                    ended, wrong = one(server, kind, right, base)
                    good += not wrong
                    print(f"{number + 1} of {times}: {kind}: {ended}{wrong and f'  WRONG: {wrong}'}", flush=True)
            count, slowest = seen[0]
            now_at = memory(running.pid, "VmRSS"), memory(server.pid, "VmRSS")
            left = [*(path for path in scratch.iterdir() if path not in cached), *(data / "downloads").iterdir()]
            named = sorted(path.name for path in (data / "files").iterdir() if ".part" in path.name)
    for name, before, after in zip(("answers", "generates"), base, now_at, strict=True):
        print(f"memory of the process that {name}: {before} MiB before, {after} MiB after")
    print(f"slowest of {count} answers each: " + ", ".join(f"{path} {slowest[path] * 1000:.0f} ms" for path in slowest))
    print(f"files left over: {[str(path) for path in left] + named or 'none'}")
    print(f"{good} of {times}")
    return 0 if good == times and not left and not named and max(slowest.values()) < longest else 1


def one(server: Server, kind: str, right: dict[str, tuple[str, str]], base: tuple[int, int]) -> tuple[str, str]:
    """Let the process die by one request; return how that ended, and what was wrong, or nothing."""
    kill, state, says = KINDS[kind]
    before = server.pid
    became = server.result(kill(server))
    problems = []
    if became != right["long"] if state == "succeeded" else became[0] != state or says not in became[1]:
        problems.append(f"its request should have {state} ({says or 'with the same bytes'})")
    if server.result(server.submit(body())) != right["short"]:
        problems.append("the next request gave other bytes")
    if server.pid != before and Path("/proc", str(before)).exists():
        problems.append(f"process {before} is still there")
    for name, pid, was, room in zip(
        ("answers", "generates"), (server.running.pid, server.pid), base, (ROOM // 6, ROOM), strict=True
    ):
        has = memory(pid, "VmRSS")
        if has > was + room:
            problems.append(f"the process that {name} has {has} MiB, {was} before")
    ended = became[0] if became[0] == "succeeded" else f"{became[0]}: {became[1]}"
    return ended, "; ".join(problems)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20, help="deaths (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument("-k", default="", metavar="WORD", help="only kinds with this in their name")
    options = parser.parse_args()
    sys.exit(main(options.times, options.seed, [kind for kind in KINDS if options.k in kind]))
