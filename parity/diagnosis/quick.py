"""A quick ranking of the factors for the cost of two generations: few steps, latents only, nothing is decoded."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from parity.case.load import Case
from parity.diagnosis.counterfactuals import left_out_costs, whole_code, without_limits
from parity.diagnosis.lab import Lab
from parity.diagnosis.origin import squared_gap
from parity.diagnosis.ranking import ORDER
from parity.factors.catalogue import likeliest_first
from parity.factors.code import code_of
from parity.factors.comfyui_fixes import fix_on
from parity.factors.findings import show
from parity.results.diagnosis import Diagnosis, FactorCost, Level, Stopped
from pipelines.drift import Factor, differing_factors, latents_key, take
from pipelines.errors import ParityError
from pipelines.recipe import Recipe

BUDGET = 2.0
"""The budget in full-generation equivalents."""

ROUNDING_GAP = 3e-4
"""Latents this close, in bfloat16 or float16, differ by rounding only: 0.1e-4 to 2.5e-4 were measured on the tiny
checkpoints for factors that change nothing else."""

_UNPAIRED = ("frame_count", "snapping")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuickPlan:
    """The factors that are generated, and with how many steps."""

    case: Case
    factors: tuple[Factor, ...]
    generated: tuple[Factor, ...]
    """The factors whose latents are compared; the level of the others is known without generating anything."""
    left_out: Mapping[Factor, str]
    """The factors that this version cannot generate, each with the reason."""
    steps: int
    """The steps of the preview's recipe; the other recipes get proportionally many."""

    @property
    def cost(self) -> float:
        """The cost in full-generation equivalents."""
        whole = self.case.preview
        losses = [take(whole, factor, self.case.inference) for factor in self.generated]
        return (
            sum(self.shortened(recipe).steps / recipe.steps for recipe in (whole, *losses)) if self.generated else 0.0
        )

    def shortened(self, recipe: Recipe) -> Recipe:
        """Shorten a recipe. If its number of steps differs from the preview's, it still differs afterwards."""
        whole = self.case.preview.steps
        steps = max(1, round(recipe.steps * self.steps / whole))
        if recipe.steps != whole and steps == self.steps:
            steps = self.steps + 1 if recipe.steps > whole else max(1, self.steps - 1)
        return dataclasses.replace(recipe, steps=min(steps, recipe.steps))

    def __str__(self) -> str:
        without = f"; generated without {', '.join(self.left_out)}, which is not supported yet" if self.left_out else ""
        if not self.generated:
            return f"nothing to generate{without}"
        return (
            f"up to {self.cost:.2f} generations (1 + {len(self.generated)} runs of {self.steps} of "
            f"{self.case.preview.steps} steps, latents only): {', '.join(self.factors)}{without}"
        )


def make_quick_plan(case: Case) -> QuickPlan:
    """Plan as many steps as two generations allow, at least one."""
    case, left_out = without_limits(case)
    factors = tuple(likeliest_first(differing_factors(case.preview, case.inference)))
    whole = latents_key(case.preview)
    generated = tuple(
        factor
        for factor in factors
        if factor not in _UNPAIRED and latents_key(take(case.preview, factor, case.inference)) != whole
    )
    plan = QuickPlan(case=case, factors=factors, generated=generated, left_out=left_out, steps=1)
    for steps in range(2, case.preview.steps + 1):
        longer = dataclasses.replace(plan, steps=steps)
        if longer.cost <= BUDGET:
            plan = longer
    return plan


def diagnose_quickly(lab: Lab, plan: QuickPlan) -> Diagnosis:
    """Rank the factors of a case by how far each one moves the latents. On Ctrl-C, return what is known so far."""
    gaps: dict[Factor, float] = {}
    stopped: Stopped | None = None
    error: str | None = None
    try:
        for factor, gap in _measure(lab, plan):
            gaps[factor] = gap
    except KeyboardInterrupt:
        stopped = "interrupted"
    except ParityError as reason:
        stopped, error = "error", str(reason)
    factors = (*_ranked(plan, gaps), *left_out_costs(lab.case, plan.left_out))
    return Diagnosis(
        mode="quick",
        sentence=_sentence(factors, stopped, error),
        explained=None,
        stopped=stopped,
        error=error,
        factors=factors,
        code=whole_code(factors, None, lab.case.preview),
        cost=lab.cost(plan.cost),
    )


