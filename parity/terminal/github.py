"""Output for GitHub Actions: the job summary's file and the annotations."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TextIO

from parity.results.case import Run
from pipelines.errors import UsageError
from pipelines.files.shown import raw
from pipelines.files.words import cannot_write

_SUMMARY = "GITHUB_STEP_SUMMARY"


def in_github() -> bool:
    """Return whether this is a step of a job that can have a summary."""
    return os.environ.get("GITHUB_ACTIONS") == "true" and bool(os.environ.get(_SUMMARY))


def summary_file() -> Path:
    """The file that holds the step's summary. Raises UsageError outside GitHub Actions."""
    value = os.environ.get(_SUMMARY)
    if not value:
        raise UsageError(f"--github: {_SUMMARY} is not set (GitHub Actions sets it); elsewhere use --summary FILE")
    return Path(value)


def tell_github(run: Run, folder: Path, stream: TextIO) -> None:
    """Append the job summary to the step's own, and print annotations to `stream`, where GitHub reads them.

    `folder` is that of results.json. Raises UsageError if the summary cannot be written.
    """
    from reports.github import SUMMARY_LIMIT, summary, workflow_commands

    repository = workspace()
    for line in workflow_commands(run, workspace=repository):
        print(line, file=raw(stream), flush=True)
    path = summary_file()
    try:
        before = path.stat().st_size if path.exists() else 0
        text = summary(run, folder, workspace=repository, max_bytes=SUMMARY_LIMIT - before - 1)
        if text:
            with path.open("a", encoding="utf-8", newline="\n") as file:
                file.write(f"\n{text}" if before else text)
    except OSError as error:
        raise UsageError(cannot_write(f"{_SUMMARY}: {path}", error)) from None
    if not text:
        raise UsageError(f"{_SUMMARY}: {path}: this step's summary is full; nothing was added")


def workspace() -> Path | None:
    """The repository's folder on GitHub's runner; None elsewhere."""
    value = os.environ.get("GITHUB_WORKSPACE")
    return Path(value) if value else None
