"""A case's answer: what happened, what to change and the pictures that prove it, in a reader's words, without markup.

It claims no more than the results hold: what a factor costs is only said where a diagnosis measured it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from parity.results.case import CaseResult, Evidence, FindingResult, VideoResult
from parity.results.diagnosis import Closeness, Diagnosis, FactorCost, Search, Snippet, Stopped
from parity.results.frames import worst_frame
from parity.results.words import decibels, factor_name
from pipelines.files.words import plural, shorten
from reports.view import EVIDENCE, tidy

STOPPED: dict[Stopped, str] = {
    "explained": "nothing more was needed",
    "budget": "the budget was spent",
    "interrupted": "interrupted",
    "error": "an error",
}
"""Why a diagnosis or a search stopped early."""
_UNVERIFIED: frozenset[Evidence] = frozenset(("likely", "expected"))
_LONGEST = 200
"""Characters of a value; prompts are longer, and the settings below show them whole."""
_FIGURES = re.compile(r" \((?:PSNR|SSIM|bit-identical|not comparable).*\)$", re.DOTALL)
"""What a verdict adds to the rule that decided."""
_BIT_FOR_BIT = "identical to the preview, bit for bit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One setting that differs from the preview's."""

    factor: str
    name: str
    """The factor as people write it."""
    preview: str
    request: str
    fix: str
    """The change in words; empty: none is known, or `code` says it."""
    code: Snippet | None
    """The change as code, unless one piece of code makes all changes."""
    evidence: str = ""
    """How it is known that a server differs in it; empty: it was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One frame beside others."""

    side: str
    """The side whose still it is, as reports/stills.py names it; `difference` is that of preview and output."""
    title: str
    caption: str
    """Its closeness to the preview."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a reader must know of a case."""

    sentence: str
    """What happened, and what matters most."""
    more: str = ""
    """What a change achieves, or what else there is to say."""
    rule: str = ""
    """Why that fails the case; empty: it does not."""
    title: str = ""
    """The heading of the changes."""
    changes: tuple[Change, ...] = ()
    code: Snippet | None = None
    """All changes as one piece of code."""
    causes: tuple[str, ...] = ()
    """Possible causes of what no change explains."""
    purpose: str = ""
    """What `command` is for."""
    command: str = ""
    """What to type to know more."""
    frame: int = 0
    """The frame in the pictures: the one that differs most."""
    pictures: tuple[Picture, ...] = ()


def answer(case: CaseResult) -> Answer:
    """The best answer that the results allow."""
    found = _by_own_rules(case.by_own_rules())
    if case.baseline is not None and (sentence := _against_baseline(case)):
        found = replace(found, sentence=sentence, more=" ".join(filter(None, (found.sentence, found.more))))
        found = _what_is_new(case, found)
    return replace(found, rule=_rule(case), frame=worst_frame(case) or 0, pictures=_pictures(case, found.changes))


def _rule(case: CaseResult) -> str:
    """The rule that failed the case, without the figures that follow it.

    Empty: none did, as where no video was compared; or `error` says it, or what is said of the baseline.
    """
    said = case.output is None or (case.baseline is not None and case.baseline.failed)
    return _FIGURES.sub("", case.verdict) if case.status == "drifted" and not said else ""


def _by_own_rules(case: CaseResult) -> Answer:
    """The answer against the preview."""
    if case.status == "unpairable":
        return Answer(sentence="The preview cannot be reproduced, so nothing was compared.", more=_reason(case))
    if case.status == "error":
        return Answer(sentence="The case could not be run.")
    if case.diagnosis is not None and (found := _diagnosed(case, case.diagnosis)) is not None:
        return found
    if case.search is not None and case.search.of == "preview":
        return _searched(case.search)
    return _compared(case)


def _reason(case: CaseResult) -> str:
    return _capital(case.error or "")


# ---- A diagnosis ----


