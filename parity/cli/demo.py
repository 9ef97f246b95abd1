"""`parity demo`: unpack a finished ai-toolkit job with its checkpoint, and say what to type next."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.errors import UsageError
from pipelines.files.words import cannot_write, did_you_mean, plural

_DEFAULT = "shapes_t2v"
_TOOLKIT = "0.12.26"
"""The ai-toolkit version that generated the previews; the demo's LoRA files do not all record it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoJob:
    """A job of the embedded demo."""

    folder: Path
    """Its folder below cases/jobs/, whose name `--job` takes."""
    checkpoint: Path
    """The folder that its config names."""
    title: str
    """The name in its config, after which ai-toolkit calls the output folder."""
    arch: str
    """As the config names it, e.g. wan21."""
    previews: int
    step: int
    """The step of the newest previews."""
    prompts: int
    """How many previews that step has."""
    size: int
    """Bytes of job and checkpoint."""

    @property
    def video(self) -> str:
        """What its videos look like."""
        trained = self.checkpoint.name.startswith("shapes")
        return "a shape moves across a landscape" if trained else "random weights, looks like noise"


def add(parsers: Any) -> None:
    """Add `parity demo`."""
    command = parsers.add_parser(
        "demo",
        help="unpack a finished ai-toolkit job to try everything on",
        description="Unpacks a job of the embedded demo as it would lie on your disk: output/JOB/ as ai-toolkit leaves "
        "it (config.yaml, samples/, LoRA files), and models/ with the tiny checkpoint that it was trained on. Then it "
        "prints the commands to follow. Nothing is downloaded, and no GPU is needed.",
        epilog="examples:\n  parity demo try\n  parity demo --list\n  parity demo try-wan22 --job wan22_i2v\n\n"
        "exit codes:\n  0  unpacked\n  2  bad usage, or DIR is not empty; nothing was written\n",
    )
    command.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="a new or empty folder")
    command.add_argument("--job", metavar="NAME", default=_DEFAULT, help=f"which job (default: {_DEFAULT}); see --list")
    command.add_argument("--list", action="store_true", help="list the jobs, write nothing")
    command.add_argument("--json", action="store_true", help="with --list: print the jobs as JSON")
    command.set_defaults(run=demo)


def demo(options: argparse.Namespace) -> int:
    """Unpack a job, or list the jobs."""
    if options.list:
        print(_listing(options.json))
        return 0
    if options.folder is None:
        raise UsageError("name a new folder, e.g.: parity demo try")
    if options.job not in _names():
        raise UsageError(f"unknown job {options.job!r}{did_you_mean(options.job, _names())}")
    job = _read(options.job)
    unpack(job, options.folder)
    print(_next(job, options.folder))
    return 0


def unpack(job: DemoJob, folder: Path) -> None:
    """Copy a job and its checkpoint into a new or empty folder, both or neither.

    The config names the checkpoint as `../../models/NAME`, which holds in the copy. Raises UsageError for a folder that
    has content or cannot be written.
    """
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            kind = "is not empty" if folder.is_dir() else "is a file"
            raise UsageError(f"{folder}: {kind}; name a new folder, nothing was written")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=".parity-demo-", dir=folder if folder.exists() else folder.parent
        ) as stage:
            whole = Path(stage) / "whole"
            shutil.copytree(job.folder, whole / "output" / job.title, copy_function=shutil.copyfile)
            shutil.copytree(job.checkpoint, whole / "models" / job.checkpoint.name, copy_function=shutil.copyfile)
            if not folder.exists():
                whole.replace(folder)
            else:
                for part in whole.iterdir():
                    part.replace(folder / part.name)
    except OSError as error:
        raise UsageError(cannot_write(folder, error)) from None


def _steps(job: DemoJob, folder: Path) -> tuple[tuple[tuple[str, ...], str], ...]:
    """The commands of the tutorial in their order, each with what it does."""
    cases = f"cases/{job.title}"
    first = f"{cases}/{job.title}-{job.step:09d}-0.yaml"
    some = ("--prompt", "0", "--prompt", "1") if job.prompts > 2 else ()  # without a GPU more take minutes
    which = "the first two prompts" if some else "each preview"
    return (
        (("cd", str(folder)), ""),
        (
            ("parity", "import", f"output/{job.title}", "--step", "last", *some, "--toolkit", _TOOLKIT),
            f"writes a case file for {which} of the last step",
        ),
        (
            ("parity", "run", cases),
            "generates what the inference server would, and compares: red, with the factors that drift",
        ),
        (("parity", "diagnose", first), "how much each factor matters, and what to change"),
        (("parity", "expect", cases), "if it may stay so: these factors are expected from now on"),
        (("parity", "run", cases), "green"),
        (("parity", "baseline", "accept", "--all"), "accept this output as the baseline"),
        (("parity", "run", cases, "--baselines", "baselines"), "green, until something changes"),
    )


def _next(job: DemoJob, folder: Path) -> str:
    steps = [f"  {_quoted(command)}" + (f"\n      {what}" if what else "") for command, what in _steps(job, folder)]
    return "\n".join(
        [
            f"{folder}: {_megabytes(job.size)}",
            f"  output/{job.title}: {plural(job.previews, 'preview')}, config, LoRA files: as ai-toolkit leaves them",
            f"  models/{job.checkpoint.name}: the checkpoint that config.yaml names",
            "next:",
            *steps,
        ]
    )


def _quoted(command: tuple[str, ...]) -> str:
    return subprocess.list2cmdline(command) if sys.platform == "win32" else shlex.join(command)


def _listing(as_json: bool) -> str:
    from parity.terminal.text import table

    jobs = [_read(name) for name in _names()]
    if as_json:
        rows = [
            {"job": job.folder.name, "arch": job.arch, "previews": job.previews, "bytes": job.size, "video": job.video}
            for job in jobs
        ]
        return json.dumps({"schema_version": 1, "jobs": rows}, indent=2)
    heading = ("job", "arch", "previews", "size", "video")
    cells = [(job.folder.name, job.arch, str(job.previews), _megabytes(job.size), job.video) for job in jobs]
    return table([heading, *cells], indent="")


def _names() -> list[str]:
    from parity.case.load import DEMO

    return sorted(path.parent.name for path in (DEMO / "jobs").glob("*/config.yaml"))


def _read(name: str) -> DemoJob:
    from parity.case.load import DEMO
    from pipelines.aitoolkit.job import read_job
    from pipelines.aitoolkit.job_folder import find_previews

    folder = DEMO / "jobs" / name
    job = read_job(folder / "config.yaml")
    checkpoint = (folder / job.checkpoint).resolve()
    previews, _ = find_previews(folder)
    step = previews[-1].name.step or 0
    return DemoJob(
        folder=folder,
        checkpoint=checkpoint,
        title=job.name,
        arch=str(job.arch),
        previews=len(previews),
        step=step,
        prompts=sum(preview.name.step == step for preview in previews),
        size=_size(folder) + _size(checkpoint),
    )


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
