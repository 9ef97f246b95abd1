"""Whether a case of a run that is resumed needs to be run again."""

from __future__ import annotations

import json
from dataclasses import dataclass

from parity.blank import blank_result
from parity.case import Case
from parity.compare import read_preview, video_sha256
from parity.result import CaseResult
from pipelines.errors import ParityError


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the run that goes on is asked to find out, as its options say it."""

    diagnosis: str | None
    only_drifted: bool
    search: bool
    repeat: int | None = None
    """How often each request is drawn."""


def still_holds(known: CaseResult, case: Case, wanted: Wanted) -> bool:
    """Whether a result is finished, says what is wanted, and nothing it was made from has changed."""
    if known.status == "error" or not is_unchanged(known, blank_result(case, "passed", "", ())):
        return False
    if known.preview is not None and known.preview.sha256 != _video_sha256(case):
        return False
    if known.status != "unpairable" and wanted.repeat is not None and _drawings(known) < wanted.repeat:
        return False
    if wanted.search:
        return known.search is not None and known.search.of == "preview" and known.search.stopped is None
    undiagnosed = wanted.only_drifted and known.status != "drifted"
    if wanted.diagnosis is None or known.status == "unpairable" or undiagnosed:
        return known.search is None or known.search.of == "server"
    if known.diagnosis is None:  # a server's, of which a search found nothing to diagnose
        return known.search is not None and known.search.of == "server" and known.search.stopped is None
    return known.diagnosis.mode == wanted.diagnosis and known.diagnosis.stopped != "interrupted"


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