def _diagnosed(case: CaseResult, diagnosis: Diagnosis) -> Answer | None:
    """What a diagnosis found; None: nothing that the comparison does not say better."""
    if diagnosis.mode == "quick":
        return _quick(case, diagnosis)
    if diagnosis.explained is None or diagnosis.preview_recipe is None:
        found = _compared(case)
        why = f"The diagnosis stopped early: {STOPPED[diagnosis.stopped]}." if diagnosis.stopped else ""
        return replace(found, more=why or "The diagnosis did not find out why.")
    if not diagnosis.factors:
        if diagnosis.explained:
            return Answer(sentence=f"{_subject(case)} is {_BIT_FOR_BIT}.")
        return Answer(
            sentence=f"No setting differs, yet the video does{_figures(diagnosis.residue)}.",
            more="The cause lies outside the settings.",
            causes=diagnosis.outside,
        )
    needed = _needed(diagnosis)
    effect, causes = _effect(diagnosis, len(needed))
    if not needed:
        sentence = f"The settings differ in {_listed([cost.factor for cost in diagnosis.factors])}, to no effect."
    else:
        sentence = _culprits(case, diagnosis, needed)
    incomparable = diagnosis.residue is not None and diagnosis.residue.unavailable is not None
    search = incomparable and case.target is None
    return Answer(
        sentence=sentence,
        more=" ".join(filter(None, (effect, _ended(diagnosis.stopped)))),
        title=_title(needed, diagnosis),
        changes=_changes(case, needed, diagnosis.code),
        code=diagnosis.code,
        causes=causes,
        purpose="To look for the settings that generated this preview" if search else "",
        command=_command(case, "--search") if search else "",
    )


def _needed(diagnosis: Diagnosis) -> list[FactorCost]:
    """The factors to change: the smallest set, or all that differ while that is not known."""
    wanted = diagnosis.smallest_set
    return [cost for cost in diagnosis.factors if wanted is None or cost.factor in wanted]


def _culprits(case: CaseResult, diagnosis: Diagnosis, needed: Sequence[FactorCost]) -> str:
    """Which settings make the videos differ, and which of them matters most if that was measured."""
    total, first = len(diagnosis.factors), diagnosis.factors[0]
    known = diagnosis.smallest_set is not None
    if known and len(needed) == 1:
        only = f"{_subject(case)} differs from the preview because of one setting: {factor_name(needed[0].factor)}."
        spared = [cost.factor for cost in diagnosis.factors if cost is not needed[0]]
        verbs = ("differs", "needs") if len(spared) == 1 else ("differ", "need")
        also = f" {_listed(spared, capital=True)} {verbs[0]} too, but {verbs[1]} no change." if spared else ""
        return only + also
    most = first.rank is not None and first.level in ("visible", "frames do not pair")
    ranked = f"; {factor_name(first.factor)} matters most" if most and total > 1 else ""
    count = len(needed) if known else total
    verb = "make" if count > 1 else "makes"
    return f"{plural(count, 'setting')} {verb} the video differ from the preview{ranked}."


def _effect(diagnosis: Diagnosis, count: int) -> tuple[str, tuple[str, ...]]:
    """What the changes achieve, and the possible causes of what they leave."""
    known = diagnosis.smallest_set is not None
    those = "With the change below" if count == 1 else "With the changes below"
    if not known:
        those = "With all of the preview's settings"
    if not count:
        those = "As requested"
    if diagnosis.explained:
        return f"{those} it is {_BIT_FOR_BIT}.", ()
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
    """By the latents of a few steps: which factor to look at first."""
    ranked = [cost for cost in diagnosis.factors if cost.rank is not None]
    found = _compared(case)
    more = " ".join(filter(None, (_ended(diagnosis.stopped), "A quick diagnosis generates no whole video.")))
    if not ranked:
        return replace(found, more=more)
    first = ranked[0]
    return replace(
        found,
        sentence=f"Look at {factor_name(first.factor)} first: of {plural(len(diagnosis.factors), 'setting')} that "
        f"{'differs' if len(diagnosis.factors) == 1 else 'differ'} it changes the generation most.",
        more=more,
        changes=_changes(case, diagnosis.factors, diagnosis.code),
        title="What to change: all settings that differ",
        code=diagnosis.code,
        purpose="To see what each of them costs in pixels",
        command=_command(case),
    )


