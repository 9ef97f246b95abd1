"""Does it matter? A case's video with fixes added one by one, with one fixed and with one broken, without markup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from parity.results.case import CaseResult
from parity.results.diagnosis import Closeness, Diagnosis, FactorCost, Trial
from parity.results.frames import worst_frame
from parity.results.words import decibels, factor_name
from pipelines.files.words import capital, plural, together
from reports.stills import SIDES, Album

IDENTICAL = "identical to the preview"
_OVER = "not generated: more than the generations planned"
Kind = Literal["gain", "loss"]
_VERBS: dict[Kind, str] = {"gain": "fixed", "loss": "broken"}
_TEXTS: dict[Kind, str] = {
    "gain": "The request with one setting of the preview.",
    "loss": "The preview's settings with one of the request's: the further from the preview, the more it matters.",
}
_MORE = "no further change"
_NONE = "no change"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One video, by one frame of it."""

    side: str
    """The side of the album, as reports/stills.py names it."""
    name: str
    """The name below it."""
    title: str
    """The name where it stands alone: "only scheduler fixed"."""
    figure: str = ""
    """Its closeness to the preview, over the whole video."""
    note: str = ""
    """What else there is to say of it: that it is the video of another picture."""
    missing: str = ""
    """Why there is no picture at any frame; empty: there is one."""
    identical: bool = False
    """True if every frame is the preview's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Pictures that belong together."""

    kind: Literal["waterfall", "gain", "loss"]
    title: str
    text: str
    """What the pictures show."""
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterfactuals:
    """The pictures of a diagnosis."""

    rows: tuple[Row, ...] = ()
    """Rows after the first have a picture for each step of it after the request."""
    frames: tuple[int, ...] = ()
    """The frames that all videos have pictures of."""
    worst: int | None = None
    """The one of them that differs most; None: frames cannot be compared, or no frame differs."""
    notes: tuple[str, ...] = ()
    """What there is no picture of, and why."""

    @property
    def start(self) -> int:
        """The place in `frames` of the one to begin with."""
        return 0 if self.worst is None else self.frames.index(self.worst)

    @property
    def columns(self) -> int:
        """The most pictures of a row."""
        return max((len(row.pictures) for row in self.rows), default=0)


def counterfactuals(case: CaseResult, book: Album) -> Counterfactuals | None:
    """The pictures of a case's diagnosis; None if it has none to show, as one that generated nothing."""
    diagnosis = case.diagnosis
    if diagnosis is None or not diagnosis.factors or not diagnosis.trials() or not (case.preview or case.output):
        return None
    kept = _kept(book)
    if not kept:
        return Counterfactuals(notes=(*_nothing_kept(diagnosis), *book.trial_problems))
    order = _order(diagnosis)
    kinds: tuple[Kind, Kind] = ("gain", "loss")
    measured = [kind for kind in kinds if any(_of(cost, kind) for cost in order)]
    missing = [_none_of(order, kind) for kind in kinds if kind not in measured]
    return Counterfactuals(
        rows=(_waterfall(diagnosis, order), *(_alone(diagnosis, order, kind) for kind in measured)),
        frames=kept,
        worst=worst if (worst := worst_frame(case)) in kept else None,
        notes=(_how_many(case, diagnosis, kept), *missing, *_unwritten(diagnosis), *book.trial_problems),
    )


def _kept(book: Album) -> tuple[int, ...]:
    """The frames that were kept of the trials that have stills of their own; all, if each is the output's video."""
    own = [set(book.files[side]) for side in book.own if side not in SIDES]
    return tuple(sorted(set().union(*(own or [set(book.files[side]) for side in book.trials]))))


def _nothing_kept(diagnosis: Diagnosis) -> Sequence[str]:
    if diagnosis.stills == 0:
        return ("No pictures of this diagnosis were kept (--stills 0).",)
    if diagnosis.stills is None:
        return ("An older version of wan-parity made this diagnosis, which kept no pictures of it.",)
    return _unwritten(diagnosis) or ("There are no pictures of this diagnosis.",)


def _unwritten(diagnosis: Diagnosis) -> Sequence[str]:
    said = diagnosis.stills_missing
    return () if said is None else (f"{capital(said)}.",)


