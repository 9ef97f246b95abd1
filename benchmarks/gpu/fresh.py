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

_running: dict[Path, subprocess.Popen[bytes]] = {}
"""The processes that were started, by their folders; a section may start one that another waits for."""


def start(context: Context, run: str, device: str) -> None:
    """Start such a process, unless it was; it belongs to the worker's group, so that it ends with it."""
    folder = _folder(context, run)
    if folder in _running or (folder / "done").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-P", "-m", "benchmarks.gpu.fresh", device, str(folder)]
    _running[folder] = subprocess.Popen([*command, "--small"] if context.small else command, cwd=ROOT)


def _folder(context: Context, run: str) -> Path:
    return context.work / f"frames-{run}"


def frames_of(context: Context, wanted: dict[str, str]) -> dict[str, dict[str, Frames | str]]:
    """The frames of each run by the names of the cases, or why there are none; runs of before are kept.

    `wanted` has a device for the name of each run. All that are missing are generated at the same time.
    """
    for run, device in wanted.items():
        start(context, run, device)
    for run in wanted:
        process = _running.pop(_folder(context, run), None)
        if process is not None and (code := process.wait()) != 0:
            raise RuntimeError(f"the fresh process of the {run} run ended with {code}; log.txt has the reason")
    found: dict[str, dict[str, Frames | str]] = {}
    for run in wanted:
        folder = _folder(context, run)
        found[run] = {path.stem: np.load(path, allow_pickle=False) for path in sorted(folder.glob("*.npy"))}
        found[run] |= {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.error"))}
    return found


def seconds_of(context: Context, run: str) -> dict[str, float]:
    """Seconds of each generation, the loading of its weights included."""
    lines = (_folder(context, run) / "done").read_text(encoding="utf-8").splitlines()
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