# ---- A search ----


def _searched(search: Search) -> Answer:
    """Which settings generated the preview, by trying."""
    changed = [item for item in search.settings if item.changed]
    others = ", ".join(f"{factor_name(item.name)} {item.found} (not {item.assumed})" for item in changed)
    others = others or "the settings that its config says"
    if search.verdict == "proven":
        sentence, more = f"The preview was generated with {others}.", "Proven: that video is the preview, bit for bit."
    elif search.verdict == "likely":
        sentence = f"The preview was most likely generated with {others}."
        more = f"That video is as close as another machine's rounding lets it be{_figures(search.best)}."
    else:
        sentence = "None of the settings tried gives the preview."
        more = f"The closest: {others}{_figures(search.best)}." if search.best.psnr is not None else ""
    return Answer(sentence=sentence, more=" ".join(filter(None, (more, _ended(search.stopped)))))


# ---- No diagnosis ----


def _compared(case: CaseResult) -> Answer:
    """What the comparison alone shows: the settings that differ, not what each of them costs."""
    subject, findings = _subject(case), case.findings
    if case.output is None:
        return _unseen(case)
    broken = next((item for item in findings if item.factor == "broken_output"), None)
    if broken is not None:
        side, what = (subject, broken.inference) if broken.inference != "a video" else ("The preview", broken.preview)
        return Answer(sentence=f"{side} is broken: {what}.", more=_capital(broken.note))
    settings = [item for item in findings if item.factor != "environment"]
    if case.status == "passed":
        return _listing(case, settings, _passed(case), title="Settings that differ")
    if case.status == "expected_drift":
        names = _listed(case.expect or [])
        sentence = f"{subject} differs from the preview only in what the case expects: {names}."
        return _listing(case, settings, sentence, title="To match the preview all the same")
    shape = _shape(case)
    if not settings:
        missing = [factor for factor in case.expect or () if factor not in {item.factor for item in findings}]
        if case.bit_identical:
            also = f", but the case expects a difference in {_listed(missing)}" if missing else ""
            return Answer(sentence=f"{subject} is {_BIT_FOR_BIT}{also}.")
        note = next((item.note for item in findings), "")
        return Answer(sentence=shape or f"No setting differs, yet the video does{_mean(case)}.", more=_capital(note))
    count = plural(len(settings), "setting")
    differ = "differs" if len(settings) == 1 else "differ"
    sentence = shape or f"{subject} differs from the preview{_mean(case)}, and {count} {differ}."
    found = _listing(case, settings, sentence, title="What to change")
    if shape or case.diagnosis is not None:
        return found
    purpose = "To see whether that is the cause" if len(settings) == 1 else "To see what each of them costs"
    return replace(found, purpose=purpose, command=_command(case))


def _unseen(case: CaseResult) -> Answer:
    """What the settings alone show, where no video was compared."""
    count = len(case.findings)
    if not count:
        return Answer(sentence="No setting differs from the preview's; no video was compared.")
    verb = "differs" if count == 1 else "differ"
    sentence = f"{plural(count, 'setting')} {verb} from the preview's; no video was compared."
    return _listing(case, case.findings, sentence, title="What to change")


def _listing(case: CaseResult, settings: Sequence[FindingResult], sentence: str, *, title: str) -> Answer:
    """An answer with the settings that differ."""
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
        changes=_changes(case, settings, whole),
        code=whole,
    )


def _changes(
    case: CaseResult, differing: Sequence[FactorCost | FindingResult], whole: Snippet | None
) -> tuple[Change, ...]:
    """The settings to change; `whole`: the code that makes all changes at once."""
    known = {item.factor: EVIDENCE[item.evidence] for item in case.findings if case.target is not None}
    return tuple(
        Change(
            factor=item.factor,
            name=factor_name(item.factor),
            preview=shorten(item.preview, _LONGEST),
            request=shorten(item.inference, _LONGEST),
            fix="" if item.code else shorten(item.fix, 2 * _LONGEST),
            code=None if whole else item.code,
            evidence=known.get(item.factor, ""),
        )
        for item in differing
    )


