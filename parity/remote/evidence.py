"""What is known of a server's drawing, and how: read off its file, said by its answer, or only expected of it."""

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
"""Factors that a file itself shows."""
_CODECS = {".webp": "webp", ".png": "png", ".jpg": "jpeg"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A server's recipe as far as it is known, and where its answer does not fit what is expected."""

    recipe: Recipe
    """What is expected of it, in line with what its file shows and its answer says; or what was found out."""
    reported: tuple[str, ...]
    """Factors its answer decides."""
    surprises: tuple[str, ...]
    """In words."""
    other_profile: str | None
    """The profile it says it draws by, if that is not the case's."""
    proof: Evidence = "expected"
    """How what neither its file nor its answer shows is known."""


def known_of(case: Case, served: Served) -> Known:
    """Bring what is expected of a server in line with its answer."""
    expected, video, said = case.inference, served.video, served.said
    frames, surprises = len(video.frames), []
    same_fps = not video.frame_ms or frame_duration(expected.fps) == round(video.frame_ms)
    codec = expected.codec
    if _CODECS.get(served.suffix) not in (None, codec.format):
        codec = (
            Codec("webp", 80) if served.suffix == ".webp" else Codec("png" if served.suffix == ".png" else "jpeg", None)
        )
    seed = expected.seed if said.seed is None else said.seed
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
            how = "its answer says" if factor == "seed" else "its file has"
            surprises.append(f"{factor}: {ours} was expected of the server, {how} {theirs}")
    surprises += _contradictions(served)
    profile = served.target.profile
    other = profile if None not in (profile, case.profile) and profile != case.profile else None
    if other is not None:
        surprises.append(f"the server says it draws as {other!r}, the case expects {case.profile} (`pipeline`)")
    reported = ("seed",) if said.seed is not None and said.seed != expected.seed else ()
    return Known(recipe=recipe, reported=reported, surprises=tuple(surprises), other_profile=other)


def _contradictions(served: Served) -> list[str]:
    """Where a server's answer says another thing of its file than the file does."""
    video, said = served.video, served.said
    pairs = (
        ("frames", said.num_frames, len(video.frames)),
        ("width", said.width, video.width),
        ("height", said.height, video.height),
    )
    return [
        f"the server says {name} {told}, its file has {found}"
        for name, told, found in pairs
        if told is not None and told != found
    ]


def findings_of(
    case: Case, known: Known, comparison: Comparison, suffix: str, floor: Floor | None = None
) -> tuple[FindingResult, ...]:
    """Findings with their evidence. What is expected, but would show in a file that is the preview's, is none.

    `floor`: what the server's drawings of this request differ by.
    """
    found = [_with_evidence(finding, known) for finding in find_differences(case.preview, known.recipe)]
    found = [_with_blame(finding, case) for finding in found]
    if comparison.bit_identical:
        found = [finding for finding in found if finding.evidence != "expected"]
    if suffix not in _CODECS and not any(finding.factor == "codec" for finding in found):
        note = "the server encodes its frames again: compare the file it would write as WebP"
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
            doubt = "; or the server does not draw as it is expected to: --diagnose tells"
            note = finding.note + (doubt if known.proof == "expected" else "")
            finding = dataclasses.replace(finding, inference="the server", note=note)
        found.append(finding)
    return tuple(found)


def _with_evidence(finding: FindingResult, known: Known) -> FindingResult:
    how = known.proof
    if finding.factor in IN_FILE:
        how = "pixels"
    elif finding.factor in known.reported and how == "expected":
        how = "reported"
    return dataclasses.replace(finding, evidence=how)


def _with_blame(finding: FindingResult, case: Case) -> FindingResult:
    """Where a server does otherwise than it was asked, or than its profile says: no request puts that right."""
    if not is_factor(finding.factor):
        return finding
    asked = show(case.inference, finding.factor)
    if finding.inference == asked:
        return finding
    note = f"{finding.note}; the request and `pipeline` make it {asked}, the server made it {finding.inference}"
    fix = f"the server must do as it is asked: {asked}" if asked == finding.preview else finding.fix
    return dataclasses.replace(finding, note=note, fix=fix)


def disproved(case: Case, known: Known, comparison: Comparison) -> tuple[str, ...]:
    """Factors in which the server was expected to differ, and of which its file shows nothing."""
    if not comparison.bit_identical:
        return ()
    different = find_differences(case.preview, known.recipe)
    return tuple(item.factor for item in different if _with_evidence(item, known).evidence == "expected")


def said(case: Case, findings: Sequence[FindingResult], gone: Sequence[str] = ()) -> str:
    """How the findings are known, to end a verdict with: `; expected by reference, not proven: scheduler`."""
    words: dict[Evidence, str] = {
        "pixels": "proven by pixels",
        "reported": "by the server's own word",
        "likely": "likely, by a search",
        "expected": f"expected by {case.profile or 'its overrides'}, not proven",
    }
    parts = []
    for evidence, how in words.items():
        names = [finding.factor for finding in findings if finding.evidence == evidence]
        if names == ["environment"]:  # other bits are seen; why they are other is what nobody knows
            parts.append("; differs in environment")
        elif names:
            parts.append(f"; {how}: {', '.join(names)}")
    if gone:
        name = case.profile or "expected"
        parts.append(f"; the server does not draw as {name}: {', '.join(gone)} would show, and nothing does")
    return "".join(parts)


def objections(case: Case, known: Known) -> list[str]:
    """Why findings that are expected cannot be what a case gates on."""
    if known.other_profile is None or known.proof != "expected" or not case.expect:
        return []
    return [f"`expect` is about {case.profile}, the server says it draws as {known.other_profile!r}"]
