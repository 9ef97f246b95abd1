"""The evidence about a server's video: from its file, from its answer, or only expected."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from parity.case.load import Case
from parity.comparison.compare import Comparison
from parity.comparison.floor import Floor
from parity.comparison.verdict import findings_from_pixels
from parity.factors.findings import find_differences, show
from parity.remote.exchange import Served
from parity.results.case import Evidence, FindingResult
from pipelines.drift import Factor, is_factor
from pipelines.recipe import Asked, Codec, Recipe, frame_duration

IN_FILE: tuple[Factor, ...] = ("frame_count", "snapping", "fps", "codec")
"""Factors that the file itself shows."""
_CODECS = {".webp": "webp", ".png": "png", ".jpg": "jpeg"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A server's recipe as far as it is known, and contradictions between its answer and what is expected."""

    recipe: Recipe
    """The expected recipe, corrected by the server's file and answer; or the one that was found out."""
    reported: tuple[str, ...]
    """Factors known from its answer."""
    surprises: tuple[str, ...]
    """Contradictions, one sentence each."""
    other_profile: str | None
    """The profile it reports, if that is not the case's."""
    proof: Evidence = "expected"
    """The evidence for factors that neither its file nor its answer shows."""


def known_of(case: Case, served: Served) -> Known:
    """Correct the expected recipe by the server's file and answer."""
    expected, video, answer = case.inference, served.video, served.answer
    frames, surprises = len(video.frames), []
    same_fps = not video.frame_ms or frame_duration(expected.fps) == round(video.frame_ms)
    codec = expected.codec
    if _CODECS.get(served.suffix) not in (None, codec.format):
        codec = (
            Codec("webp", 80) if served.suffix == ".webp" else Codec("png" if served.suffix == ".png" else "jpeg", None)
        )
    seed = expected.seed if answer.seed is None else answer.seed
    recipe = dataclasses.replace(
        expected,
        width=expected.width if expected.width.applied == video.width else Asked(expected.width.asked, video.width),
        height=expected.height
        if expected.height.applied == video.height
        else Asked(expected.height.asked, video.height),
        num_frames=expected.num_frames
        if expected.num_frames.applied == frames
        else Asked(expected.num_frames.asked, frames),
        fps=expected.fps if same_fps else round(video.fps),
        codec=codec,
        seed=seed,
    )
    factors: tuple[Factor, ...] = (*IN_FILE, "seed")
    for factor in factors:
        ours, theirs = show(expected, factor), show(recipe, factor)
        if ours != theirs and not (factor == "seed" and expected.seed is None):
            source = "its answer says" if factor == "seed" else "its file has"
            surprises.append(f"{factor}: {ours} was expected of the server, {source} {theirs}")
    surprises += _contradictions(served)
    profile = served.target.profile
    other = profile if None not in (profile, case.profile) and profile != case.profile else None
    if other is not None:
        surprises.append(f"the server reports profile {other!r}, the case expects {case.profile} (`pipeline`)")
    reported = ("seed",) if answer.seed is not None and answer.seed != expected.seed else ()
    return Known(recipe=recipe, reported=reported, surprises=tuple(surprises), other_profile=other)


def _contradictions(served: Served) -> list[str]:
    """Contradictions between a server's answer and its file."""
    video, answer = served.video, served.answer
    pairs = (
        ("frames", answer.num_frames, len(video.frames)),
        ("width", answer.width, video.width),
        ("height", answer.height, video.height),
    )
    return [
        f"the server says {name} {reported}, its file has {found}"
        for name, reported, found in pairs
        if reported is not None and reported != found
    ]


def findings_of(
    case: Case, known: Known, comparison: Comparison, suffix: str, floor: Floor | None = None
) -> tuple[FindingResult, ...]:
    """Findings with their evidence. If the file is the preview's, expected differences are disproved and left out.

    `floor` is the difference between the server's outputs of this request.
    """
    found = [_with_evidence(finding, known) for finding in find_differences(case.preview, known.recipe)]
    found = [_with_server_fault(finding, case) for finding in found]
    if comparison.bit_identical:
        found = [finding for finding in found if finding.evidence != "expected"]
    if suffix not in _CODECS and not any(finding.factor == "codec" for finding in found):
        note = "the server re-encodes its frames; compare the WebP file it would write"
        found.append(
            FindingResult(
                factor="codec",
                preview=show(case.preview, "codec"),
                inference=suffix.removeprefix("."),
                note=note,
                evidence="pixels",
            )
        )
    for finding in findings_from_pixels(comparison, tuple(found), floor):
        if finding.factor == "environment":
            doubt = "; or the server does not work as expected: --diagnose finds out"
            note = finding.note + (doubt if known.proof == "expected" else "")
            finding = dataclasses.replace(finding, inference="the server", note=note)
        found.append(finding)
    return tuple(found)


def _with_evidence(finding: FindingResult, known: Known) -> FindingResult:
    evidence = known.proof
    if finding.factor in IN_FILE:
        evidence = "pixels"
    elif finding.factor in known.reported and evidence == "expected":
        evidence = "reported"
    return dataclasses.replace(finding, evidence=evidence)


def _with_server_fault(finding: FindingResult, case: Case) -> FindingResult:
    """Say so where a server deviates from the request or its profile, which no request can fix."""
    if not is_factor(finding.factor):
        return finding
    asked = show(case.inference, finding.factor)
    if finding.inference == asked:
        return finding
    note = f"{finding.note}; the request and `pipeline` make it {asked}, the server made it {finding.inference}"
    if asked != finding.preview:
        return dataclasses.replace(finding, note=note)
    return dataclasses.replace(finding, note=note, fix=f"the server must do what is requested: {asked}", code=None)


def disproved(case: Case, known: Known, comparison: Comparison) -> tuple[str, ...]:
    """Factors in which the server was expected to differ, but does not: its file is bit-identical to the preview."""
    if not comparison.bit_identical:
        return ()
    different = find_differences(case.preview, known.recipe)
    return tuple(item.factor for item in different if _with_evidence(item, known).evidence == "expected")


def evidence_text(case: Case, findings: Sequence[FindingResult], disproved: Sequence[str] = ()) -> str:
    """The findings grouped by evidence, for the end of a verdict: `; proven by pixels: scheduler`."""
    labels: dict[Evidence, str] = {
        "pixels": "proven by pixels",
        "reported": "reported by the server",
        "likely": "likely, by a search",
        "expected": f"assumed from {_profile_text(case)}, not verified",
    }
    parts = []
    for evidence, label in labels.items():
        names = [finding.factor for finding in findings if finding.evidence == evidence]
        if names == ["environment"]:  # different bits are a fact; only their cause is unknown
            parts.append("; differs in environment")
        elif names:
            parts.append(f"; {label}: {', '.join(names)}")
    if disproved:
        parts.append(
            f"; the server does not follow {_profile_text(case)}: {', '.join(disproved)} would show in its file"
        )
    return "".join(parts)


def _profile_text(case: Case) -> str:
    return f"the {case.profile} profile" if case.profile else "the case's `pipeline`"


def objections(case: Case, known: Known) -> list[str]:
    """Reasons why `expect` cannot be checked against findings that are only expected."""
    if known.other_profile is None or known.proof != "expected" or not case.expect:
        return []
    return [f"`expect` is about {case.profile}, the server reports profile {known.other_profile!r}"]
