"""The server on the device: one request from its submission to its video."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

from benchmarks.gpu.context import ROOT, Context
from benchmarks.gpu.record import Row

_REQUEST = {
    "model": "wan21_14b",
    "loras": [{"path": "t2v_basic/tiny_t2v.safetensors"}],
    "prompts": [{"prompt": "a cat", "width": 96, "height": 64, "sample_steps": 6, "num_frames": 9, "seed": 5}],
}


def serve(context: Context) -> Iterator[Row]:
    """Start `parity serve`, post the same request twice, and wait for both results."""
    demo = ROOT / "cases"
    command = [sys.executable, "-P", "-m", "parity", "serve", "--port", "0", "--device", context.device]
    command += ["--lora-root", str(demo / "jobs"), "--data", str(context.work / "serve")]
    command += ["--checkpoint", f"wan21_14b={demo / 'models' / 'tiny-wan-t2v'}"]
    began = time.perf_counter()
    with _running(command) as url:
        yield Row("until it answers", f"{time.perf_counter() - began:.1f} s")
        prompt = {**_REQUEST["prompts"][0], **({"sample_steps": 1, "num_frames": 1} if context.small else {})}  # type: ignore[dict-item]
        for which in ("first request", "second request, weights loaded"):
            began = time.perf_counter()
            accepted = _ask(f"{url}/v1/inference", _REQUEST | {"prompts": [prompt]})
            result = _finished(url, accepted["request_id"])
            seconds = time.perf_counter() - began
            values = {"seconds": seconds, "status": result["status"]}
            yield Row(which, f"{result['status']}, {seconds:.1f} s", str(result.get("error") or ""), values)


@contextlib.contextmanager
def _running(command: list[str]) -> Iterator[str]:
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        if not first.startswith("http"):
            raise RuntimeError(f"parity serve did not start: {first.strip() or process.wait()}; log.txt has the reason")
        yield first.split()[0].rstrip("/")
    finally:
        process.kill()
        process.wait()


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
