"""What a run shows of itself while it takes its time: on a real terminal, again with a known speed, and in a log.

    python -m benchmarks.progress [--steps N]

One case of 41 frames of 416x240 on the tiny checkpoint, whose decoding takes about as long as its steps. The promises:
the bar is never full before the case is done, and no 10 seconds pass without output on a terminal, none of 45 in a log.
Prints a line for each run; exit code 1 if a promise is broken. Not for Windows, which has no pseudo-terminals.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.conftest import CaseFiles
from tests.support.paths import ROOT
from tests.support.terminal import Written, run_in_terminal

_ON_TERMINAL, _IN_LOG = 10.0, 45.0
"""The most seconds without output."""


def main() -> int:
    """Run the case three times. Returns 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=25)
    steps = parser.parse_args().steps
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = CaseFiles(folder)
        request = files.request(sample_steps=steps, num_frames=41, width=416, height=240)
        path = files.write("long", request=request)
        command = [sys.executable, "-m", "parity", "run", str(path), "--no-html", "--no-cache", "--out"]
        env = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TERM": "xterm-256color",
            "WAN_PARITY_CACHE": str(folder / "cache"),
        }
        kept = [
            _kept(name, run_in_terminal([*command, name], cwd=folder, env=env, timeout=3600), _ON_TERMINAL)
            for name in ("first", "second")  # whose speed is known
        ]
        kept.append(_kept("log", _in_log([*command, "log"], folder, env), _IN_LOG))
    return 0 if all(kept) else 1


def _in_log(command: list[str], folder: Path, env: dict[str, str]) -> Written:
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stderr is not None
    chunks = [(time.monotonic() - began, line.decode()) for line in process.stderr]
    return Written(code=process.wait(), chunks=tuple(chunks), seconds=time.monotonic() - began)


def _kept(name: str, done: Written, most: float) -> bool:
    shown = [
        (at, int(percent))
        for at, text in done.chunks
        for percent in re.findall(r"(\d+)%", text)
        if "DRIFTED" not in text
    ]
    full = max((percent for _, percent in shown), default=0)
    decoding = [percent for at, text in done.chunks if "decoding" in text for percent in re.findall(r"(\d+)%", text)]
    silence = done.longest_silence()
    bar = f"; the bar reached {full} %, {decoding[0]} % when decoding began" if decoding else ""
    print(f"{name}: {done.seconds:.0f} s, at most {silence:.1f} s without output (promised: {most:g}){bar}", flush=True)
    return done.code in (0, 1) and silence <= most and full < 100


if __name__ == "__main__":
    sys.exit(main())
