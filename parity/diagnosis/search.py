"""Search for the settings behind a video, for a config that is missing, wrong or of unknown age.

Size, number of frames and time per frame are read from the file. The rest is a coordinate search: it varies one setting
at a time, starts from the config or the request, and keeps what comes closer. A hypothesis that generates the file bit
for bit is a proof and ends the search.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from parity.case.load import Case
from parity.comparison.compare import closeness, deliver, is_lossless
from parity.diagnosis.axis import Axis, Option
from parity.diagnosis.file_settings import read_from_file, why_not_generated
from parity.diagnosis.hypotheses import axes, rounding_variants
from parity.diagnosis.lab import BudgetSpentError, Lab
from parity.factors.findings import show
from parity.results.diagnosis import Candidate, Closeness, Search, Setting, Stopped, Trial, Verdict
from parity.results.words import decibels
from pipelines.drift import LORA_FACTORS, Factor, frames_key
from pipelines.errors import ParityError
from pipelines.limits import limits_of
from pipelines.recipe import Precision, Recipe, to_dict
from pipelines.scheduler import CLASSES

GAIN_DB = 0.5
"""The smallest gain for which a setting is changed: rounding alone moves a lossy file by 0.1 to 0.3 dB."""

ROUNDING_GAIN_DB = 1.0
"""The same for settings that only change the rounding: these are proven by bits, not by decibels."""

TWIN_DB = 1.5
"""A verdict of `likely` needs a PSNR at most this much below that of the rounding twin."""

_SAME_DB = 45.0
"""What rounding is taken to cost where the twin is identical: another machine may round where this one does not."""

CLEAR_DB = 3.0
"""A gain of this size is taken at once. Smaller ones wait until every setting was varied, because a proof may still
follow: a better solver, for example, comes a little closer to a preview that had more steps."""

_ROUNDS = 4
_SCREEN = 4
"""Screening runs a fourth of the steps, at least two."""


class _ProvenError(Exception):
    """A hypothesis reproduced the preview bit for bit, which ends the search. This module catches it itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whose settings are searched. The lab holds its case and video; `case.preview` is what is assumed about it."""

    of: Literal["preview", "server", "file"]
    other_side: str
    """Whose values `case.inference` holds; they are tried as well."""


OF_PREVIEW = Subject(of="preview", other_side="the request's")
OF_SERVER = Subject(of="server", other_side="the preview's")
OF_FILE = Subject(of="file", other_side="the preview's")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """A value that comes closer."""

    gain: float
    """The gain in dB."""
    recipe: Recipe
    trial: Trial


def search(lab: Lab, on_change: Callable[[Search], object], subject: Subject = OF_PREVIEW) -> tuple[Search, Recipe]:
    """Search for the settings behind the lab's video. Returns the result and the recipe of the best hypothesis.

    If something ends the search early (budget, Ctrl-C, an error of the engine), it returns the best one so far.
    """
    work = _Searching(lab, subject)
    stopped: Stopped | None = None
    try:
        for _ in work.run():
            on_change(work.result("interrupted"))  # which it is, if the process is killed before the next step
    except _ProvenError:
        pass
    except BudgetSpentError:
        stopped = "budget"
    except KeyboardInterrupt:
        stopped = "interrupted"
    except ParityError as error:
        stopped = "error"
        work.notes.append(str(error))
    return work.result(stopped), work.best


def plan_text(case: Case, subject: Subject = OF_PREVIEW) -> str:
    """Describe the cost of a search before it starts."""
    counts = _counts(case.preview, axes(case, subject.other_side))
    shown = ", ".join(f"{name} {count}" for name, count in counts.items())
    return (
        f"search, {1 + sum(counts.values())} generations per round ({shown}), more for numbers in between; "
        "ends at the first bit-identical one; --budget limits it"
    )


def _counts(recipe: Recipe, varied: Sequence[Axis]) -> dict[str, int]:
    """Count the values to be generated for every setting."""
    return {axis.factor: len(_distinct(axis.options(recipe), recipe)) for axis in varied}


class _Searching:
    """The state of a running search."""

    def __init__(self, lab: Lab, subject: Subject) -> None:
        self.lab, self.case, self._subject = lab, lab.case, subject
        self.notes = [f"the config cannot be reproduced: {obstacle}" for obstacle in self.case.preview.obstacles]
        left_out = limits_of(self.case.preview).items()
        self.notes += [
            f"generated without {factor}, which is not supported yet: {reason}" for factor, reason in left_out
        ]
        self._axes = axes(lab.case, subject.other_side)
        self._read, self._base = read_from_file(lab.case, lab.preview)
        self.best = self._base
        self._nearest: Trial | None = None
        self._why_not = ""
        self._tried: dict[str, list[Candidate]] = {}
        self._twin: Closeness | None = None

    def run(self) -> Iterator[None]:
        """Try one hypothesis after the other; yields after each setting. Raises _ProvenError on a bit-identical one."""
        self._why_not = why_not_generated(self.lab.preview) or ""
        if self._why_not:
            return
        self._nearest = self._generate(self._base, "as assumed")
        yield
        for _ in range(_ROUNDS):
            before, waiting = self.best, []
            for axis in self._axes:
                step = self._vary(axis)
                if step is not None and step.gain >= CLEAR_DB:
                    self._take(step)
                elif step is not None:
                    waiting.append(step)
                yield
            if self.best == before and waiting:
                self._take(max(waiting, key=lambda step: step.gain))
            if self.best == before:
                break
        for option in rounding_variants(self.best):
            self._try(option, "application and precision")
        yield
        self._measure_twin()

    def _generate(self, recipe: Recipe, label: str) -> Trial:
        trial = self.lab.trial(recipe, label)
        if trial.to_preview.identical:
            self.best, self._nearest = recipe, trial
            raise _ProvenError
        return trial

    def _take(self, step: _Step) -> None:
        self.best, self._nearest = step.recipe, step.trial

    def _vary(self, axis: Axis) -> _Step | None:
        """Try the values of a setting. Returns the closest one, if it is closer by more than chance."""
        assert self._nearest is not None
        options = _distinct(axis.options(self.best), self.best)
        if axis.screened:
            options = self._screen(axis, options)
        trials = [(option, self._try(option, axis.factor)) for option in options]
        if axis.between is not None:
            trials += self._refine(axis, trials)
        if not trials:
            return None
        option, trial = max(trials, key=lambda pair: _psnr(pair[1]))
        gain = _psnr(trial) - _psnr(self._nearest)
        if gain < (ROUNDING_GAIN_DB if axis.only_rounds else GAIN_DB):
            return None
        return _Step(gain=gain, recipe=dataclasses.replace(self.best, **option.changes), trial=trial)

    def _try(self, option: Option, factor: str) -> Trial:
        recipe = dataclasses.replace(self.best, **option.changes)
        try:
            trial = self._generate(recipe, f"{factor}: {option.label}")
        except _ProvenError:
            self._note(factor, option.label, Closeness(identical=True))
            raise
        self._note(factor, option.label, trial.to_preview)
        return trial

    def _note(self, factor: str, label: str, found: Closeness | None, note: str = "") -> None:
        self._tried.setdefault(factor, []).append(Candidate(value=label, to_preview=found, note=note))

    def _screen(self, axis: Axis, options: Sequence[Option]) -> list[Option]:
        """Keep the options that, over a fourth of the steps, come closer than the current value."""
        steps = max(2, self.best.steps // _SCREEN)
        if steps >= self.best.steps or not options:
            return list(options)
        share = steps / self.best.steps

        def short(recipe: Recipe, label: str) -> float:
            recipe = dataclasses.replace(recipe, steps=steps)
            self.lab.denoise(recipe, f"{label}, short", share=share)
            return _psnr(self._generate(recipe, label))

        present = short(self.best, axis.factor)
        kept = []
        for option in options:
            near = short(dataclasses.replace(self.best, **option.changes), f"{axis.factor}: {option.label}")
            if near >= present + GAIN_DB:
                kept.append((near, option))
            else:
                note = f"{decibels(near, 1)} over {steps} steps, {decibels(present, 1)} with the current value"
                self._note(axis.factor, option.label, None, note)
        return [option for _, option in sorted(kept, key=lambda pair: -pair[0])[:2]]

    def _refine(self, axis: Axis, trials: Sequence[tuple[Option, Trial]]) -> list[tuple[Option, Trial]]:
        """Try numbers between the options: the minimum of the parabola through the three lowest errors, rounded."""
        assert axis.between is not None
        assert self._nearest is not None
        points = {option.number: _error(trial) for option, trial in trials if option.number is not None}
        present = _number_of(axis, self.best)
        if present is not None:
            points[present] = _error(self._nearest)
        more: list[tuple[Option, Trial]] = []
        for grain in axis.grain:
            bottom = _bottom(points)
            if bottom is None:
                break
            for whole in sorted({math.floor(bottom / grain), math.ceil(bottom / grain)}):
                value = round(whole * grain, 6)
                if value not in points:
                    option = axis.between(self.best, value)
                    more.append((option, self._try(option, axis.factor)))
                    points[value] = _error(more[-1][1])
        return more

    def _measure_twin(self) -> None:
        """Measure how far rounding alone moves the best hypothesis."""
        self._twin = rounding_twin(self.lab, self.best, raw=is_lossless(self.case.video))

    def result(self, stopped: Stopped | None) -> Search:
        """Return the best hypothesis so far, and how certain it is."""
        best = self._nearest.to_preview if self._nearest is not None else Closeness(identical=False, unavailable="")
        verdict: Verdict = "not found"
        if best.identical:
            verdict = "proven"
        elif self._twin is not None and best.psnr is not None:
            verdict = "likely" if within_rounding(best, self._twin) else "not found"
        settings = (*self._read, *(self._setting(axis) for axis in self._axes))
        return Search(
            verdict=verdict,
            sentence=self._sentence(verdict, best, settings, stopped),
            best=best,
            settings=settings,
            recipe=to_dict(self.best),
            stopped=stopped,
            cost=self.lab.cost(1 + sum(_counts(self._base, self._axes).values())),
            notes=tuple(self.notes),
            of=self._subject.of,
        )

    def _setting(self, axis: Axis) -> Setting:
        assumed, found = (_shown(axis.factor, recipe) for recipe in (self._base, self.best))
        tried = tuple(self._tried.get(axis.factor, ()))
        return Setting(
            name=axis.factor,
            assumed=assumed,
            found=found,
            changed=assumed != found,
            tried=tried,
            evidence=_evidence(tried, proven=self._nearest is not None and self._nearest.to_preview.identical),
        )

    def _sentence(self, verdict: Verdict, best: Closeness, settings: Sequence[Setting], stopped: Stopped | None) -> str:
        head = f"{stopped}; so far: " if stopped else ""
        if self._nearest is None:
            return f"{head}not found: {self._why_not or 'nothing was generated'}"
        changed = ", ".join(f"{s.name} is {s.found}, not {s.assumed}" for s in settings if s.changed)
        if verdict == "proven":
            return f"{head}proven, bit-identical: {changed or 'everything is as assumed'}"
        near = decibels(best.psnr, 1) if best.psnr is not None else "no figure"
        twin = f"; rounding alone: {decibels(self._twin.psnr, 1)}" if self._twin is not None and self._twin.psnr else ""
        if verdict == "likely":
            return f"{head}likely ({near}{twin}): {changed or 'everything is as assumed'}; generated on another machine"
        guess = f"best guess ({near}{twin}): {changed or 'everything is as assumed'}"
        return f"{head}not found among the values tried; {guess}"


def rounding_twin(lab: Lab, recipe: Recipe, *, raw: bool) -> Closeness:
    """How far rounding alone moves a recipe's frames: the same recipe, applied or cast differently.

    `raw`: the frames are compared as they are, not as the recipe's files show them. Raises as `Lab.generate`.
    """
    twin: dict[str, Any] = (
        {"lora_application": "side_path" if recipe.lora_application == "merged" else "merged"}
        if recipe.lora_files
        else {"precision": _other_cast(recipe.precision)}
    )
    pair = (recipe, dataclasses.replace(recipe, **twin))
    frames = [lab.generate(one, "rounding twin") for one in pair]
    if not raw:
        frames = [deliver(video, one)[1].frames for video, one in zip(frames, pair, strict=True)]
    return closeness(*frames)


def within_rounding(found: Closeness, twin: Closeness) -> bool:
    """Return whether a video is as close to a recipe's as rounding alone, by its twin, may move it."""
    if found.identical or found.psnr is None:
        return found.identical
    return found.psnr >= (_SAME_DB if twin.psnr is None else twin.psnr) - TWIN_DB


