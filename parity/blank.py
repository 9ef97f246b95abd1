"""A case's result before anything was drawn, and of a case that could not be."""

from __future__ import annotations

import dataclasses

from parity.case import Case
from parity.findings import find_differences
from parity.result import CaseResult, FindingResult, Status
from pipelines.recipe import to_dict


def _yaml(case: Case) -> str | None:
    """The case file's text, without the request's Hub token."""
    try:
        text = case.path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    return text.replace(case.token, "…") if case.token else text


def blank_result(case: Case, status: Status, verdict: str, findings: tuple[FindingResult, ...]) -> CaseResult:
    """What the case file alone says."""
    return CaseResult(
        id=case.id,
        status=status,
        verdict=verdict,
        model=case.preview.model,
        case_file=str(case.path),
        tags=case.tags,
        expect=case.expect,
        tolerance=case.tolerance,
        findings=findings,
        recipes={"preview": to_dict(case.preview), "inference": to_dict(case.inference)},
        case_yaml=_yaml(case),
        notes=case.preview.notes,
    )


def result_without_drawing(case: Case, status: Status, reason: str) -> CaseResult:
    """Of a case that could not be run, and why."""
    findings = find_differences(case.preview, case.inference)
    verb = "nobody can repeat this preview" if status == "unpairable" else "could not be run"
    return dataclasses.replace(blank_result(case, status, f"{verb}: {reason}", findings), error=reason)
