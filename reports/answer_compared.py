"""A case's answer by the comparison alone: the settings that differ, not what each of them costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from parity.results.case import CaseResult, Evidence, FindingResult
from pipelines.files.words import capital, plural
from reports.answer_parts import BIT_FOR_BIT, Answer, changes, diagnose, differing, mean, named, subject
from reports.view import size_text

_UNVERIFIED: frozenset[Evidence] = frozenset(("likely", "expected"))


def compared(case: CaseResult) -> Answer:
    """Answer by the comparison: it shows the settings that differ, not what each of them costs."""
    who, findings = subject(case), case.findings
    if case.output is None:
        return _unseen(case)
    broken = next((item for item in findings if item.factor == "broken_output"), None)
    if broken is not None:
        side, what = (who, broken.inference) if broken.inference != "a video" else ("The preview", broken.preview)
        return Answer(sentence=f"{side} is broken: {what}.", more=capital(broken.note))
    settings = [item for item in findings if item.factor != "environment"]
    if case.status == "passed":
        return _listing(case, settings, _passed(case), title="Settings that differ")
    if case.status == "expected_drift":
        names = named(case.expect or [])
        sentence = f"{who} differs from the preview only in what the case expects: {names}."
        return _listing(case, settings, sentence, title="To match the preview all the same")
    other = shape(case)
    if not settings:
        missing = [factor for factor in case.expect or () if factor not in {item.factor for item in findings}]
        if case.bit_identical:
            also = f", but the case expects a difference in {named(missing)}" if missing else ""
            return Answer(sentence=f"{who} is {BIT_FOR_BIT}{also}.")
        note = next((item.note for item in findings), "")
        return Answer(sentence=other or f"No setting differs, yet the video does{mean(case)}.", more=capital(note))
    sentence = other or f"{who} differs from the preview{mean(case)}, and {differing(len(settings))}."
    found = _listing(case, settings, sentence, title="What to change")
    if other or case.diagnosis is not None:
        return found
    purpose = "To see whether that is the cause" if len(settings) == 1 else "To see what each of them costs"
    return replace(found, purpose=purpose, command=diagnose(case))


def _unseen(case: CaseResult) -> Answer:
    """Answer by the settings alone, where no video was compared."""
    count = len(case.findings)
    if not count:
        return Answer(sentence="No setting differs from the preview's; no video was compared.")
    sentence = f"{differing(count)} from the preview's; no video was compared."
    return _listing(case, case.findings, sentence, title="What to change")


def _listing(case: CaseResult, settings: Sequence[FindingResult], sentence: str, *, title: str) -> Answer:
    """List the settings that differ, and say how sure that is."""
    unsure = sum(item.evidence in _UNVERIFIED for item in settings)
    more = ""
    if unsure:
        some = "One of them is" if unsure == 1 else f"{unsure} of them are"
        which = some if unsure < len(settings) else "It is" if unsure == 1 else "They are"
        tried = any(item.evidence == "likely" for item in settings)
        more = f"{which} assumed{' or found by trying' if tried else ' from the profile'}, not verified."
    whole = case.code if len(settings) > 1 else None
    return Answer(
        sentence=sentence,
        more=more,
        title=title if settings else "",
        changes=changes(case, settings, whole),
        code=whole,
    )


def _passed(case: CaseResult) -> str:
    who = subject(case)
    if case.bit_identical:
        return f"{who} is {BIT_FOR_BIT}."
    if case.tolerance:
        return f"{who} matches the preview within the case's tolerance{mean(case)}."
    return f"{who} differs from the preview{mean(case)}; the case sets no limit."


def shape(case: CaseResult) -> str:
    """Say that the videos differ in size or length, so that no frame can be compared; empty: they do not."""
    preview, output = case.preview, case.output
    if preview is None or output is None:
        return ""
    who = subject(case)
    if preview.frames != output.frames:
        return f"{who} has {plural(output.frames, 'frame')}, the preview {preview.frames}."
    sizes = [size_text(video) for video in (output, preview)]
    return f"{who} is {sizes[0]} pixels, the preview {sizes[1]}." if sizes[0] != sizes[1] else ""