def _other_cast(precision: Precision) -> Precision:
    half = "bfloat16" if precision.dtype == "float32" else precision.dtype
    return Precision(half, "kept" if precision.fp32_modules == "cast" else "cast")


def _distinct(options: Iterable[Option], present: Recipe) -> list[Option]:
    """Keep the options that generate something other than the current hypothesis and each other."""
    seen = {frames_key(present)}
    kept = []
    for option in options:
        key = frames_key(dataclasses.replace(present, **option.changes))
        if key not in seen:
            seen.add(key)
            kept.append(option)
    return kept


def _shown(name: Factor, recipe: Recipe) -> str:
    """Format the value of a setting; solver and shift of a schedule are two settings."""
    if name == "shift":
        return f"{recipe.scheduler.shift:g}"
    if name == "scheduler":  # one of ComfyUI's is told by sampler, schedule and shift
        return CLASSES.get(recipe.scheduler.family, CLASSES["flow_match_euler"])
    return show(recipe, name)


def _number_of(axis: Axis, recipe: Recipe) -> float | None:
    if axis.factor in LORA_FACTORS:
        loras = recipe.loras(LORA_FACTORS[axis.factor])
        return loras[0][1] if loras else None
    return {"guidance": recipe.guidance, "shift": recipe.scheduler.shift}.get(axis.factor)


