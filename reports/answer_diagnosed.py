"""A case's answer by a diagnosis or a search: which settings matter, and what changing them achieves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from parity.results.case import CaseResult
from parity.results.diagnosis import Diagnosis, FactorCost, Search
from parity.results.words import decibels, factor_name
from pipelines.files.words import capital, plural
from reports.answer_compared import compared
from reports.answer_parts import (
    BIT_FOR_BIT,
    STOPPED,
    Answer,
    changes,
    diagnose,
    differing,
    ended,
    figures,
    named,
    sentences,
    subject,
)


def diagnosed(case: CaseResult, diagnosis: Diagnosis) -> Answer | None:
    """Answer by a diagnosis; None if it found nothing that the comparison does not say better."""
    if diagnosis.mode == "quick":
        return _quick(case, diagnosis)
    if diagnosis.explained is None or diagnosis.preview_recipe is None:
        found = compared(case)
        why = f"The diagnosis stopped early: {STOPPED[diagnosis.stopped]}." if diagnosis.stopped else ""
        return replace(found, more=why or "The diagnosis did not find out why.")
    if not diagnosis.factors:
        if diagnosis.explained:
            return Answer(sentence=f"{subject(case)} is {BIT_FOR_BIT}.")
        return Answer(
            sentence=f"No setting differs, yet the video does{figures(diagnosis.residue)}.",
            more="The cause lies outside the settings.",
            causes=diagnosis.outside,
        )
    needed = _needed(diagnosis)
    effect, causes = _effect(diagnosis, len(needed))
    if not needed:
        sentence = f"The settings differ in {named([cost.factor for cost in diagnosis.factors])}, to no effect."
    else:
        sentence = _culprits(case, diagnosis, needed)
    incomparable = diagnosis.residue is not None and diagnosis.residue.unavailable is not None
    search = incomparable and not case.made_elsewhere
    return Answer(
        sentence=sentence,
        more=sentences(effect, ended(diagnosis.stopped)),
        title=_title(needed, diagnosis),
        changes=changes(case, needed, diagnosis.code),
        code=diagnosis.code,
        causes=causes,
        purpose="To look for the settings that generated this preview" if search else "",
        command=diagnose(case, "--search") if search else "",
    )


def _needed(diagnosis: Diagnosis) -> list[FactorCost]:
    """The factors to change: the smallest set, or all that differ while that is not known."""
    wanted = diagnosis.smallest_set
    return [cost for cost in diagnosis.factors if wanted is None or cost.factor in wanted]


def _culprits(case: CaseResult, diagnosis: Diagnosis, needed: Sequence[FactorCost]) -> str:
    """Name the settings that make the videos differ, and the one that matters most, as far as that was measured."""
    total, first = len(diagnosis.factors), diagnosis.factors[0]
    known = diagnosis.smallest_set is not None
    if known and len(needed) == 1:
        only = f"{subject(case)} differs from the preview because of one setting: {factor_name(needed[0].factor)}."
        spared = [cost.factor for cost in diagnosis.factors if cost is not needed[0]]
        verbs = ("differs", "needs") if len(spared) == 1 else ("differ", "need")
        also = f" {capital(named(spared))} {verbs[0]} too, but {verbs[1]} no change." if spared else ""
        return only + also
    most = first.rank is not None and first.level in ("visible", "frames do not pair")
    ranked = f"; {factor_name(first.factor)} matters most" if most and total > 1 else ""
    if not known:  # some of them may have no effect
        return f"{subject(case)} differs from the preview, and {differing(total)}{ranked}."
    return f"{plural(len(needed), 'setting')} make the video differ from the preview{ranked}."


def _effect(diagnosis: Diagnosis, count: int) -> tuple[str, tuple[str, ...]]:
    """Say what the changes achieve, and return the possible causes of what they leave."""
    known = diagnosis.smallest_set is not None
    those = "With the change below" if count == 1 else "With the changes below"
    if not known:
        those = "With all of the preview's settings"
    if not count:
        those = "As requested"
    if diagnosis.explained:
        return f"{those} it is {BIT_FOR_BIT}.", ()
    left = diagnosis.residue
    if left is None or left.unavailable is not None:
        reason = f": {left.unavailable}" if left is not None and left.unavailable else ""
        return f"Even the preview's own settings do not give a video to compare it with{reason}.", diagnosis.outside
    before = diagnosis.as_is.to_preview.psnr if diagnosis.as_is is not None else None
    reach = f"reaches {decibels(left.psnr, 1)} PSNR" + (f", from {decibels(before, 1)}" if before is not None else "")
    if not count:
        reach = f"stays at {decibels(left.psnr, 1)} PSNR"
    return f"{those} it {reach}; what remains has other causes.", diagnosis.outside


def _title(needed: Sequence[FactorCost], diagnosis: Diagnosis) -> str:
    if not needed:
        return ""
    return "What to change" if diagnosis.smallest_set is not None else "What to change: all settings that differ"


def _quick(case: CaseResult, diagnosis: Diagnosis) -> Answer:
    """Answer by the latents of a few steps, which tell the factor to look at first."""
    ranked = [cost for cost in diagnosis.factors if cost.rank is not None]
    found = compared(case)
    more = sentences(ended(diagnosis.stopped), "A quick diagnosis generates no whole video.")
    if not ranked:
        return replace(found, more=more)
    first = ranked[0]
    return replace(
        found,
        sentence=f"Look at {factor_name(first.factor)} first: of {plural(len(diagnosis.factors), 'setting')} that "
        f"{'differs' if len(diagnosis.factors) == 1 else 'differ'} it changes the generation most.",
        more=more,
        changes=changes(case, diagnosis.factors, diagnosis.code),
        title="What to change: all settings that differ",
        code=diagnosis.code,
        purpose="To see what each of them costs in pixels",
        command=diagnose(case),
    )


def searched(search: Search) -> Answer:
    """Answer by a search, which tried the settings that may have generated the preview."""
    changed = [item for item in search.settings if item.changed]
    others = ", ".join(f"{factor_name(item.name)} {item.found} (not {item.assumed})" for item in changed)
    others = others or "the settings that its config says"
    if search.verdict == "proven":
        sentence, more = f"The preview was generated with {others}.", "Proven: that video is the preview, bit for bit."
    elif search.verdict == "likely":
        sentence = f"The preview was most likely generated with {others}."
        more = f"That video is as close as another machine's rounding lets it be{figures(search.best)}."
    else:
        sentence = "None of the settings tried gives the preview."
        more = f"The closest: {others}{figures(search.best)}." if search.best.psnr is not None else ""
    return Answer(sentence=sentence, more=sentences(more, ended(search.stopped)))
