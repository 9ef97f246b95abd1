"""Sections on the embedded demo: does it repeat, how far is it from a CPU, does every case end as it should."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np

from benchmarks.gpu.context import ROOT, Context, LeftOutError
from benchmarks.gpu.fresh import frames_of, seconds_of, start
from benchmarks.gpu.measure import decibel, in_words, plain, sha256
from benchmarks.gpu.record import Row

_RECORDED = {
    "t2v-guitar-faithful": "preview/t2v_basic/0",
    "t2v-mixed-1-faithful": "preview/t2v_mixed_scale/1",
    "i2v-waving-faithful": "preview/i2v_basic/0",
    "wan22-t2v-guitar-faithful": "preview/wan22_t2v/0",
    "wan22-i2v-waving-faithful": "preview/wan22_i2v/0",
    "t2v-guitar-reference": "inference/t2v_basic/0",
    "i2v-waving-reference": "inference/i2v_basic/0",
    "wan22-t2v-guitar-reference": "inference/wan22_t2v/0",
}
"""The raw frames that the real systems generated of demo cases, on a CPU: below tests/data/oracle."""


def repeat(context: Context) -> Iterator[Row]:
    """Generate in two fresh processes on the device, and hash the raw frames of both."""
    start(context, "cpu", "cpu")  # the next section waits for it
    found = frames_of(context, {"first": context.device, "second": context.device})
    seconds = seconds_of(context, "first")
    equal = 0
    for name, first in found["first"].items():
        second = found["second"][name]
        if isinstance(first, str) or isinstance(second, str):
            yield Row(name, "failed", first if isinstance(first, str) else str(second))
            continue
        psnr = decibel(first, second)
        equal += first.shape == second.shape and np.array_equal(first, second)
        hashes = [sha256(first), sha256(second)]
        values = {"sha256": hashes, "psnr": plain(psnr), "seconds": round(seconds[name], 3)}
        yield Row(name, in_words(psnr), f"sha256 {hashes[0][:12]}, {seconds[name]:.1f} s with its loading", values)
    count = len(found["first"])
    yield Row("equal in both processes", f"{equal} of {count}", values={"equal": equal, "of": count})


def against_cpu(context: Context) -> Iterator[Row]:
    """Compare the device's raw frames with those of this machine's CPU, and with what the real systems generated."""
    found = frames_of(context, {"first": context.device, "cpu": "cpu"})
    for name, ours in found["first"].items():
        cpu = found["cpu"][name]
        if isinstance(ours, str) or isinstance(cpu, str):
            yield Row(name, "failed", ours if isinstance(ours, str) else str(cpu))
            continue
        psnr = decibel(ours, cpu)
        values, note = {"psnr_to_cpu": plain(psnr)}, ""
        path = ROOT / "tests" / "data" / "oracle" / f"{_RECORDED.get(name, '-')}.npz"
        if path.is_file():
            with np.load(path, allow_pickle=False) as data:
                recorded = data["frames"]
            real = {who: decibel(frames, recorded) for who, frames in (("device", ours), ("cpu", cpu))}
            who = "ai-toolkit" if name.endswith("faithful") else "the reference server"
            note = f"to what {who} generated on a CPU: {in_words(real['device'])}; this CPU: {in_words(real['cpu'])}"
            values |= {f"psnr_{key}_to_recording": plain(value) for key, value in real.items()}
        yield Row(f"{name}, to this CPU", in_words(psnr), note, values)


def whole(context: Context) -> Iterator[Row]:
    """Run the demo with the real command, and show each case's outcome."""
    out = context.work / "run"
    command = [sys.executable, "-P", "-m", "parity", "run", "--device", context.device, "--no-cache", "--no-html"]
    few = ["-k", "shapes and scheduler"] if context.small else []
    done = subprocess.run(
        [*command, *few, "--out", str(out)],
        cwd=ROOT,
        env={**os.environ, "CI": "1"},
        stdout=subprocess.PIPE,
        check=False,
    )
    if not (out / "results.json").is_file():
        raise LeftOutError(f"parity run ended with {done.returncode} and wrote nothing; log.txt has the reason")
    cases = json.loads((out / "results.json").read_text(encoding="utf-8"))["cases"]
    for case in cases:
        psnr = (case.get("metrics") or {}).get("psnr") or {}
        mean = psnr.get("mean")
        identical = bool(case.get("metrics")) and mean is None and psnr.get("unavailable") is None
        figure = "same frames as the preview" if identical else "not compared" if mean is None else f"{mean:.1f} dB"
        values = {"status": case["status"], "psnr": "same" if identical else mean}
        yield Row(case["id"], figure, case["status"].replace("_", " "), values)
    good = sum(case["status"] in ("passed", "expected_drift") for case in cases)
    yield Row(
        "as expected", f"{good} of {len(cases)}", f"exit code {done.returncode}", {"good": good, "of": len(cases)}
    )