def _psnr(trial: Trial) -> float:
    if trial.to_preview.unavailable is not None:
        return -math.inf
    return math.inf if trial.to_preview.psnr is None else trial.to_preview.psnr


def _error(trial: Trial) -> float:
    """Return the mean squared error relative to 255 squared."""
    return 10 ** (-_psnr(trial) / 10)


def _bottom(points: dict[float, float]) -> float | None:
    """Return the minimum of the parabola through the lowest point and its two neighbours; None if there is none."""
    numbers = sorted(points)
    lowest = min(numbers, key=points.__getitem__)
    middle = min(max(numbers.index(lowest), 1), len(numbers) - 2)
    if len(numbers) < 3:
        return None
    (x0, x1, x2), (y0, y1, y2) = numbers[middle - 1 : middle + 2], [points[x] for x in numbers[middle - 1 : middle + 2]]
    over = (x1 - x0) ** 2 * (y1 - y2) - (x1 - x2) ** 2 * (y1 - y0)
    under = (x1 - x0) * (y1 - y2) - (x1 - x2) * (y1 - y0)
    if under == 0:
        return None
    return min(max(x1 - over / (2 * under), numbers[0]), numbers[-1])


def _evidence(tried: Sequence[Candidate], *, proven: bool) -> str:
    generated = [candidate for candidate in tried if candidate.to_preview is not None]
    if not tried:
        return "not varied: already proven" if proven else "not varied"
    hit = next((c for c in generated if c.to_preview is not None and c.to_preview.identical), None)
    if hit is not None:
        return f"{hit.value} is bit-identical"
    near = [
        (c.to_preview.psnr, c.value) for c in generated if c.to_preview is not None and c.to_preview.psnr is not None
    ]
    screened = f"{len(tried) - len(generated)} ruled out by short runs" if len(tried) > len(generated) else ""
    if not near:
        return screened or "none came close"
    psnr, value = max(near)
    return f"{len(near)} tried, closest {decibels(psnr, 1)} ({value})" + (f"; {screened}" if screened else "")
