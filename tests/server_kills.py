"""`parity serve` killed at random moments: no accepted request may be lost, hang or give other bytes.

    python -m tests.server_kills 20

Submits requests, kills the server with SIGKILL at a random moment, starts it again, and so on. At the end every request
that was accepted must have a result whose bytes are right, or a failure that says that the server ended.
"""

from __future__ import annotations

import hashlib
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from tests.serving import body, finished, process, submit

KINDS: tuple[dict[str, Any], ...] = (
    {"sample_steps": 1},
    {"sample_steps": 4, "num_frames": 5},
    {"sample_steps": 12, "num_frames": 9},
)


def main(kills: int, seed: int) -> int:
    """The exit code: 1 if a request was lost, hangs, or has other bytes than it should."""
    chance = random.Random(seed)
    accepted: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        for kill in range(kills):
            with process(data, "--queue-size", "1000") as (running, client):
                for _ in range(4):
                    kind = chance.randrange(len(KINDS))
                    accepted[submit(client, body(**KINDS[kind]))] = kind
                # Loading takes seconds, drawing fractions of one: short and long waits hit both.
                time.sleep(chance.choice((0.05, 0.5, 12.0)) * chance.random())
                running.kill()
                running.wait()
            print(f"kill {kill + 1} of {kills}", flush=True)
        with process(data, "--queue-size", "1000") as (_, client):
            right = {kind: digest(client, submit(client, body(**KINDS[kind]))) for kind in range(len(KINDS))}
            counts: dict[str, int] = {}
            wrong = []
            for request_id, kind in accepted.items():
                result = finished(client, request_id)
                if result["status"] == "succeeded" and digest(client, request_id) == right[kind]:
                    verdict = "succeeded, bytes as expected"
                elif result["status"] == "failed" and "the server ended" in result["error"]:
                    verdict = "failed: the server ended twice"
                else:
                    verdict = "WRONG"
                    wrong.append(result)
                counts[verdict] = counts.get(verdict, 0) + 1
            left = list((data / "files").glob("*.part*"))
    print(f"{len(accepted)} accepted: {counts}; {len(left)} partial files left")
    for result in wrong:
        print(result)
    return 1 if wrong or left else 0


def digest(client: httpx.Client, request_id: str) -> str:
    """SHA-256 of a request's video, once it is there."""
    result = finished(client, request_id)
    assert result["status"] == "succeeded", result
    return hashlib.sha256(client.get(result["outputs"]["videos"][0]["url"]).content).hexdigest()


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    sys.exit(main(*(numbers + [20, 0][len(numbers) :])))
