"""A process that generates the demo's recipes on one device and leaves their frames in a folder.

python -m benchmarks.gpu.fresh DEVICE FOLDER [--small]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.gpu.context import ROOT, Context, recipes
from pipelines.media.video import Frames


def start(context: Context, device: str, folder: Path) -> subprocess.Popen[bytes]:
    """Start such a process; it belongs to the worker's group, so that it ends with it."""
    command = [sys.executable, "-P", "-m", "benchmarks.gpu.fresh", device, str(folder)]
    return subprocess.Popen([*command, "--small"] if context.small else command, cwd=ROOT)


def frames_of(context: Context, wanted: dict[str, str]) -> dict[str, dict[str, Frames | str]]:
    """The frames of each run by the names of the cases, or why there are none; runs of before are kept.

    `wanted` has a device for the name of each run. All that are missing are generated at the same time.
    """
    running = {}
    for run, device in wanted.items():
        folder = context.work / f"frames-{run}"
        if not (folder / "done").exists():
            folder.mkdir(parents=True, exist_ok=True)
            running[run] = start(context, device, folder)
    codes = {run: process.wait() for run, process in running.items()}
    if any(codes.values()):
        ended = ", ".join(f"{run} with {code}" for run, code in codes.items() if code)
        raise RuntimeError(f"fresh processes ended early: {ended}; log.txt has the reason")
    found: dict[str, dict[str, Frames | str]] = {}
    for run in wanted:
        folder = context.work / f"frames-{run}"
        found[run] = {path.stem: np.load(path, allow_pickle=False) for path in sorted(folder.glob("*.npy"))}
        found[run] |= {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.error"))}
    return found


def seconds_of(context: Context, run: str) -> dict[str, float]:
    """Seconds of each generation, the loading of its weights included."""
    lines = (context.work / f"frames-{run}" / "done").read_text(encoding="utf-8").splitlines()
    return {name: float(seconds) for name, seconds in (line.split() for line in lines)}


def main() -> None:
    """Generate."""
    parser = argparse.ArgumentParser()
    parser.add_argument("device")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    context = Context(options.device, options.small, options.folder)
    engine = context.engine()
    took = []
    chosen = recipes(options.small)
    for name in sorted(chosen, key=lambda name: repr(engine.load_key(chosen[name]))):
        began = time.perf_counter()
        try:
            np.save(options.folder / f"{name}.npy", engine.generate(chosen[name]))
        except Exception as error:  # the other recipes are generated all the same
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            (options.folder / f"{name}.error").write_text(reason, encoding="utf-8")
        took.append(f"{name} {time.perf_counter() - began}")
    (options.folder / "done").write_text("\n".join(took), encoding="utf-8")


if __name__ == "__main__":
    main()
