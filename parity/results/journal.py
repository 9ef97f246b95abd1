"""The newest cases of a run, a line each in a file beside its results.json, which is then not written anew for each.

So one more case of ten thousand costs what one of ten costs. The first line says which run the others belong to; a last
line without its end was being written when the process was killed, and its case was not finished.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from parity.results.case import CaseResult
from parity.results.json_text import case_from_json, case_to_json


def journal_of(results: Path) -> Path:
    """The journal of a results.json: results.jsonl."""
    return results.with_suffix(".jsonl")


def append(results: Path, started: str, case: CaseResult) -> None:
    """Add a case to the journal of the run that was `started` then. Raises OSError; then the journal is as before."""
    with journal_of(results).open("ab") as file:
        before = file.tell()
        line = case_to_json(case) + b"\n"
        try:
            file.write(line if before else json.dumps({"started": started}).encode() + b"\n" + line)
            file.flush()
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(before)
            raise


def read(results: Path, started: str, offset: int = 0) -> tuple[list[CaseResult], int]:
    """Read the cases of a journal from `offset` on, in the order in which they were kept, and where they end.

    There are none if there is no journal, or one of another run, which was killed before it could remove it.
    Raises OSError, and ValueError for a damaged line.
    """
    try:
        with journal_of(results).open("rb") as file:
            head = file.readline()
            if not head.endswith(b"\n") or _started(head) != started:
                return [], offset
            offset = max(offset, len(head))
            file.seek(offset)
            lines = file.read().split(b"\n")[:-1]
    except FileNotFoundError:
        return [], offset
    return [case_from_json(line) for line in lines], offset + sum(len(line) + 1 for line in lines)


def _started(head: bytes) -> str | None:
    try:
        return str(json.loads(head)["started"])
    except (ValueError, KeyError, TypeError):
        return None
