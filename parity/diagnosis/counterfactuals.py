"""Why a case drifted, by experiment: the effect of each factor, the smallest set that explains the drift, the residue.

A counterfactual is one recipe with one factor taken from the other. For k factors there are two endpoints (the request
and the preview's recipe), k gains (the request with only this factor fixed) and k losses (the preview's recipe with
only this factor broken): at most 2k + 2 generations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from parity.case.load import Case
from parity.comparison.compare import encoded_again
from parity.comparison.metrics import psnr_frame
from parity.diagnosis.conclusion import conclude
from parity.diagnosis.lab import BudgetSpentError, Lab
from parity.diagnosis.origin import find_origin
from parity.diagnosis.ranking import RequestNoise, is_rounding, rank
from parity.factors.catalogue import likeliest_first
from parity.factors.code import code_of, combined
from parity.factors.comfyui_fixes import fix_on
from parity.factors.findings import show
from parity.results.diagnosis import (
    Diagnosis,
    FactorCost,
    Level,
    Origin,
    Snippet,
    StageGap,
    Stopped,
    Trial,
    WaterfallStep,
)
from parity.results.words import decibels
from pipelines.drift import Factor, differing_factors, latents_key, take, take_all
from pipelines.engine.engine import Engine
from pipelines.engine.stages import Trace
from pipelines.errors import ParityError
from pipelines.files.words import plural
from pipelines.limits import limits_of, within_limits
from pipelines.media.video import Frames
from pipelines.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """One counterfactual."""

    kind: Literal["gain", "loss"]
    factor: Factor
    recipe: Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The generations of a diagnosis, known before it starts."""

    mode: Literal["full", "gains"]
    case: Case
    factors: tuple[Factor, ...]
    """Likeliest first."""
    left_out: Mapping[Factor, str]
    """The factors that this version cannot generate, each with the reason: both sides are generated without them."""
    experiments: tuple[Experiment, ...]

    @property
    def cost(self) -> int:
        """The largest number of full generations, endpoints included; equal latents are denoised once."""
        return len(self._distinct())

    @property
    def denoising_steps(self) -> int:
        """The largest number of denoising steps."""
        return sum(recipe.passes for recipe in self._distinct().values())

    def _distinct(self) -> dict[object, Recipe]:
        recipes = (self.case.inference, self.case.preview, *(experiment.recipe for experiment in self.experiments))
        return {latents_key(recipe): recipe for recipe in recipes}

    def __str__(self) -> str:
        count = len(self.factors)
        if not count and not self.left_out:
            return "no factor differs: only the request is generated"
        generations = 2 + len(self.experiments)
        parts = f"2 endpoints, {count} with one factor fixed"
        parts += f", {count} with one broken" if self.mode == "full" else ""
        parts += f", {generations - self.cost} saved by reuse" if generations > self.cost else ""
        steps = f"{self.denoising_steps} denoising steps"
        without = f"; generated without {', '.join(self.left_out)}, which is not supported yet" if self.left_out else ""
        return f"up to {plural(self.cost, 'generation')} ({parts}), {steps}: {', '.join(self.factors)}{without}"


def make_plan(case: Case, mode: Literal["full", "gains"] = "full") -> Plan:
    """Plan the counterfactuals of a case: likeliest factor first, those on weights already loaded before the others."""
    case, left_out = without_limits(case)
    factors = likeliest_first(differing_factors(case.preview, case.inference))
    gains = [Experiment(kind="gain", factor=name, recipe=take(case.inference, name, case.preview)) for name in factors]
    losses = [Experiment(kind="loss", factor=name, recipe=take(case.preview, name, case.inference)) for name in factors]
    loaded = Engine.load_key(case.preview)  # the preview's recipe is generated just before
    experiments = [*gains, *losses] if mode == "full" else gains
    experiments.sort(key=lambda item: (item.kind, Engine.load_key(item.recipe) != loaded))
    return Plan(mode=mode, case=case, factors=tuple(factors), left_out=left_out, experiments=tuple(experiments))


