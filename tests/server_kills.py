"""`parity serve` killed at random moments: no accepted request may be lost, hang or give other bytes.

    python -m tests.server_kills --times 20

Before each kill the queue is filled up to ten requests; then SIGKILL at a random moment of its work. The process that
generates must end with it, and the server is started again on what is left. At the end every request that was accepted
must have a result whose bytes are right, or a failure that says that the server ended twice while it ran. Exit code 1
if not.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import tempfile
import threading
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from tests.support.serving import body, finished, generating_pid, lives, process, submit, until

QUEUE = 10
LONGEST_WAIT = 12.0
"""Seconds before a kill. Loading takes a few, generating less than one: short and long waits hit both."""
KINDS: tuple[dict[str, Any], ...] = (
    {"sample_steps": 1},
    {"sample_steps": 4, "num_frames": 5},
    {"sample_steps": 12, "num_frames": 9},
)


def main(times: int, seed: int) -> int:
    """The exit code: 1 if a request was lost, hangs, or has other bytes than it should."""
    chance = random.Random(seed)
    accepted: dict[str, int] = {}
    hit: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        for kill in range(times):
            with process(data, "--queue-size", str(QUEUE)) as (running, client):
                while (open_now := sum(is_open(client, it) for it in accepted)) < QUEUE:
                    kind = chance.randrange(len(KINDS))
                    accepted[submit(client, body(**KINDS[kind]))] = kind
                wait = LONGEST_WAIT * chance.random() ** 2
                threading.Event().wait(wait)
                generating = generating_pid(data)
                running.kill()
                running.wait()
                until(partial(ended, generating), 10.0)
            print(f"kill {kill + 1} of {times}: {open_now} requests open, after {wait:.2f} s", flush=True)
        with process(data, "--queue-size", str(QUEUE + len(KINDS))) as (_, client):
            again = {submit(client, body(**kind)): number for number, kind in enumerate(KINDS)}
            right = {number: digest(client, request_id) for request_id, number in again.items()}
            succeeded, wrong = set(again), []
            for request_id, kind in accepted.items():
                result = finished(client, request_id)
                if result["status"] == "succeeded" and digest(client, request_id) == right[kind]:
                    hit["succeeded, bytes as expected"] += 1
                    succeeded.add(request_id)
                elif result["status"] == "failed" and "ended 2 times" in result["error"]:
                    hit["failed: the server ended twice"] += 1
                else:
                    wrong.append(result)
            left = {path.name for path in (data / "files").iterdir()} - {f"{it}_output_0.webp" for it in succeeded}
    print(f"{times} kills, {len(accepted)} accepted: {dict(hit)}; wrong: {len(wrong)}; files left over: {len(left)}")
    for result in wrong:
        print(result)
    return 1 if wrong or left else 0


def ended(pid: int) -> bool:
    return not lives(pid)


def is_open(client: httpx.Client, request_id: str) -> bool:
    return client.get(f"/v1/requests/{request_id}/status").json()["status"] in ("in_queue", "in_progress")


def digest(client: httpx.Client, request_id: str) -> str:
    """SHA-256 of a request's video, once it is there."""
    result = finished(client, request_id)
    assert result["status"] == "succeeded", result
    return hashlib.sha256(client.get(result["outputs"]["videos"][0]["url"]).content).hexdigest()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20, help="kills (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    sys.exit(main(**vars(parser.parse_args())))
