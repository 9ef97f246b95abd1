"""What was accepted beside what is new, and what approving would do, as the page shows them: without markup."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from parity.results.case import FAILING, BaselineOutcome, BaselineResult, CaseResult, Run, VideoResult
from parity.results.folders import OUT
from parity.results.frames import worst_frame
from parity.results.words import METRIC_DIGITS, figure
from pipelines.files.words import plural
from reports.stills import Album
from reports.view import results_files, size_text

_TITLES: dict[BaselineOutcome, str] = {
    "holds": "As accepted on {day}",
    "improved": "Closer to the preview than what was accepted on {day}",
    "changed": "Changed since it was accepted on {day}",
    "worse": "Further from the preview than what was accepted on {day}",
    "no_baseline": "No baseline yet",
    "not_run": "Accepted on {day}, and not generated now",
    "unpairable": "No baseline, and the preview cannot be reproduced",
}
_CAUSE = "because of "
"""How a problem begins that is the cause of the one before it."""
_PLAIN = re.compile(r"[\w./:+-]+", re.ASCII)
"""A word that no shell of Linux, macOS or Windows minds."""
_READ_IN_QUOTES = set('"$`\\%!')
"""Characters that one of them reads between double quotes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A number of both videos."""

    name: str
    accepted: str
    now: str

    @property
    def changed(self) -> bool:
        return self.accepted != self.now


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptFrame:
    """A frame of which the baseline kept a still."""

    number: int
    unchanged: bool
    """True if its bits are those that were accepted."""
    missing: bool
    """True if the new video has no such frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineView:
    """A case's baseline, shaped for the page."""

    title: str
    new: bool
    """True if nobody has accepted the case."""
    tone: str
    """The status whose colour it takes."""
    holds: bool
    """True if the case is as it was accepted."""
    reasons: tuple[str, ...]
    """Why it does not hold, the most serious first."""
    notes: tuple[str, ...]
    environment: tuple[str, ...]
    pairs: list[Pair]
    frames: list[KeptFrame]
    """The frames to look at, in their order."""
    first: int
    """The one to begin with: the first that changed, the worst against the preview before others."""
    no_pictures: str
    """Why there are none; empty: there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """What approving a case does."""

    effect: str
    warnings: tuple[str, ...] = ()
    """What a person may not want to accept by the way."""


def baseline_view(case: CaseResult, stills: Album) -> BaselineView | None:
    """Shape the comparison with a baseline; None if the run had no baselines, or there are neither old nor new."""
    check = case.baseline
    if check is None or (check.accepted_at is None and case.output is None):
        return None
    frames = _kept_frames(case, check, stills)
    changed = [frame.number for frame in frames if not frame.unchanged and not frame.missing]
    worst = worst_frame(case)
    return BaselineView(
        title=_TITLES[check.outcome].format(day=_day(check)),
        new=check.outcome == "no_baseline",
        tone="drifted" if check.failed else "expected_drift" if check.status in FAILING else "passed",
        holds=check.outcome == "holds",
        reasons=tuple(reasons(check.problems)),
        notes=tuple(map(_arrows, check.notes)),
        environment=tuple(map(_arrows, check.environment)),
        pairs=list(_pairs(case, check)),
        frames=frames,
        first=next((number for number in (worst, *changed) if number in changed), frames[0].number if frames else 0),
        no_pictures="" if frames else _no_pictures(case, check, stills),
    )


def reasons(problems: Sequence[str]) -> list[str]:
    """Shape the problems as lines: what changed, and in the same line because of what."""
    lines: list[str] = []
    for before, problem in zip(("", *problems), map(_arrows, problems), strict=False):
        if not lines or not problem.startswith(_CAUSE):
            lines.append(problem)
        elif before.startswith(_CAUSE):
            lines[-1] += f", {problem.removeprefix(_CAUSE)}"
        else:
            lines[-1] += f" {problem}"
    return lines


def _arrows(text: str) -> str:
    return text.replace(" -> ", " → ")


def _kept_frames(case: CaseResult, check: BaselineResult, stills: Album) -> list[KeptFrame]:
    count = 0 if case.output is None else case.output.frames
    known = check.frames_changed
    return [
        KeptFrame(number=frame, unchanged=known is not None and frame not in known, missing=frame >= count)
        for frame in sorted(stills.embedded.get("baseline", ()))
    ]


def _no_pictures(case: CaseResult, check: BaselineResult, stills: Album) -> str:
    if check.accepted_at is None or case.output is None:
        return ""
    if stills.files.get("baseline"):
        return "Its pictures were left out to keep this file small; they are in the folder of results.json."
    if any(line.startswith("The baseline's stills") for line in stills.problems):
        return "Its pictures are missing in the folder of results.json."
    if any("cannot be shown" in note or "cannot be copied" in note for note in check.notes):
        return "Its pictures are missing or damaged: see the notes below."
    return "It keeps no pictures: accepted by an older wan-parity, or with --stills 0. Accepting again keeps some."


def _pairs(case: CaseResult, check: BaselineResult) -> Iterator[Pair]:
    old, new = check.accepted_output, case.output
    if old is None:
        return
    for name in (name for name in METRIC_DIGITS if name in check.accepted_means or _measured(case, name)):
        then = figure(name, check.accepted_means[name]) if name in check.accepted_means else "not measured"
        now = figure(name, case.metrics[name].mean) if _measured(case, name) else "not measured"
        yield Pair(name=f"{name.upper()} against the preview", accepted=then, now=now)
    if check.accepted_seconds is not None and case.seconds_ratio is not None:
        seconds = "not measured" if case.speed is None else _seconds(case.speed.seconds)
        yield Pair(name="Denoising and decoding", accepted=_seconds(check.accepted_seconds), now=seconds)
    rows = (("Frames", _frames), ("Size", size_text), ("Frame rate", _rate))
    for title, write in rows:
        yield Pair(name=title, accepted=write(old), now="none" if new is None else write(new))


def _seconds(seconds: float) -> str:
    return f"{seconds:.3g} s"


def _measured(case: CaseResult, name: str) -> bool:
    return name in case.metrics and case.metrics[name].unavailable is None


def _frames(video: VideoResult) -> str:
    return str(video.frames)


def _rate(video: VideoResult) -> str:
    return f"{video.fps:.4g} fps"


def approval(case: CaseResult) -> Approval | None:
    """What approving the case does; None if there is nothing that could be approved, or would change."""
    own, check = case.by_own_rules(), case.baseline
    if own.output is None or own.status == "error" or (check is not None and not check.acceptable):
        return None
    return Approval(effect=_effect(case, own.output, check), warnings=tuple(_warnings(case, own.output, check)))


def _effect(case: CaseResult, output: VideoResult, check: BaselineResult | None) -> str:
    if check is None:
        return "becomes the baseline, whatever was accepted before: this run was not compared with baselines"
    if check.accepted_at is None:
        return "new: no baseline yet"
    changes = list(_changes(case, output, check))
    return f"replaces the baseline of {_day(check)}" + (f": {', '.join(changes)}" if changes else "")


def _changes(case: CaseResult, output: VideoResult, check: BaselineResult) -> Iterator[str]:
    old = check.accepted_output
    if old is not None and old.frames != output.frames:
        yield f"{plural(output.frames, 'frame')} instead of {old.frames}"
    elif check.frames_changed:
        changed = len(check.frames_changed)
        yield f"{'all ' if changed == output.frames > 1 else ''}{plural(changed, 'frame')} changed"
    elif check.frames_changed is not None:
        yield "no frame changed"
    if old is not None and size_text(old) != size_text(output):
        yield f"{size_text(old)} → {size_text(output)}"
    for name in (name for name in METRIC_DIGITS if name in check.accepted_means and _measured(case, name)):
        then, now = (figure(name, value, unit=False) for value in (check.accepted_means[name], case.metrics[name].mean))
        if then != now:
            yield f"{name.upper()} {then} → {now}{' dB' if name == 'psnr' else ''}"
            return


def _warnings(case: CaseResult, output: VideoResult, check: BaselineResult | None) -> Iterator[str]:
    accepted = check.accepted_output if check is not None else None
    others = [(name, video) for name, video in (("preview", case.preview), ("baseline", accepted)) if video is not None]
    for frames in dict.fromkeys(video.frames for _, video in others if video.frames != output.frames):
        names = " and the ".join(name for name, video in others if video.frames == frames)
        kind = "missing" if frames > output.frames else "additional"
        few = "frame" if abs(frames - output.frames) == 1 else "frames"
        has = f"has {plural(output.frames, 'frame')}, the {names} {frames}"
        yield f"{has}: approving accepts the {kind} {few}"
    for size in dict.fromkeys(size_text(video) for _, video in others if size_text(video) != size_text(output)):
        names = " and the ".join(name for name, video in others if size_text(video) == size)
        yield f"is {size_text(output)}, the {names} {size}: approving accepts the other size"
    if any(finding.factor == "broken_output" for finding in case.findings):
        yield "is not a usable video by its pixels: approving accepts it as it is"


def _day(check: BaselineResult) -> str:
    return (check.accepted_at or "")[:10]


def accept_command(run: Run, folder: Path) -> str:
    """The command that applies approvals saved from the page, in the folder that the run was started in.

    It names results only outside of reports/out, where the command looks by itself, and baselines other than the
    default. It can be pasted into any shell of Linux, macOS and Windows.
    """
    words = ["parity", "baseline", "accept", "--from", "approvals.json"]
    files = results_files(run, folder)
    if any(PurePosixPath(file).parts[:2] != OUT.parts for file in files):
        words += [word for file in files for word in ("--results", file)]
    if run.baselines not in (None, "baselines"):
        words += ["--baselines", Path(str(run.baselines)).as_posix()]
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """A word as a shell reads it. Double quotes are the only ones that all shells know."""
    if _PLAIN.fullmatch(word):
        return word
    safe = word.isprintable() and not _READ_IN_QUOTES & set(word)
    return f'"{word}"' if safe else shlex.quote(word)


def approval_data(cases: Sequence[tuple[int, CaseResult]]) -> dict[int, dict[str, object]]:
    """What the page's script shows of the cases that can be approved, by their place in the run."""
    found = {index: (case, approval(case)) for index, case in cases}
    return {
        index: {"id": case.id, "effect": known.effect, "warnings": known.warnings}
        for index, (case, known) in found.items()
        if known is not None
    }