def _how_many(case: CaseResult, diagnosis: Diagnosis, kept: Sequence[int]) -> str:
    total = max((video.frames for video in (case.preview, case.output) if video is not None), default=len(kept))
    option = "" if diagnosis.stills is None else f" (--stills {diagnosis.stills})"
    return f"{len(kept)} of {plural(total, 'frame')} of each video {'was' if len(kept) == 1 else 'were'} kept{option}."


def _order(diagnosis: Diagnosis) -> list[FactorCost]:
    """The factors in the order in which fixes were added, then those that were not."""
    taken = [step.taken for step in diagnosis.waterfall]
    return sorted(diagnosis.factors, key=lambda cost: taken.index(cost.factor) if cost.factor in taken else len(taken))


def _waterfall(diagnosis: Diagnosis, order: Sequence[FactorCost]) -> Row:
    steps = {step.taken: (place, step.trial) for place, step in enumerate(diagnosis.waterfall)}
    pictures = [
        Picture(side="preview", name="Preview", title="the preview"),
        _picture("as_is", "As requested", "as requested", diagnosis.as_is, "not generated"),
    ]
    before = diagnosis.as_is
    fixed: list[str] = []
    for cost in order:
        place, trial = steps.get(cost.factor, (None, None))
        fixed.append(factor_name(cost.factor))
        title = f"{together(fixed)} fixed"
        side = "" if place is None else f"waterfall:{place}"
        why = _why(cost) if place is None else _OVER
        last = cost is order[-1]
        note = "the preview's settings" if last and _same(trial, diagnosis.preview_recipe) else ""
        if _same(trial, before) and trial is not None:
            note = _MORE
        pictures.append(_picture(side, f"+ {fixed[-1]}", title, trial, why, note))
        before = trial or before
    ends = {trial.file_sha256 for _, trial in steps.values() if trial is not None}
    recipe = diagnosis.preview_recipe
    if recipe is not None and recipe.file_sha256 not in ends:
        pictures.append(_picture("recipe", "All fixed", "with the preview's settings", recipe, "not generated"))
    return Row(
        kind="waterfall",
        title="Adding fixes one by one",
        text="From the request to the preview's settings; each picture keeps the fixes before it.",
        pictures=tuple(pictures),
    )


def _alone(diagnosis: Diagnosis, order: Sequence[FactorCost], kind: Kind) -> Row:
    """One factor at a time."""
    other = diagnosis.as_is if kind == "gain" else diagnosis.preview_recipe
    pictures = []
    for cost in order:
        name, trial = factor_name(cost.factor), _of(cost, kind)
        note = _NONE if _same(trial, other) else ""
        title = f"only {name} {_VERBS[kind]}"
        pictures.append(_picture(f"{kind}:{cost.factor}", name, title, trial, _why(cost), note))
    return Row(kind=kind, title=f"Only this {_VERBS[kind]}", text=_TEXTS[kind], pictures=tuple(pictures))


def _of(cost: FactorCost, kind: Kind) -> Trial | None:
    return cost.gain if kind == "gain" else cost.loss


def _none_of(order: Sequence[FactorCost], kind: Kind) -> str:
    reasons = dict.fromkeys(_why(cost).removeprefix(f"{kind}: ") for cost in order)
    return f"Nothing was generated with only one setting {_VERBS[kind]}: {'; '.join(reasons)}."


def _picture(side: str, name: str, title: str, trial: Trial | None, why: str, note: str = "") -> Picture:
    if trial is None:
        return Picture(side=side, name=name, title=title, missing=why)
    near = trial.to_preview
    missing = "" if trial.stills is not None else "no picture was kept"
    return Picture(
        side=side,
        name=name,
        title=title,
        figure=_figure(near),
        note=note,
        missing=missing,
        identical=near.identical,
    )


def _figure(near: Closeness) -> str:
    if near.identical:
        return IDENTICAL
    if near.psnr is not None:
        return decibels(near.psnr)
    ours = (near.unavailable or "").rpartition(" compared with ")[2]  # "5 frames of 64x64"
    return f"not comparable: {ours}" if ours else "not comparable"


def _why(cost: FactorCost) -> str:
    return cost.not_measured or "not generated"


def _same(one: Trial | None, other: Trial | None) -> bool:
    return one is not None and other is not None and one.file_sha256 == other.file_sha256