def _measure(lab: Lab, plan: QuickPlan) -> Iterator[tuple[Factor, float]]:
    if not plan.generated:
        return
    preview, inference = plan.case.preview, plan.case.inference
    short = plan.shortened(preview)
    whole = lab.denoise(short, "the preview's recipe, short", share=short.steps / preview.steps)
    for factor in plan.generated:
        recipe = take(preview, factor, inference)
        broken = plan.shortened(recipe)
        latents = lab.denoise(broken, f"only {factor} broken, short", share=broken.steps / recipe.steps)
        yield factor, squared_gap(whole, latents)


def _ranked(plan: QuickPlan, gaps: dict[Factor, float]) -> list[FactorCost]:
    rounds = plan.case.preview.precision.dtype != "float32"

    def level(factor: Factor) -> Level | None:
        if factor in _UNPAIRED:
            return "frames do not pair"
        if factor in ("codec", "fps"):
            return "file only"
        if factor not in gaps:
            return None if factor in plan.generated else "decode only"
        if gaps[factor] == 0 and not _may_be_missed(plan, factor):
            return "none"
        if gaps[factor] == 0:
            return None
        return "rounding" if rounds and gaps[factor] < ROUNDING_GAP else "visible"

    def key(factor: Factor) -> tuple[int, float]:
        found = level(factor)
        return ORDER.index(found) if found else len(ORDER), -gaps[factor] if found == "visible" else 0.0

    names = sorted(plan.factors, key=key)
    numbers = {factor: number for number, factor in enumerate((f for f in names if level(f) is not None), 1)}
    return [
        FactorCost(
            factor=factor,
            preview=show(plan.case.preview, factor),
            inference=show(plan.case.inference, factor),
            fix=fix_on(factor, plan.case.preview, plan.case.inference),
            code=code_of(factor, plan.case.preview),
            level=level(factor),
            rank=numbers.get(factor),
            latent_gap=gaps.get(factor),
            not_measured=_not_measured(plan, factor, gaps),
        )
        for factor in names
    ]


def _may_be_missed(plan: QuickPlan, factor: Factor) -> bool:
    """Check whether a short schedule can miss the factor: it may have no timestep between two boundaries."""
    return factor == "boundary" and plan.steps < plan.case.preview.steps


def _not_measured(plan: QuickPlan, factor: Factor, gaps: dict[Factor, float]) -> str | None:
    if gaps.get(factor) == 0 and _may_be_missed(plan, factor):
        return (
            f"no timestep of {plan.steps} steps lies between the boundaries; one of {plan.case.preview.steps} steps may"
        )
    if factor in gaps:
        return "gain and loss in pixels: --quick decodes nothing"
    if factor in plan.generated:
        return "not generated"
    if factor in (*_UNPAIRED, "codec", "fps"):
        return "known without generating"
    return "only the decode differs: --quick decodes nothing"


def _sentence(factors: tuple[FactorCost, ...], stopped: Stopped | None, error: str | None) -> str:
    if stopped == "error":
        return f"stopped: {error}"
    head = "interrupted; so far: " if stopped == "interrupted" else ""
    ranked = [cost for cost in factors if cost.rank is not None]
    if not ranked:
        return f"{head}no factor differs" if not factors else f"{head}nothing was measured"
    first = ranked[0]
    reason: str = first.level or ""
    if first.latent_gap is not None and not math.isnan(first.latent_gap):
        reason += f", moves the latents by {math.sqrt(first.latent_gap):.1%} of their size"
    return f"{head}first to look at: {first.factor} ({reason}); pixels were not compared"
