"""The server on the device: one request from its submission to its video, and one whose process is killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gpu.context import ROOT, Context
from benchmarks.gpu.record import Row

_REQUEST = {
    "model": "wan21_14b",
    "loras": [{"path": "t2v_basic/tiny_t2v.safetensors"}],
    "prompts": [{"prompt": "a cat", "width": 96, "height": 64, "sample_steps": 6, "num_frames": 9, "seed": 5}],
}


def serve(context: Context) -> Iterator[Row]:
    """Start `parity serve`, post the same request twice, and wait for both results; kill its process over a third."""
    demo = ROOT / "cases"
    command = [sys.executable, "-P", "-m", "parity", "serve", "--port", "0", "--device", context.device]
    command += ["--lora-root", str(demo / "jobs"), "--data", str(context.work / "serve")]
    command += ["--checkpoint", f"wan21_14b={demo / 'models' / 'tiny-wan-t2v'}"]
    began = time.perf_counter()
    with _running(command) as (server, url):
        yield Row("until it answers", f"{time.perf_counter() - began:.1f} s")
        prompt = {**_REQUEST["prompts"][0], **({"sample_steps": 1, "num_frames": 1} if context.small else {})}  # type: ignore[dict-item]
        for which in ("first request", "second request, weights loaded"):
            began = time.perf_counter()
            accepted = _ask(f"{url}/v1/inference", _REQUEST | {"prompts": [prompt]})
            result = _finished(url, accepted["request_id"])
            seconds = time.perf_counter() - began
            values = {"seconds": seconds, "status": result["status"]}
            yield Row(which, f"{result['status']}, {seconds:.1f} s", str(result.get("error") or ""), values)
        yield from _killed(server, url, _REQUEST | {"prompts": [{**prompt, "sample_steps": 60}]})


def _killed(server: int, url: str, request: dict[str, Any]) -> Iterator[Row]:
    """Kill the process that generates amid a request, which another one finishes; look at the GPU's memory."""
    loaded, generating = gpu_memory(), _generating(server)
    accepted = _ask(f"{url}/v1/inference", request)
    while _ask(f"{url}/v1/requests/{accepted['request_id']}/status")["status"] == "in_queue":
        time.sleep(0.05)
    os.kill(generating, signal.SIGKILL)
    while _generating(server) == generating:
        time.sleep(0.01)
    freed = gpu_memory()
    result = _finished(url, accepted["request_id"])
    values = {"status": result["status"], "loaded": loaded, "freed": freed, "again": gpu_memory()}
    yield Row("a request whose process is killed once", result["status"], str(result.get("error") or ""), values)
    if loaded is None:
        yield Row("GPU memory of the killed process", "not looked at", "nvidia-smi does not answer", values)
        return
    figure = f"{loaded} MiB in use before, {freed} MiB once it was dead, {values['again']} MiB after its successor's"
    yield Row("GPU memory of the killed process", figure, "", values)


def gpu_memory() -> int | None:
    """MiB in use on all GPUs of the machine, by nvidia-smi; None if it does not answer."""
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
        return sum(map(int, said.split()))
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def _generating(server: int) -> int | None:
    """The process that generates for a server: its only child. None: there is none at this moment."""
    children = [task.read_text().split() for task in Path(f"/proc/{server}/task").glob("*/children")]
    found = [int(child) for task in children for child in task]
    return found[0] if found else None


@contextlib.contextmanager
def _running(command: list[str]) -> Iterator[tuple[int, str]]:
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            if not first.startswith("http"):
                raise RuntimeError(f"parity serve did not start: {first.strip() or 'it ended'}; log.txt has the reason")
            yield process.pid, first.split()[0].rstrip("/")
        finally:
            process.kill()


def _ask(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as reply:
        answer: dict[str, Any] = json.load(reply)
    return answer


def _finished(url: str, request_id: str) -> dict[str, Any]:
    while True:
        status = _ask(f"{url}/v1/requests/{request_id}/status")
        if status["status"] in ("succeeded", "failed", "canceled"):
            return status
        time.sleep(0.05)