def _passed(case: CaseResult) -> str:
    subject = _subject(case)
    if case.bit_identical:
        return f"{subject} is {_BIT_FOR_BIT}."
    if case.tolerance:
        return f"{subject} matches the preview within the case's tolerance{_mean(case)}."
    return f"{subject} differs from the preview{_mean(case)}; the case sets no limit."


def _shape(case: CaseResult) -> str:
    """Say that the videos differ in size or length, so that no frame can be compared; empty: they do not."""
    preview, output = case.preview, case.output
    if preview is None or output is None:
        return ""
    subject = _subject(case)
    if preview.frames != output.frames:
        return f"{subject} has {plural(output.frames, 'frame')}, the preview {preview.frames}."
    sizes = [f"{video.width}×{video.height}" for video in (output, preview)]
    return f"{subject} is {sizes[0]} pixels, the preview {sizes[1]}." if sizes[0] != sizes[1] else ""


# ---- Baselines ----


def _against_baseline(case: CaseResult) -> str:
    """What became of the accepted output; empty: there is none, and none is needed."""
    check = case.baseline
    if check is None:
        return ""
    day = f" on {check.accepted_at[:10]}" if check.accepted_at else ""
    because = [problem for problem in check.problems[1:] if problem.startswith("because of ")]
    cause = f": {' '.join((check.problems[0], *because))}".replace(" -> ", " → ") if check.problems else ""
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
    """Only the settings that differ since the output was accepted; those that it was accepted with stay as they are."""
    check = case.baseline
    accepted = check.accepted_factors if check is not None else None
    if accepted is None or case.diagnosis is not None:
        return found
    new = [change for change in found.changes if change.factor not in accepted]
    if not new or len(new) == len(found.changes):
        return found
    known = {item.factor: item.code for item in case.findings}
    kept = _listed([change.factor for change in found.changes if change.factor in accepted], capital=True)
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
    """Preview, output, and what proves the answer: the video with a fix where one was generated, or the difference.

    None where both are the same: the viewer shows them.
    """
    if case.preview is None or case.output is None or case.bit_identical:
        return ()
    diagnosis = case.diagnosis
    fixed = [] if diagnosis is None or diagnosis.mode == "quick" else _fixed(diagnosis, changes)
    title = "As requested" if fixed else "Output"
    other = _shape(case)
    pictures = [
        Picture(side="preview", title="Preview", caption=_extent(case.preview) if other else "from ai-toolkit"),
        Picture(side="output", title=title, caption=_extent(case.output) if other else _psnr(case)),
        *fixed,
    ]
    if not fixed and not other:
        pictures.append(Picture(side="difference", title="Difference", caption=""))
    return tuple(pictures)


def _fixed(diagnosis: Diagnosis, changes: Sequence[Change]) -> list[Picture]:
    """With the factor that matters most fixed, and with all of them."""
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
    return f"{plural(video.frames, 'frame')}, {video.width}×{video.height}"


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


# ---- Words ----


def _subject(case: CaseResult) -> str:
    return "The output" if case.target is None else "The server's video"


def _mean(case: CaseResult) -> str:
    metric = case.metrics.get("psnr")
    if metric is None or metric.unavailable is not None or metric.mean is None:
        return ""
    return f" (PSNR {decibels(metric.mean, 1)})"


def _figures(found: Closeness | None) -> str:
    return f" (PSNR {decibels(found.psnr, 1)})" if found is not None and found.psnr is not None else ""


def _listed(factors: Sequence[str], *, capital: bool = False) -> str:
    names = [factor_name(factor) for factor in factors]
    text = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "nothing"
    return _capital(text) if capital else text


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def _ended(stopped: Stopped | None) -> str:
    return f"Stopped early: {STOPPED[stopped]}." if stopped is not None else ""


def _command(case: CaseResult, *options: str) -> str:
    there = case.target.arguments if case.target is not None else ()
    return shlex.join(("parity", "diagnose", *options, tidy(case.case_file), *there))
