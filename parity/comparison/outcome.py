"""Results of a case: before anything was generated, of one that could not be run, was compared, or was cut short."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from parity.case.load import Case
from parity.comparison.compare import Comparison
from parity.factors.code import combined
from parity.factors.comfyui import comfy_advice
from parity.factors.findings import known_differences, limits_in_words
from parity.results.case import CaseResult, FileResult, FindingResult, Status, TargetResult
from parity.results.diagnosis import Diagnosis, Snippet, Thoroughness
from pipelines.files.shown import shown
from pipelines.recipe import Recipe, to_dict


def _yaml(case: Case) -> str | None:
    """The case file's text, without the request's Hub token."""
    try:
        text = case.path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    return text.replace(case.token, "…") if case.token else text


def blank_result(case: Case, status: Status, verdict: str, findings: tuple[FindingResult, ...]) -> CaseResult:
    """The result that the case file alone gives."""
    return CaseResult(
        id=case.id,
        status=status,
        verdict=verdict,
        model=case.preview.model,
        case_file=str(case.path),
        tags=case.tags,
        expect=case.expect,
        tolerance=case.tolerance,
        seconds_ratio=case.seconds_ratio,
        findings=findings,
        code=_code(case, findings),
        recipes={"preview": to_dict(case.preview), "inference": to_dict(case.inference)},
        case_yaml=_yaml(case),
        notes=(*limits_in_words(case), *case.preview.notes),
        target=None if case.target is None else TargetResult(url=case.target.url, arguments=case.target.arguments),
        comfyui=comfy_advice(case),
        file=None if case.output is None else FileResult(path=shown(case.output.as_posix())),
    )


def _code(case: Case, findings: Iterable[FindingResult]) -> Snippet | None:
    """The changes for all findings in one piece. What a server or ComfyUI does, no code of the user's can change."""
    if case.target is not None or case.comfyui is not None:
        return None
    return combined((finding.factor for finding in findings), case.preview)


def compared_result(
    case: Case,
    comparison: Comparison,
    judged: tuple[Status, str],
    findings: tuple[FindingResult, ...],
    notes: tuple[str, ...],
) -> CaseResult:
    """The result of a comparison. `notes` are about the generation. Artifacts and timings are added by the caller."""
    status, verdict = judged
    return dataclasses.replace(
        blank_result(case, status, verdict, findings),
        preview=comparison.preview,
        output=comparison.output,
        bit_identical=comparison.bit_identical,
        compared_as=comparison.compared_as,
        metrics=comparison.metrics,
        codec_floor=comparison.codec_floor,
        sigmas={"preview": _sigmas(case.preview), "inference": _sigmas(case.inference)},
        notes=(*limits_in_words(case), *case.preview.notes, *comparison.notes, *notes),
        error=verdict if status == "error" else None,
    )


def _sigmas(recipe: Recipe) -> tuple[float, ...]:
    return recipe.scheduler.sigmas(recipe.steps)


def result_without_output(case: Case, status: Status, reason: str) -> CaseResult:
    """The result of a case that could not be run, with the reason."""
    findings = known_differences(case)
    verdict = "cannot be reproduced" if status == "unpairable" else "could not be run"
    return dataclasses.replace(blank_result(case, status, f"{verdict}: {reason}", findings), error=reason)


def cut_short(case: Case, kept: CaseResult | None, reason: str, mode: Thoroughness | None) -> CaseResult:
    """The result of a case that something ended: an error, unless a comparison or a search was `kept`.

    Then that is the result, and its diagnosis, of this `mode`, or its search is what stopped, with the reason.
    One that was through already is left as it is, and the reason is a note.
    """
    if kept is None or (kept.output is None and kept.search is None):
        return result_without_output(case, "error", reason)
    own = kept.by_own_rules()
    search = own.search
    if search is not None and search.stopped == "interrupted":
        search = dataclasses.replace(search, stopped="error", notes=(*search.notes, reason))
        return dataclasses.replace(own, search=search)
    stopped, known = stopped_diagnosis(mode or "full", reason), own.diagnosis
    if known is not None and known.stopped != "interrupted":
        return dataclasses.replace(own, notes=(*own.notes, reason))
    if known is not None:
        stopped = dataclasses.replace(known, sentence=stopped.sentence, stopped="error", error=reason)
    return dataclasses.replace(own, diagnosis=stopped)


def ended_itself(kept: CaseResult) -> bool:
    """Return whether what is kept of a case says already what ended it: a process that hung wrote that last."""
    parts = (kept.diagnosis, kept.search)
    return kept.status == "error" or any(part is not None and part.stopped == "error" for part in parts)


def stopped_diagnosis(mode: Thoroughness, reason: str) -> Diagnosis:
    """The diagnosis of a case that was compared, when something kept it from finding out anything."""
    return Diagnosis(mode=mode, sentence=f"stopped: {reason}", explained=None, stopped="error", error=reason)
