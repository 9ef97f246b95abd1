"""Runs killed at random moments: nothing finished may be lost, torn or run again.

    python -m tests.kills --times 50

Draws a few tiny cases undisturbed, then again and again in a process that is killed (SIGKILL) at a random moment, and
continued with `--resume`, half of them with `--isolate`. Says what was checked, and what failed; exit code 1 then.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

import parity.cli.main
from parity.results.case import Run
from parity.results.json_text import from_json
from parity.run.cache import Cache
from pipelines.files.digests import sha256_file
from tests.conftest import CaseFiles
from tests.support.paths import ROOT

DONE = ("ok  ", "DRIFTED  ")
"""The start of the line about a finished case."""
FRAMES = (1, 5, 9, 5, 1)
"""The number of cases, each with its own seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One kill."""

    finished: int
    """The cases in results.json at the time of the kill."""
    wrong: tuple[str, ...]


class Kills:
    """Cases in a folder, and their frames when nothing is killed."""

    def __init__(self, folder: Path, frames: Sequence[int] = FRAMES, python: Sequence[str] = (sys.executable,)) -> None:
        self._python = python
        self.folder = folder
        self.cases = folder / "cases"
        self.cases.mkdir()
        files = CaseFiles(self.cases)
        for number, count in enumerate(frames):
            request = files.request(sample_steps=2, num_frames=count, width=64, height=64, seed=number)
            files.write(f"case-{number}", request=request, expect=None)
        self.said = ""
        """The output of the run that finished last."""
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            parity.cli.main.main(self._arguments("undisturbed", "--no-cache"))  # here, where nothing kills it
        undisturbed = read(self.folder / "undisturbed")
        assert undisturbed is not None
        assert undisturbed.finished is not None
        self.undisturbed = undisturbed
        first, *others = (case.timings["total"] for case in self.undisturbed.cases)
        self.first, self.later = first, max(others, default=first)
        """The seconds of the first case, which loads the weights, and of the slowest other one."""

    def kill(self, name: str, *, after: int, delay: float, cached: bool, isolated: bool = False) -> Outcome:
        """Start a run, kill it `delay` seconds after it said that `after` cases are done, look, continue it, look."""
        options = (*(() if cached else ("--no-cache",)), *(("--isolate",) if isolated else ()))
        process = self._start(name, *options)
        assert process.stderr is not None
        out = self.folder / name
        while process.poll() is None and not (out / "results.json").exists():
            time.sleep(0.01)
        for line in process.stderr if after else ():
            after -= line.startswith(DONE)
            if not after:
                break
        time.sleep(delay)
        process.kill()
        process.communicate()
        wrong = [f"after the kill: {fault}" for fault in torn(out)]
        wrong += [f"cache: {path.name} is torn" for path in torn_cache(self.folder / f"cache-{name}")]
        left = read(out)
        assert left is not None
        before = stamps(out, left)
        run = self._finish(self._start(name, *options, "--resume"), name)
        said = self.said
        wrong += [f"at the end: {fault}" for fault in torn(out)]
        kept = set(re.findall(r"^[A-Za-z]+  (\S+)  .*  finished before --resume$", said, re.MULTILINE))
        finished = {case.id for case in left.cases}
        if kept != finished:
            wrong.append(f"finished {sorted(finished)}, kept {sorted(kept)}")
        if stamps(out, left) != before:
            wrong.append("what was finished was written again")
        if hashes(run) != hashes(self.undisturbed):
            wrong.append(f"other videos than undisturbed: {hashes(run)}")
        shutil.rmtree(out)
        return Outcome(finished=len(finished), wrong=tuple(wrong))

    def _arguments(self, name: str, *options: str) -> list[str]:
        return ["run", str(self.cases), "--out", str(self.folder / name), *options]

    def _start(self, name: str, *options: str) -> subprocess.Popen[str]:
        command = [*self._python, "-m", "parity", *self._arguments(name, *options)]
        environment = os.environ | {"WAN_PARITY_CACHE": str(self.folder / f"cache-{name}"), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def _finish(self, process: subprocess.Popen[str], name: str) -> Run:
        _, self.said = process.communicate()
        run = read(self.folder / name)
        if process.returncode not in (0, 1) or run is None or run.finished is None:
            raise RuntimeError(f"{name}: exit code {process.returncode}\n{self.said}")
        return run


def read(out: Path) -> Run | None:
    """results.json; None if the run was killed before it was there."""
    path = out / "results.json"
    return from_json(path.read_text(encoding="utf-8")) if path.exists() else None


def hashes(run: Run) -> Mapping[str, tuple[str | None, str] | None]:
    """Raw frames and file of each case."""
    return {case.id: (case.output.raw_sha256, case.output.sha256) if case.output else None for case in run.cases}


def stamps(out: Path, run: Run | None) -> dict[str, int]:
    """The modification times of the artifacts of the run's cases."""
    folders = [out / "artifacts" / case.id for case in run.cases] if run is not None else []
    return {str(path): path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*") if path.is_file()}


def torn(out: Path) -> list[str]:
    """List incomplete files; hidden ones are not results."""
    try:
        run = read(out)
    except ValueError as error:
        return [f"results.json: {error}"]
    faults = []
    for case in run.cases if run is not None else ():
        output = out / case.artifacts["output"]
        if case.output is None or not output.exists() or sha256_file(output) != case.output.sha256:
            faults.append(f"{case.id}: its output is not the one in results.json")
        if (
            case.output is not None
            and len(list((out / case.artifacts["output_frames"]).iterdir())) != case.output.frames
        ):
            faults.append(f"{case.id}: stills are missing")
        for trial in case.diagnosis.trials().values() if case.diagnosis is not None else ():
            if trial.stills is None or not any((out / trial.stills).glob("*.webp")):
                faults.append(f"{case.id}: stills of its diagnosis are missing")
    visible = (path for path in out.rglob("*") if not any(part.startswith(".") for part in path.relative_to(out).parts))
    for path in visible:
        if path.suffix == ".webp" and not _is_whole_image(path):
            faults.append(f"{path.relative_to(out)} is cut off")
        if path.suffix == ".html" and not path.read_text(encoding="utf-8").rstrip().endswith("</html>"):
            faults.append(f"{path.name} is cut off")
    return faults


def _is_whole_image(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            for frame in range(getattr(image, "n_frames", 1)):
                image.seek(frame)
                image.load()
    except (OSError, EOFError, ValueError):
        return False
    return True


def torn_cache(root: Path) -> list[Path]:
    """List corrupt entries, which `find` would remove."""
    cache = Cache(root)
    return [kept.folder for kept in cache.entries() if cache.find(kept.entry.key) is None]


def main() -> int:
    """Print what happened; 1 if anything was lost or torn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as temporary:
        kills = Kills(Path(temporary))
        print(f"undisturbed: {kills.first:.1f} s for the first case, up to {kills.later:.1f} s for others", flush=True)
        outcomes = []
        for number in range(options.times):
            after = chance.randrange(len(FRAMES) + 1)
            delay = chance.uniform(0, kills.later if after else kills.first)
            cached, isolated = number % 2 == 0, number % 4 >= 2
            outcome = kills.kill(f"run-{number}", after=after, delay=delay, cached=cached, isolated=isolated)
            outcomes.append(outcome)
            when = f"killed {delay:.2f} s after case {after}, {outcome.finished} finished"
            when += ", isolated" if isolated else ""
            print(f"{number + 1:3} {when}: {'; '.join(outcome.wrong) or 'ok'}", flush=True)
    spread = Counter(outcome.finished for outcome in outcomes)
    print("cases finished when killed, and how often:", dict(sorted(spread.items())))
    failed = sum(bool(outcome.wrong) for outcome in outcomes)
    print(f"{len(outcomes)} kills, {failed} with losses")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
