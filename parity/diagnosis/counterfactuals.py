"""Why a case drifted, by experiment: what each factor gains and costs, the fewest that explain it all, what is left.

A counterfactual is one recipe with one factor taken from the other. For k factors: both ends, k gains (the request
with one factor put right) and k losses (the preview's recipe with one factor made wrong), 2k + 2 drawings at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from parity.case.load import Case
from parity.comparison.compare import encoded_again
from parity.comparison.metrics import psnr_frame
from parity.diagnosis.conclusion import conclude
from parity.diagnosis.lab import BudgetSpentError, Lab
from parity.diagnosis.origin import find_origin
from parity.diagnosis.ranking import Noise, is_rounding, rank
from parity.factors.catalogue import CATALOGUE, likeliest_first
from parity.factors.findings import show
from parity.results.diagnosis import Diagnosis, FactorCost, Level, Origin, StageGap, Stopped, Trial, WaterfallStep
from pipelines.drift import differing_factors, latents_key, take, take_all
from pipelines.engine.engine import Engine
from pipelines.engine.stages import Trace
from pipelines.errors import ParityError
from pipelines.media.video import Frames
from pipelines.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """One counterfactual."""

    kind: Literal["gain", "loss"]
    factor: str
    recipe: Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a diagnosis will draw, known before it starts."""

    mode: Literal["full", "gains"]
    case: Case
    factors: tuple[str, ...]
    """Likeliest first."""
    experiments: tuple[Experiment, ...]

    @property
    def cost(self) -> int:
        """Full generations at most, both ends included; equal latents are denoised once."""
        return len(self._drawn())

    @property
    def denoising_steps(self) -> int:
        """At most."""
        return sum(recipe.steps for recipe in self._drawn().values())

    def _drawn(self) -> dict[object, Recipe]:
        recipes = (self.case.inference, self.case.preview, *(experiment.recipe for experiment in self.experiments))
        return {latents_key(recipe): recipe for recipe in recipes}

    def __str__(self) -> str:
        count = len(self.factors)
        if not count:
            return "no factor differs: the request as it is, nothing more"
        drawings = 2 + len(self.experiments)
        parts = f"both ends, {count} gains" + (f", {count} losses" if self.mode == "full" else "")
        saved = f", {drawings - self.cost} saved by reuse" if drawings > self.cost else ""
        cost = f"{self.cost} generations{saved}, {self.denoising_steps} denoising steps"
        return f"{parts}: {cost} ({', '.join(self.factors)})"


def make_plan(case: Case, mode: Literal["full", "gains"] = "full") -> Plan:
    """The counterfactuals of a case: likeliest factor first, those on weights already loaded before the others."""
    factors = likeliest_first(differing_factors(case.preview, case.inference))
    gains = [Experiment(kind="gain", factor=name, recipe=take(case.inference, name, case.preview)) for name in factors]
    losses = [Experiment(kind="loss", factor=name, recipe=take(case.preview, name, case.inference)) for name in factors]
    loaded = Engine.load_key(case.preview)  # the preview's recipe is drawn just before
    experiments = [*gains, *losses] if mode == "full" else gains
    experiments.sort(key=lambda item: (item.kind, Engine.load_key(item.recipe) != loaded))
    return Plan(mode=mode, case=case, factors=tuple(factors), experiments=tuple(experiments))


def diagnose(
    lab: Lab,
    plan: Plan,
    as_is: Frames,
    trace: Trace,
    on_change: Callable[[Diagnosis], None],
    noise: float | None = None,
) -> Diagnosis:
    """Run a plan. `as_is`, `trace`: the request's drawing, already made in `lab`; an empty trace tells no origin.

    `noise`: PSNR in dB between raw drawings of a request that does not repeat, if it was measured.
    Whatever ends it early (budget, Ctrl-C, an error of the engine), what is known so far is returned; `on_change`
    hears of every step on the way. A KeyboardInterrupt is returned as `stopped: interrupted`, not raised.
    """
    work = _Counterfactuals(lab, plan, as_is, trace, noise)
    stopped: Stopped | None = None
    error: str | None = None
    try:
        for _ in work.run():
            on_change(work.diagnosis())
        stopped = work.stopped
    except KeyboardInterrupt:
        stopped = "interrupted"
    except ParityError as reason:
        stopped, error = "error", str(reason)
    return work.diagnosis(stopped, error)


