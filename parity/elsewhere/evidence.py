"""The evidence about a video made elsewhere: from the file, its graph, a server's answer, or only expected."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from parity.case.load import Case
from parity.comparison.compare import Comparison
from parity.comparison.floor import Floor
from parity.comparison.verdict import findings_from_pixels
from parity.elsewhere.made import Made
from parity.factors.findings import evidence_of, find_differences, show
from parity.results.case import Evidence, FindingResult
from pipelines.drift import Factor, is_factor
from pipelines.media.encoding import codec_of
from pipelines.media.video import Video
from pipelines.recipe import Asked, Codec, Recipe, frame_duration

IN_FILE: tuple[Factor, ...] = ("frame_count", "snapping", "fps", "codec")
"""Factors that the file itself shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The recipe of a video as far as it is known, and contradictions between the video and what is expected of it."""

    recipe: Recipe
    """The expected recipe, corrected by the file and a server's answer; or the one that was found out."""
    reported: tuple[str, ...] = ()
    """Factors known from a server's answer."""
    surprises: tuple[str, ...]
    """Contradictions, one sentence each."""
    other_profile: str | None = None
    """The profile that a server reports, if that is not the case's."""
    proof: Evidence | None = None
    """What generating it here has shown, for factors that nothing else shows; None: nothing yet."""


def known_of(case: Case, made: Made) -> Known:
    """Correct the expected recipe by the file and a server's answer."""
    expected, video = case.inference, made.video
    recipe = dataclasses.replace(
        expected,
        width=_seen(expected.width, video.width),
        height=_seen(expected.height, video.height),
        num_frames=_seen(expected.num_frames, len(video.frames)),
        fps=_fps(expected.fps, video),
        codec=_codec(expected.codec, codec_of(made.encoded, made.suffix)),
        seed=expected.seed if made.seed is None else made.seed,
    )
    profile = made.target.profile if made.target is not None else None
    other = profile if None not in (profile, case.profile) and profile != case.profile else None
    surprises = [*_surprises(case, recipe, made), *made.contradictions]
    if other is not None:
        surprises.append(f"the server reports profile {other!r}, the case expects {case.profile} (`pipeline`)")
    reported = ("seed",) if made.seed is not None and made.seed != expected.seed else ()
    return Known(recipe=recipe, reported=reported, surprises=tuple(surprises), other_profile=other)


def _seen(expected: Asked, seen: int) -> Asked:
    return expected if expected.applied == seen else Asked(expected.asked, seen)


def _fps(expected: int, video: Video) -> int:
    """The frame rate: WebP and GIF round a frame's duration, so 16 fps are 62 ms or 60."""
    same = not video.frame_ms or frame_duration(expected) == round(video.frame_ms)
    return expected if same else round(video.fps)


def _codec(expected: Codec, found: Codec) -> Codec:
    """The codec: a file says its format and whether it is lossless, some also the crf, none the rest."""
    same = (expected.format, expected.lossless) == (found.format, found.lossless)
    if not same or found.format in ("webp", "jpeg") or found.quality is None:
        return expected if same else found
    return expected if expected.quality == found.quality else found


def _surprises(case: Case, recipe: Recipe, made: Made) -> list[str]:
    """What the file or a server's answer shows otherwise than expected; a file without a graph surprises nobody."""
    if made.file is not None and case.comfyui is None:
        return []
    found = []
    factors: tuple[Factor, ...] = (*IN_FILE, "seed")
    for factor in factors:
        ours, theirs = show(case.inference, factor), show(recipe, factor)
        if ours == theirs or (factor == "seed" and case.inference.seed is None):
            continue
        if made.file is not None:
            found.append(f"{factor}: the graph says {ours}, the file has {theirs}: it was changed since")
        else:
            source = "its answer says" if factor == "seed" else "its file has"
            found.append(f"{factor}: {ours} was expected of the server, {source} {theirs}")
    return found


def findings_of(
    case: Case, known: Known, comparison: Comparison, made: Made, floor: Floor | None = None
) -> tuple[FindingResult, ...]:
    """Findings with their evidence. If the file is the preview's, expected differences are disproved and left out.

    `floor` is the difference between a server's outputs of this request.
    """
    found = [_with_evidence(finding, case, known) for finding in find_differences(case.preview, known.recipe)]
    if made.file is None:
        found = [_with_server_fault(finding, case) for finding in found]
    if case.comfyui is not None:  # no code of a diffusers pipeline sets what a graph does
        found = [dataclasses.replace(finding, code=None) for finding in found]
    if comparison.bit_identical:
        found = [finding for finding in found if finding.evidence != "expected"]
    for finding in findings_from_pixels(comparison, tuple(found), floor):
        if finding.factor == "environment" and made.file is not None and case.comfyui is None:
            continue  # of a file without a graph nothing says that the settings are equal
        found.append(_elsewhere(finding, known, made) if finding.factor == "environment" else finding)
    return tuple(found)


def _elsewhere(finding: FindingResult, known: Known, made: Made) -> FindingResult:
    """The finding that equal recipes gave other bits, for a video that was not generated here."""
    doubt = "the server does not work as expected" if made.file is None else "something that the graph does not say"
    note = finding.note + (f"; or {doubt}: --diagnose finds out" if known.proof is None else "")
    place = "the server" if made.file is None else "where the file was made"
    return dataclasses.replace(finding, inference=place, note=note)


def _with_evidence(finding: FindingResult, case: Case, known: Known) -> FindingResult:
    evidence = evidence_of(case, finding.factor)
    if finding.factor in IN_FILE or known.proof == "pixels":
        evidence = "pixels"
    elif evidence == "expected" and known.proof is not None and case.comfyui is None:
        evidence = known.proof  # what a graph does not say only rounds, so closeness tells nothing about it
    elif evidence == "expected" and finding.factor in known.reported:
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
    """Factors in which a difference was expected that is not there: the file is bit-identical to the preview."""
    if not comparison.bit_identical:
        return ()
    different = find_differences(case.preview, known.recipe)
    return tuple(item.factor for item in different if _with_evidence(item, case, known).evidence == "expected")


def evidence_text(case: Case, findings: Sequence[FindingResult], disproved: Sequence[str] = ()) -> str:
    """The findings grouped by evidence, for the end of a verdict: `; proven by pixels: scheduler`."""
    labels: dict[Evidence, str] = {
        "pixels": "proven by pixels",
        "file": "by the graph in the file",
        "reported": "reported by the server",
        "likely": "likely, by a search" if case.comfyui is None else "likely",
        "expected": _assumed(case),
    }
    parts = []
    for evidence, label in labels.items():
        names = [finding.factor for finding in findings if finding.evidence == evidence]
        if names == ["environment"]:  # different bits are a fact; only their cause is unknown
            parts.append("; differs in environment")
        elif names:
            parts.append(f"; {label}: {', '.join(names)}")
    if disproved:
        who = "the server does not follow" if case.output is None else "not as assumed by"
        parts.append(f"; {who} {_profile_text(case)}: {', '.join(disproved)} would show in its file")
    return "".join(parts)


def _assumed(case: Case) -> str:
    if case.comfyui is not None:
        return "assumed, the graph does not say it"
    return f"assumed from {_profile_text(case)}, not verified"


def _profile_text(case: Case) -> str:
    return f"the {case.profile} profile" if case.profile else "the case's `pipeline`"


def objections(case: Case, known: Known) -> list[str]:
    """Reasons why `expect` cannot be checked against findings that are only expected."""
    if known.other_profile is None or known.proof is not None or not case.expect:
        return []
    return [f"`expect` is about {case.profile}, the server reports profile {known.other_profile!r}"]
