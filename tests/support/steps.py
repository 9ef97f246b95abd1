"""The action's scripts, run as a step of a job runs them."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.paths import ROOT

SCRIPTS = ROOT / ".github" / "action"


@dataclass(frozen=True)
class Step:
    """What a script did."""

    code: int
    said: str
    outputs: dict[str, str]
    summary: str


@dataclass(frozen=True)
class Runner:
    """A folder in which the scripts are run as steps of a job."""

    folder: Path
    python: tuple[str, ...] = ()
    """What `parity` is run by in the scripts, if not by the environment's own."""

    def __call__(self, script: str, *arguments: str, **values: str) -> Step:
        programs = [Path(sys.executable).parent, os.environ["PATH"]]
        if self.python:
            program = self.folder / ".bin" / "parity"
            program.parent.mkdir(exist_ok=True)
            program.write_text(f'#!/bin/sh\nexec {shlex.join(self.python)} -m parity "$@"\n')
            program.chmod(0o755)
            programs.insert(0, program.parent)
        files = {name: self.folder / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        for path in files.values():
            path.write_text("")
        environment = {
            **os.environ,
            "PATH": ":".join(map(str, programs)),
            "PYTHONPATH": str(ROOT),
            "GITHUB_ACTIONS": "true",
            **{name: str(path) for name, path in files.items()},
        }
        done = subprocess.run(
            [sys.executable, str(SCRIPTS / script), *arguments],
            cwd=self.folder,
            env={**environment, **values},
            capture_output=True,
            text=True,
            check=False,
        )
        lines = files["GITHUB_OUTPUT"].read_text().splitlines()
        outputs = dict(line.split("=", 1) for line in lines)
        return Step(done.returncode, done.stdout + done.stderr, outputs, files["GITHUB_STEP_SUMMARY"].read_text())