def without_limits(case: Case) -> tuple[Case, dict[Factor, str]]:
    """The case without the factors that this version cannot generate, equal on both sides; and why it cannot."""
    left_out = limits_of(case.preview) | limits_of(case.inference)
    preview = within_limits(case.preview)
    inference = take_all(within_limits(case.inference), left_out, preview)
    return dataclasses.replace(case, preview=preview, inference=inference), left_out


def left_out_costs(declared: Case, left_out: Mapping[Factor, str]) -> list[FactorCost]:
    """The rows of factors that were not measured, because this version cannot generate them."""
    return [
        FactorCost(
            factor=factor,
            preview=show(declared.preview, factor),
            inference=show(declared.inference, factor),
            fix=fix_on(factor, declared.preview, declared.inference),
            code=code_of(factor, declared.preview),
            not_measured=f"not supported yet, both sides are generated without it: {reason}",
        )
        for factor, reason in left_out.items()
    ]


def diagnose(
    lab: Lab,
    plan: Plan,
    as_is: Frames,
    trace: Trace,
    on_change: Callable[[Diagnosis], object],
    noise: float | None = None,
) -> Diagnosis:
    """Run a plan.

    `as_is` and `trace` are the request's frames and trace, already generated in `lab`; with an empty trace the
    diagnosis has no origin. `noise` is the PSNR in dB between raw frames of two generations of a request that is not
    repeatable, if it was measured. `on_change` is called after every step, with what is known so far. If something
    ends the diagnosis early (budget, Ctrl-C, an error of the engine), it returns what is known so far; a
    KeyboardInterrupt is returned as `stopped: interrupted`, not raised.
    """
    work = _Counterfactuals(lab, plan, as_is, trace, noise)
    stopped: Stopped | None = None
    error: str | None = None
    try:
        for _ in work.run():
            on_change(work.diagnosis("interrupted"))  # which it is, if the process is killed before the next step
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
        self._before = max(0.0, lab.used - 1)  # finding out how a video was made; the request is part of the plan
        gains = [experiment for experiment in plan.experiments if experiment.kind == "gain"]
        noisy = frozenset(experiment.factor for experiment in gains if not experiment.recipe.repeats)
        self._noise = RequestNoise(factors=noisy, psnr=noise) if noisy else None
        self._as_is_trial: Trial | None = None
        self._preview_trial: Trial | None = None
        self._trials: dict[tuple[str, str], Trial] = {}
        self._smallest: tuple[tuple[Factor, ...], str] | None = None
        self._waterfall: tuple[WaterfallStep, ...] = ()
        self._origin: Origin | None = None

    def run(self) -> Iterator[None]:
        """Run one experiment after the other; yields after each."""
        try:
            self._generate_preview()
        except BudgetSpentError:
            self._as_is_trial = self.lab.judge(self.case.inference, self._as_is_frames, "as requested", 0)
            self.stopped = "budget"
            return
        yield
        for experiment in self.plan.experiments:
            try:
                trial = self.lab.trial(
                    experiment.recipe, f"only {experiment.factor} {'fixed' if experiment.kind == 'gain' else 'broken'}"
                )
            except BudgetSpentError:
                self.stopped = "budget"  # later ones may still be free
                continue
            self._trials[experiment.kind, experiment.factor] = trial
            self._find_smallest_set()
            yield
            if self._reproduced_by_one(experiment, trial):
                self.stopped = "explained"
                break
        if self._smallest is None:
            self._verify_smallest_set()
        self._make_waterfall()
        yield

    def _generate_preview(self) -> None:
        case, lab, trace = self.case, self.lab, Trace()
        before = lab.engine.work.denoising_steps
        frames = lab.generate(case.preview, "the preview's recipe", trace)
        lab.compare_with(frames)
        steps = lab.engine.work.denoising_steps - before
        self._preview_trial = lab.judge(case.preview, frames, "the preview's recipe", steps)
        self._as_is_trial = lab.judge(case.inference, self._as_is_frames, "as requested", len(self._trace.latents))
        if trace.noise is not None and self._trace.noise is not None:
            self._origin = find_origin(trace, self._trace, self._decode_gap(frames))

    def _decode_gap(self, frames: Frames) -> StageGap:
        """Compare the decode: the preview's latents, decoded with the request's settings."""
        preview, inference = self.case.preview, self.case.inference
        if _decode_settings(preview) == _decode_settings(inference):
            return StageGap(stage="decode", equal=True, gap=0.0, note="same VAE, same settings")
        latents = self.lab.denoise(preview, "")
        other = self.lab.decode(latents, inference)
        if np.array_equal(frames, other):
            return StageGap(stage="decode", equal=True, gap=0.0)
        difference = (frames.astype(np.float64) - other) ** 2
        note = decibels(psnr_frame(frames, other), 1)
        return StageGap(
            stage="decode", equal=False, gap=float(difference.sum() / (frames.astype(np.float64) ** 2).sum()), note=note
        )

    def _reproduced_by_one(self, experiment: Experiment, trial: Trial) -> bool:
        """Check whether this gain alone generates the preview recipe's file, so no other factor matters."""
        reproduced = self._preview_trial is not None and trial.file_sha256 == self._preview_trial.file_sha256
        if experiment.kind == "gain" and reproduced and len(self.plan.factors) > 1:
            self._smallest = (
                (experiment.factor,),
                f"fixing only {experiment.factor} generates the same file, byte for byte",
            )
            return True
        return False

    def _level(self, factor: Factor) -> Level | None:
        """Classify the effect of a factor by its loss."""
        trial, preview = self._trials.get(("loss", factor)), self._preview_trial
        if trial is None or preview is None or trial.to_recipe is None:
            return None
        if trial.to_recipe.unavailable is not None:
            return "frames do not pair"
        if trial.to_recipe.identical:
            return "none" if trial.file_sha256 == preview.file_sha256 else "file only"
        rounds = factor == "eight_bit" or is_rounding(self.case.preview, trial.to_recipe)
        return "rounding" if rounds else "visible"

    def _find_smallest_set(self) -> None:
        """Set the smallest set if every loss changes the video, so that all factors are needed. Generates nothing."""
        levels = [self._level(factor) for factor in self.plan.factors]
        if self._smallest is None and None not in levels and "none" not in levels:
            count = len(levels)
            evidence = (
                "with it fixed the video equals the preview recipe's, otherwise it does not"
                if count == 1
                else f"all {count} together give the preview's recipe; with any one of them broken the video differs"
            )
            self._smallest = (self.plan.factors, evidence)

    def _verify_smallest_set(self) -> None:
        """Leave out the factors whose loss changes nothing, and verify that by generating the rest."""
        levels = {factor: self._level(factor) for factor in self.plan.factors}
        if not levels or None in levels.values() or self._preview_trial is None:
            return
        needed = tuple(factor for factor, level in levels.items() if level != "none")
        recipe = take_all(self.case.inference, needed, self.case.preview)
        try:
            trial = self.lab.trial(recipe, f"only {', '.join(needed) or 'nothing'} fixed")
        except BudgetSpentError:
            self.stopped = "budget"
            return
        if trial.file_sha256 == self._preview_trial.file_sha256:
            without = ", ".join(factor for factor in levels if factor not in needed)
            self._smallest = (needed, f"generates the same file, byte for byte, without fixing {without}")
        else:
            self._smallest = (
                self.plan.factors,
                "the single losses do not add up; all factors together give the preview's recipe",
            )

    def _make_waterfall(self) -> None:
        """Add fixes one by one, starting from the request, as far as that costs nothing or fits the budget."""
        planned = self.lab.spent - self.lab.used + self._before + self.plan.cost
        allowed = planned if self.lab.budget is None else self.lab.budget
        ranked = sorted(self.plan.factors, key=[cost.factor for cost in self._ranked()].index)
        recipe = self.case.inference
        steps = [WaterfallStep(taken=None, trial=self._as_is_trial)]
        for factor in ranked:
            recipe = take(recipe, factor, self.case.preview)
            affordable = self.lab.knows(recipe) or self.lab.spent + 1 <= allowed
            trial = self.lab.trial(recipe, f"{factor} fixed as well") if affordable else None
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
                    fix=fix_on(factor, self.case.preview, self.case.inference),
                    code=code_of(factor, self.case.preview),
                    level=self._level(factor),
                    gain=gain,
                    loss=loss,
                    not_measured=self._not_measured(gain, loss),
                )
            )
        return rank([*costs, *left_out_costs(self.lab.case, self.plan.left_out)], self._as_is_trial, self._noise)

    def _not_measured(self, gain: Trial | None, loss: Trial | None) -> str | None:
        missing = [name for name, trial in (("gain", gain), ("loss", loss)) if trial is None]
        if self.plan.mode == "gains" and missing == ["loss"]:
            return "loss: only gains were requested"
        reasons = {"explained": "not needed, one factor explains everything", "budget": "the budget was spent"}
        return f"{' and '.join(missing)}: {reasons.get(self.stopped or '', 'not generated')}" if missing else None

    def diagnosis(self, stopped: Stopped | None = None, error: str | None = None) -> Diagnosis:
        """Return what is known so far."""
        preview = self._preview_trial
        explained = None if preview is None else preview.to_preview.identical
        factors = tuple(self._ranked())
        smallest, evidence = self._smallest or (None, "")
        if smallest is not None:
            smallest = tuple(cost.factor for cost in factors if cost.factor in smallest)
        return Diagnosis(
            mode=self.plan.mode,
            sentence=conclude(
                factors, smallest, self._as_is_trial, preview, stopped, error, self._noise, tuple(self.plan.left_out)
            ),
            explained=explained,
            stopped=stopped,
            error=error,
            factors=factors,
            smallest_set=smallest,
            smallest_set_evidence=evidence,
            code=whole_code(factors, smallest, self.lab.case.preview),
            as_is=self._as_is_trial,
            preview_recipe=preview,
            residue=preview.to_preview if preview is not None and not explained else None,
            outside=() if explained else outside(self.case, self.plan.left_out),
            waterfall=self._waterfall,
            origin=self._origin,
            cost=self.lab.cost(self._before + self.plan.cost),
        )


