"""The parts that a case's answer is made of, in a reader's words, without markup."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from parity.results.case import CaseResult, FindingResult
from parity.results.diagnosis import Closeness, FactorCost, Snippet, Stopped
from parity.results.words import decibels, factor_name
from pipelines.files.words import plural, shorten, together
from reports.view import evidence, tidy

STOPPED: dict[Stopped, str] = {
    "explained": "nothing more was needed",
    "budget": "the budget was spent",
    "interrupted": "interrupted",
    "error": "an error",
}
"""Why a diagnosis or a search stopped early."""
BIT_FOR_BIT = "identical to the preview, bit for bit"
_LONGEST = 200
"""Characters of a value; prompts are longer, and the settings below show them whole."""


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
    """How it is known that a video made elsewhere differs in it; empty: it was read."""


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


def changes(
    case: CaseResult, differing: Sequence[FactorCost | FindingResult], whole: Snippet | None
) -> tuple[Change, ...]:
    """List the settings to change; `whole` is the code that makes all changes at once."""
    known = {item.factor: evidence(case, item.evidence) for item in case.findings if case.made_elsewhere}
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


def subject(case: CaseResult) -> str:
    """Name whose video is compared with the preview."""
    if case.file is not None:
        return "The file"
    return "The output" if case.target is None else "The server's video"


def mean(case: CaseResult) -> str:
    """The case's mean PSNR in brackets; empty if it has none."""
    metric = case.metrics.get("psnr")
    if metric is None or metric.unavailable is not None or metric.mean is None:
        return ""
    return f" (PSNR {decibels(metric.mean, 1)})"


def figures(found: Closeness | None) -> str:
    """A closeness in brackets; empty if it has no figures."""
    return f" (PSNR {decibels(found.psnr, 1)})" if found is not None and found.psnr is not None else ""


def differing(count: int) -> str:
    """Say how many settings differ: "3 settings differ"."""
    return f"{plural(count, 'setting')} {'differs' if count == 1 else 'differ'}"


def named(factors: Sequence[str]) -> str:
    """Join factors as a sentence does: "scheduler, LoRA application and precision"."""
    return together([factor_name(factor) for factor in factors])


def ended(stopped: Stopped | None) -> str:
    """Say that a diagnosis or search stopped early; empty if it did not."""
    return f"Stopped early: {STOPPED[stopped]}." if stopped is not None else ""


def sentences(*parts: str) -> str:
    """Join sentences, without those that are empty."""
    return " ".join(filter(None, parts))


def diagnose(case: CaseResult, *options: str) -> str:
    """The command that diagnoses the case."""
    there = case.target.arguments if case.target is not None else ()
    return shlex.join(("parity", "diagnose", *options, tidy(case.case_file), *there))