class _Counterfactuals:
    """The state of a running diagnosis."""

    def __init__(self, lab: Lab, plan: Plan, as_is: Frames, trace: Trace, noise: float | None) -> None:
        self.lab, self.plan, self.case = lab, plan, plan.case
        self.stopped: Stopped | None = None
        self._as_is_frames, self._trace = as_is, trace
        again = [experiment for experiment in plan.experiments if experiment.kind == "gain"]
        noisy = frozenset(experiment.factor for experiment in again if not experiment.recipe.repeats)
        self._noise = Noise(factors=noisy, psnr=noise) if noisy else None
        self._as_is_trial: Trial | None = None
        self._preview_trial: Trial | None = None
        self._trials: dict[tuple[str, str], Trial] = {}
        self._smallest: tuple[tuple[str, ...], str] | None = None
        self._waterfall: tuple[WaterfallStep, ...] = ()
        self._origin: Origin | None = None

    def run(self) -> Iterator[None]:
        """Experiment after experiment; yields after each."""
        try:
            self._draw_preview()
        except BudgetSpentError:
            self._as_is_trial = self.lab.judge(self.case.inference, self._as_is_frames, 0)
            self.stopped = "budget"
            return
        yield
        for experiment in self.plan.experiments:
            try:
                trial = self.lab.trial(experiment.recipe, f"{experiment.factor}, {experiment.kind} alone")
            except BudgetSpentError:
                self.stopped = "budget"  # later ones may still be free
                continue
            self._trials[experiment.kind, experiment.factor] = trial
            self._find_smallest_set()
            yield
            if self._restored_by_one(experiment, trial):
                self.stopped = "explained"
                break
        if self._smallest is None:
            self._verify_smallest_set()
        self._draw_waterfall()
        yield

    def _draw_preview(self) -> None:
        case, lab, trace = self.case, self.lab, Trace()
        before = lab.engine.work.denoising_steps
        frames = lab.draw(case.preview, "the preview's recipe", trace)
        lab.compare_with(frames)
        self._preview_trial = lab.judge(case.preview, frames, lab.engine.work.denoising_steps - before)
        self._as_is_trial = lab.judge(case.inference, self._as_is_frames, len(self._trace.latents))
        if trace.noise is not None and self._trace.noise is not None:
            self._origin = find_origin(trace, self._trace, self._decode_gap(frames))

    def _decode_gap(self, frames: Frames) -> StageGap:
        """The preview's latents, decoded as the request would."""
        preview, inference = self.case.preview, self.case.inference
        names = ("checkpoint", "precision", "tiles")
        if all(getattr(preview, name) == getattr(inference, name) for name in names):
            return StageGap(stage="decode", equal=True, gap=0.0, note="same VAE, same settings")
        latents = self.lab.denoise(preview, "")
        other = self.lab.engine.decode(latents, inference, self.case.token)
        if np.array_equal(frames, other):
            return StageGap(stage="decode", equal=True, gap=0.0)
        difference = (frames.astype(np.float64) - other) ** 2
        note = f"{psnr_frame(frames, other):.1f} dB"
        return StageGap(
            stage="decode", equal=False, gap=float(difference.sum() / (frames.astype(np.float64) ** 2).sum()), note=note
        )

    def _restored_by_one(self, experiment: Experiment, trial: Trial) -> bool:
        """Whether a gain alone already draws the preview recipe's video, so that nothing else matters."""
        restored = self._preview_trial is not None and trial.file_sha256 == self._preview_trial.file_sha256
        if experiment.kind == "gain" and restored and len(self.plan.factors) > 1:
            self._smallest = ((experiment.factor,), f"{experiment.factor} alone draws the same file, byte for byte")
            return True
        return False

    def _level(self, factor: str) -> Level | None:
        """How much a factor costs, from its loss."""
        trial, preview = self._trials.get(("loss", factor)), self._preview_trial
        if trial is None or preview is None or trial.to_recipe is None:
            return None
        if trial.to_recipe.unavailable is not None:
            return "frames do not pair"
        if trial.to_recipe.identical:
            return "none" if trial.file_sha256 == preview.file_sha256 else "file only"
        return "rounding" if is_rounding(self.case.preview, trial.to_recipe) else "visible"

    def _find_smallest_set(self) -> None:
        """If the losses say so without a further drawing: every factor changes the video, so all are needed."""
        levels = [self._level(factor) for factor in self.plan.factors]
        if self._smallest is None and None not in levels and "none" not in levels:
            count = len(levels)
            evidence = (
                "with it the video is the preview recipe's; without it, not"
                if count == 1
                else f"all {count} together are the preview's recipe; with any one of them left wrong the video differs"
            )
            self._smallest = (self.plan.factors, evidence)

    def _verify_smallest_set(self) -> None:
        """Factors whose loss changes nothing may be left out: drawn, to be sure."""
        levels = {factor: self._level(factor) for factor in self.plan.factors}
        if not levels or None in levels.values() or self._preview_trial is None:
            return
        needed = tuple(factor for factor, level in levels.items() if level != "none")
        recipe = take_all(self.case.inference, needed, self.case.preview)
        try:
            trial = self.lab.trial(recipe, f"only {', '.join(needed) or 'nothing'} put right")
        except BudgetSpentError:
            self.stopped = "budget"
            return
        if trial.file_sha256 == self._preview_trial.file_sha256:
            without = ", ".join(factor for factor in levels if factor not in needed)
            self._smallest = (needed, f"draws the same file, byte for byte, with {without} left as it is")
        else:
            self._smallest = (self.plan.factors, "single losses do not add up; all together are the preview's recipe")

    def _draw_waterfall(self) -> None:
        """As it is, then one factor more at a time. Drawn where that costs nothing, or the budget holds it."""
        allowed = self.lab.budget if self.lab.budget is not None else self.plan.cost
        ranked = [cost.factor for cost in self._ranked()]
        recipe = self.case.inference
        steps = [WaterfallStep(taken=None, trial=self._as_is_trial)]
        for factor in ranked:
            recipe = take(recipe, factor, self.case.preview)
            affordable = self.lab.knows(recipe) or self.lab.spent + 1 <= allowed
            trial = self.lab.trial(recipe, f"{factor} put right as well") if affordable else None
            steps.append(WaterfallStep(taken=factor, trial=trial))
        self._waterfall = tuple(steps)

    def _ranked(self) -> list[FactorCost]:
        costs = []
        for factor in self.plan.factors:
            gain, loss = self._trials.get(("gain", factor)), self._trials.get(("loss", factor))
            costs.append(
                FactorCost(
                    factor=factor,
                    preview=show(self.case.preview, factor),
                    inference=show(self.case.inference, factor),
                    fix=CATALOGUE[factor].fix(self.case.preview),
                    level=self._level(factor),
                    gain=gain,
                    loss=loss,
                    not_measured=self._not_measured(gain, loss),
                )
            )
        return rank(costs, self._as_is_trial, self._noise)

    def _not_measured(self, gain: Trial | None, loss: Trial | None) -> str | None:
        missing = [name for name, trial in (("gain", gain), ("loss", loss)) if trial is None]
        if self.plan.mode == "gains" and missing == ["loss"]:
            return "loss: only gains were asked for"
        reasons = {"explained": "not needed, one factor explains all", "budget": "the budget was spent"}
        return f"{' and '.join(missing)}: {reasons.get(self.stopped or '', 'not drawn')}" if missing else None

    def diagnosis(self, stopped: Stopped | None = None, error: str | None = None) -> Diagnosis:
        """What is known by now."""
        preview = self._preview_trial
        explained = None if preview is None else preview.to_preview.identical
        factors = tuple(self._ranked())
        smallest, evidence = self._smallest or (None, "")
        if smallest is not None:
            smallest = tuple(cost.factor for cost in factors if cost.factor in smallest)
        return Diagnosis(
            mode=self.plan.mode,
            sentence=conclude(factors, smallest, self._as_is_trial, preview, stopped, error, self._noise),
            explained=explained,
            stopped=stopped,
            error=error,
            factors=factors,
            smallest_set=smallest,
            smallest_set_evidence=evidence,
            as_is=self._as_is_trial,
            preview_recipe=preview,
            residue=preview.to_preview if preview is not None and not explained else None,
            outside=() if explained else outside(self.case),
            waterfall=self._waterfall,
            origin=self._origin,
            cost=self.lab.cost(self.plan.cost),
        )


def outside(case: Case) -> tuple[str, ...]:
    """What may be a residue's cause: it is in no recipe."""
    causes = [*case.preview.notes]
    kind = encoded_again(case.video)
    if kind is not None:
        causes.append(f"ai-toolkit writes WebP; this preview was encoded again as {kind}, which no recipe can repeat")
    causes.append("another CPU or GPU, or other library versions, round differently (47.5 to 49.5 dB on raw frames)")
    return tuple(causes)
