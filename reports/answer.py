"""A case's answer: what happened, what to change and the pictures that prove it, in a reader's words, without markup.

It claims no more than the results hold: what a factor costs is only said where a diagnosis measured it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from parity.results.case import CaseResult, VideoResult
from parity.results.diagnosis import Closeness, Diagnosis
from parity.results.frames import worst_frame
from parity.results.smoke import NOT_A_COMPARISON
from parity.results.words import decibels, factor_name
from pipelines.files.words import capital, plural
from reports.answer_compared import compared, shape
from reports.answer_diagnosed import diagnosed, searched
from reports.answer_parts import Answer, Change, Picture, named, sentences
from reports.baseline_view import reasons
from reports.view import size_text

_FIGURES = re.compile(r" \((?:PSNR|SSIM|bit-identical|not comparable).*\)$", re.DOTALL)
"""What a verdict adds to the rule that decided."""


def answer(case: CaseResult) -> Answer:
    """Return the best answer that the results allow."""
    found = _by_own_rules(case.by_own_rules())
    if case.smoke is not None:
        found = replace(found, more=capital(case.verdict.removeprefix(f"{NOT_A_COMPARISON}: ")))
    elif case.baseline is not None and (sentence := _against_baseline(case)):
        found = replace(found, sentence=sentence, more=sentences(found.sentence, found.more))
        found = _what_is_new(case, found)
    return replace(found, rule=_rule(case), frame=worst_frame(case) or 0, pictures=_pictures(case, found.changes))


def _rule(case: CaseResult) -> str:
    """Return the rule that failed the case, without the figures that follow it.

    Empty: none did, as where no video was compared; or `error` says it, or what is said of the baseline.
    """
    said = case.output is None or (case.baseline is not None and case.baseline.failed)
    return _FIGURES.sub("", case.verdict) if case.status == "drifted" and not said else ""


def _by_own_rules(case: CaseResult) -> Answer:
    """Answer by the case's own rules, against the preview."""
    if case.smoke is not None:
        return Answer(sentence=f"{capital(NOT_A_COMPARISON)}: {case.smoke.extent}.")
    if case.status == "unpairable":
        return Answer(sentence="The preview cannot be reproduced, so nothing was compared.", more=_reason(case))
    if case.status == "error":
        return Answer(sentence="The case could not be run.")
    if case.diagnosis is not None and (found := diagnosed(case, case.diagnosis)) is not None:
        return found
    if case.search is not None and case.search.of == "preview":
        return searched(case.search)
    return compared(case)


def _reason(case: CaseResult) -> str:
    return capital(case.error or "")


# ---- Baselines ----


def _against_baseline(case: CaseResult) -> str:
    """Say what became of the accepted output; empty: there is none, and none is needed."""
    check = case.baseline
    if check is None:
        return ""
    day = f" on {check.accepted_at[:10]}" if check.accepted_at else ""
    cause = f": {reasons(check.problems)[0]}" if check.problems else ""
    return {
        "holds": f"Unchanged since it was accepted{day}.",
        "improved": f"Closer to the preview than what was accepted{day}.",
        "changed": f"Changed since it was accepted{day}{cause}.",
        "worse": f"Further from the preview than what was accepted{day}.",
        "no_baseline": "Never accepted, so there is nothing to check it against.",
        "not_run": "There is no output to check against the baseline.",
        "unpairable": "",
    }[check.outcome]


def _what_is_new(case: CaseResult, found: Answer) -> Answer:
    """Keep only the settings that differ since the output was accepted: those that it was accepted with may stay."""
    check = case.baseline
    accepted = check.accepted_factors if check is not None else None
    if accepted is None or case.diagnosis is not None:
        return found
    new = [change for change in found.changes if change.factor not in accepted]
    if not new or len(new) == len(found.changes):
        return found
    known = {item.factor: item.code for item in case.findings}
    kept = capital(named([change.factor for change in found.changes if change.factor in accepted]))
    verb = "was" if len(found.changes) - len(new) == 1 else "were"
    return replace(
        found,
        more=f"{found.more} {kept} {verb} accepted.",
        title="What to change back",
        changes=tuple(replace(change, code=known.get(change.factor)) for change in new),
        code=None,
    )


# ---- Pictures ----


def _pictures(case: CaseResult, changes: Sequence[Change]) -> tuple[Picture, ...]:
    """Choose preview, output, and what proves the answer: the video with a fix if one was generated, or the difference.

    None where both are the same: the viewer shows them.
    """
    if case.preview is None or case.output is None or case.bit_identical:
        return ()
    diagnosis = case.diagnosis
    fixed = [] if diagnosis is None or diagnosis.mode == "quick" else _fixed(diagnosis, changes)
    title = "The file" if case.file is not None else "As requested" if fixed else "Output"
    other = shape(case)
    pictures = [
        Picture(side="preview", title="Preview", caption=_extent(case.preview) if other else "from ai-toolkit"),
        Picture(side="output", title=title, caption=_extent(case.output) if other else _psnr(case)),
        *fixed,
    ]
    if not fixed and not other:
        pictures.append(Picture(side="difference", title="Difference", caption=""))
    return tuple(pictures)


def _fixed(diagnosis: Diagnosis, changes: Sequence[Change]) -> list[Picture]:
    """Choose the videos with the factor that matters most fixed, and with all of them."""
    wanted = [change.factor for change in changes]
    costs = [cost for cost in diagnosis.factors if cost.factor in wanted]
    found = []
    if costs and costs[0].gain is not None:
        first = costs[0].gain.to_preview
        title = f"With {factor_name(costs[0].factor)} changed" + (" only" if len(costs) > 1 else "")
        found.append(Picture(side=f"gain:{costs[0].factor}", title=title, caption=_closeness(first)))
    if len(costs) != 1 and wanted and diagnosis.preview_recipe is not None:
        whole = _closeness(diagnosis.preview_recipe.to_preview)
        found.append(Picture(side="recipe", title="With all changes", caption=whole))
    return found


def _extent(video: VideoResult) -> str:
    return f"{plural(video.frames, 'frame')}, {size_text(video)}"


def _psnr(case: CaseResult) -> str:
    metric = case.metrics.get("psnr")
    if metric is None or metric.unavailable is not None:
        return "not comparable"
    return f"PSNR {decibels(metric.mean)}, whole video"


def _closeness(found: Closeness) -> str:
    if found.identical:
        return "identical, bit for bit"
    if found.psnr is None:
        return found.unavailable or "not comparable"
    return f"PSNR {decibels(found.psnr)}, whole video"
