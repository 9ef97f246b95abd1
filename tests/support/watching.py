"""A client that asks a server all the time, in a process of its own, because its user keeps theirs busy."""

from __future__ import annotations

import time
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event

import httpx


def watch(url: str, paths: list[str], over: Event, answers: Connection) -> None:
    """Ask for all paths in turn, and send in the end how often, and for each the longest answer in seconds."""
    slowest, count = dict.fromkeys(paths, 0.0), 0
    limits = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(base_url=url, timeout=60, trust_env=False, limits=limits) as client:
        while not over.wait(0.02):
            for path in paths:
                clock = time.perf_counter()
                assert client.get(path).status_code == 200
                slowest[path] = max(slowest[path], time.perf_counter() - clock)
            count += 1
    answers.send((count, slowest))
