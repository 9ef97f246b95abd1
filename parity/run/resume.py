"""Whether a case of a run that is resumed needs to be run again."""

from __future__ import annotations

import json

from parity.case.load import Case
from parity.comparison.compare import read_preview, video_sha256
from parity.comparison.outcome import blank_result
from parity.results.case import CaseResult
from parity.run.task import Task
from pipelines.errors import ParityError


def still_holds(known: CaseResult, case: Case, task: Task) -> bool:
    """Whether a result is finished, says what is asked, and nothing it was made from has changed."""
    if known.status == "error" or not is_unchanged(known, blank_result(case, "passed", "", ())):
        return False
    if known.preview is not None and known.preview.sha256 != _video_sha256(case):
        return False
    if known.status != "unpairable" and task.repeat is not None and _drawings(known) < task.repeat:
        return False
    if task.search:
        return known.search is not None and known.search.of == "preview" and known.search.stopped is None
    undiagnosed = task.only_drifted and known.status != "drifted"
    if task.diagnose is None or known.status == "unpairable" or undiagnosed:
        return known.search is None or known.search.of == "server"
    if known.diagnosis is None:  # a server's, of which a search found nothing to diagnose
        return known.search is not None and known.search.of == "server" and known.search.stopped is None
    return known.diagnosis.mode == task.diagnose and known.diagnosis.stopped != "interrupted"


def _drawings(known: CaseResult) -> int:
    """How many of one request were compared with each other."""
    return 0 if known.repeat is None else len(known.repeat.drawings)


def _video_sha256(case: Case) -> str | None:
    """Of the preview as it is now; None if it cannot be read."""
    try:
        return video_sha256(case.video, lambda: read_preview(case.video, case.preview).frames)
    except (OSError, ParityError):
        return None


def is_unchanged(known: CaseResult, now: CaseResult) -> bool:
    """Whether a case that was run before says the same today: its file, its recipes, what it expects, who draws it."""
    return _asked(known) == _asked(now)


def _asked(case: CaseResult) -> str:
    where = case.target.url if case.target is not None else None
    asked = (case.model, case.case_yaml, case.tags, case.expect, dict(case.tolerance), case.recipes, where)
    return json.dumps(asked, sort_keys=True, default=str)
