"""The process that measures: it reads the number of a section from stdin and answers with lines of JSON on stdout.

Sections share it, because importing torch and starting CUDA takes many seconds; one that fails leaves the others alone,
and after a GPU error the process ends, so that the next one gets a fresh one.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from benchmarks.gpu.context import Context, LeftOutError
from benchmarks.gpu.measure import release, synchronize
from benchmarks.gpu.plan import SECTIONS
from pipelines.files.words import shorten


def main() -> None:
    """Measure the sections whose numbers arrive, until stdin is closed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("device")
    parser.add_argument("work", type=Path)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print must not mix with the answers

    def answer(**message: Any) -> None:
        answers.write(json.dumps(message) + "\n")

    importlib.import_module("pipelines.engine")  # which chooses the CPU's kernels before torch is imported
    context = Context(options.device, options.small, options.work)
    for line in sys.stdin:
        module, _, name = SECTIONS[int(line)].function.partition(":")
        try:
            for row in getattr(importlib.import_module(f"benchmarks.gpu.{module}"), name)(context):
                answer(row=dataclasses.asdict(row))
        except LeftOutError as reason:
            answer(end="left out", reason=str(reason))
        except Exception as error:  # whatever it is, the other sections are measured
            traceback.print_exc()
            answer(end="failed", reason=shorten(f"{type(error).__name__}: {' '.join(str(error).split())}", 300))
            if not _recovers(options.device):
                sys.exit(3)
        else:
            answer(end="done", reason="")
        release()


def _recovers(device: str) -> bool:
    """False if the device answers nothing any more, as after an illegal access."""
    try:
        from pipelines.engine.torch_setup import pick_device

        synchronize(pick_device(device))
    except Exception:
        return False
    return True


if __name__ == "__main__":
    main()
