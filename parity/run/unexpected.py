"""Exceptions that nobody foresaw: one line for the user, the traceback in a file for the bug report."""

from __future__ import annotations

import tempfile
import traceback
from pathlib import Path

from pipelines.errors import UnexpectedError
from pipelines.files.content import write_atomically
from pipelines.files.words import words_of


def unexpected(error: Exception, file: Path, secret: str | None = None) -> UnexpectedError:
    """Write the traceback of `error` into `file`, and return what the user is told. `secret` is left out of both."""
    cause = error.cause if isinstance(error, UnexpectedError) else error
    said = str(error) if isinstance(error, UnexpectedError) else words_of(error)
    text = "".join(traceback.format_exception(cause))
    if secret:
        said, text = said.replace(secret, "…"), text.replace(secret, "…")
    try:
        write_atomically(file, text.encode())
        where = f"the traceback is in {file}"
    except OSError:
        where = "the traceback could not be written"
    report = "please report it to the project with that and the output of `parity doctor --json`"
    return UnexpectedError(f"{said}; not foreseen: {where}; {report}", cause)


def outside_a_run() -> Path:
    """The file for a traceback of a command that has no output folder."""
    return Path(tempfile.mkdtemp(prefix="wan-parity-")) / "traceback.txt"
