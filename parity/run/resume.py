"""The decision whether a case of a resumed run must be run again."""

from __future__ import annotations

import json

from parity.case.load import Case
from parity.comparison.compare import read_preview, video_sha256
from parity.comparison.outcome import blank_result
from parity.results.case import CaseResult
from parity.run.task import Task
from pipelines.errors import ParityError
from pipelines.media.video import read_video


def still_holds(known: CaseResult, case: Case, task: Task) -> bool:
    """Return whether a result is finished, answers this task, and nothing it was made from has changed."""
    if known.status == "error" or not is_unchanged(known, blank_result(case, "passed", "", ())):
        return False
    if task.blocks or known.smoke is not None:
        return known.smoke is not None and known.smoke.blocks == task.blocks
    if known.preview is not None and known.preview.sha256 != _video_sha256(case):
        return False
    if known.file is not None and _output_sha256(case) != (known.output and known.output.sha256):
        return False
    if (
        known.file is None
        and known.status != "unpairable"
        and task.repeat is not None
        and _repeats(known) < task.repeat
    ):
        return False
    if task.search:
        subject = "preview" if case.output is None else "file"
        return known.search is not None and known.search.of == subject and known.search.stopped is None
    undiagnosed = task.only_drifted and known.status != "drifted"
    if task.diagnose is None or known.status == "unpairable" or undiagnosed:
        return known.search is None or known.search.of != "preview"
    if known.diagnosis is None:  # made elsewhere with settings that a search did not find
        return known.search is not None and known.search.of != "preview" and known.search.stopped is None
    stopped = known.diagnosis.stopped
    again = stopped == "interrupted" or (stopped == "error" and known.target is None)  # a server generates it anew
    return known.diagnosis.mode == task.diagnose and not again


def _repeats(known: CaseResult) -> int:
    """The number of generations of the request that were compared with each other."""
    return 0 if known.repeat is None else len(known.repeat.drawings)


def _video_sha256(case: Case) -> str | None:
    """The hash of the preview file as it is now; None if it cannot be read."""
    try:
        return video_sha256(case.video, lambda: read_preview(case.video, case.preview).frames)
    except (OSError, ParityError):
        return None


def _output_sha256(case: Case) -> str | None:
    """The hash of the case's `output` as it is now; None if it cannot be read."""
    path = case.output
    if path is None:
        return None
    try:
        return video_sha256(path, lambda: read_video(path).frames)
    except (OSError, ParityError):
        return None


def is_unchanged(known: CaseResult, now: CaseResult) -> bool:
    """Return whether a case still asks for the same: its file, its recipes, what it expects, its server or output."""
    return _inputs(known) == _inputs(now)


def _inputs(case: CaseResult) -> str:
    server = case.target.url if case.target is not None else None
    output = case.file.path if case.file is not None else None
    inputs = (case.model, case.case_yaml, case.tags, case.expect, dict(case.tolerance), case.recipes, server, output)
    return json.dumps(inputs, sort_keys=True, default=str)