def whole_code(
    factors: Iterable[FactorCost], smallest: Iterable[str] | None, preview: Recipe, *, without: Collection[str] = ()
) -> Snippet | None:
    """The smallest set of fixes as code, or all factors if it is unknown, but for those in `without`."""
    names = smallest if smallest is not None else [cost.factor for cost in factors]
    return combined((name for name in names if name not in without), preview)


def outside(case: Case, left_out: Mapping[Factor, str]) -> tuple[str, ...]:
    """List the possible causes of a residue: what could not be generated first, then what no recipe contains."""
    causes = [f"{factor}, which is not supported yet: {reason}" for factor, reason in left_out.items()]
    causes += case.preview.notes
    kind = encoded_again(case.video)
    if kind is not None:
        causes.append(
            f"ai-toolkit writes WebP; this preview was encoded again as {kind}, which no recipe can reproduce"
        )
    causes.append("another CPU or GPU, or other library versions, round differently (47.5 to 49.5 dB on raw frames)")
    return tuple(causes)


def _decode_settings(recipe: Recipe) -> tuple[object, ...]:
    """The settings that decide how latents become frames: the VAE, its precision and tiling, the way to 8 bit."""
    vae = recipe.weights.places()["vae"], recipe.precision, recipe.vae_dtype, recipe.vae_norm
    return *vae, recipe.tiles, recipe.eight_bit
