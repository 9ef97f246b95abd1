"""The costliest factor for the price of two generations: short schedules, latents alone, nothing decoded."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

from parity.case.load import Case
from parity.diagnosis.lab import Lab
from parity.diagnosis.origin import squared_gap
from parity.diagnosis.ranking import LEVELS
from parity.factors.catalogue import CATALOGUE, likeliest_first
from parity.factors.findings import show
from parity.results.diagnosis import Diagnosis, FactorCost, Level, Stopped
from pipelines.drift import differing_factors, latents_key, take
from pipelines.errors import ParityError
from pipelines.recipe import Recipe

BUDGET = 2.0
"""Full-generation equivalents."""

ROUNDING_GAP = 3e-4
"""Latents at least this near, in bfloat16 or float16, differ by rounding: 0.1e-4 to 2.5e-4 measured on the tiny
checkpoints where a factor changes nothing else."""

_UNPAIRED = ("frame_count", "snapping")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuickPlan:
    """Which factors are drawn, and with how many steps."""

    case: Case
    factors: tuple[str, ...]
    drawn: tuple[str, ...]
    """Factors whose latents are compared; the others are known without."""
    steps: int
    """Of the preview's recipe; the others in proportion."""

    @property
    def cost(self) -> float:
        """Full-generation equivalents."""
        whole = self.case.preview
        losses = [take(whole, factor, self.case.inference) for factor in self.drawn]
        return sum(self.shortened(recipe).steps / recipe.steps for recipe in (whole, *losses)) if self.drawn else 0.0

    def shortened(self, recipe: Recipe) -> Recipe:
        """The same over fewer steps, its number of steps still another one where it was."""
        whole = self.case.preview.steps
        steps = max(1, round(recipe.steps * self.steps / whole))
        if recipe.steps != whole and steps == self.steps:
            steps = self.steps + 1 if recipe.steps > whole else max(1, self.steps - 1)
        return dataclasses.replace(recipe, steps=min(steps, recipe.steps))

    def __str__(self) -> str:
        if not self.drawn:
            return "nothing to draw"
        return (
            f"1 + {len(self.drawn)} drawings of {self.steps} of {self.case.preview.steps} steps, latents alone: "
            f"{self.cost:.2f} generations ({', '.join(self.factors)})"
        )


def make_quick_plan(case: Case) -> QuickPlan:
    """As many steps as two generations hold, at least one."""
    factors = tuple(likeliest_first(differing_factors(case.preview, case.inference)))
    whole = latents_key(case.preview)
    drawn = tuple(
        factor
        for factor in factors
        if factor not in _UNPAIRED and latents_key(take(case.preview, factor, case.inference)) != whole
    )
    plan = QuickPlan(case=case, factors=factors, drawn=drawn, steps=1)
    for steps in range(2, case.preview.steps + 1):
        longer = dataclasses.replace(plan, steps=steps)
        if longer.cost <= BUDGET:
            plan = longer
    return plan


def diagnose_quickly(lab: Lab, plan: QuickPlan) -> Diagnosis:
    """Rank a case's factors by how far each alone moves the latents. Ctrl-C returns what is known."""
    gaps: dict[str, float] = {}
    stopped: Stopped | None = None
    error: str | None = None
    try:
        for factor, gap in _measure(lab, plan):
            gaps[factor] = gap
    except KeyboardInterrupt:
        stopped = "interrupted"
    except ParityError as reason:
        stopped, error = "error", str(reason)
    factors = tuple(_ranked(plan, gaps))
    return Diagnosis(
        mode="quick",
        sentence=_sentence(factors, stopped, error),
        explained=None,
        stopped=stopped,
        error=error,
        factors=factors,
        cost=lab.cost(plan.cost),
    )


def _measure(lab: Lab, plan: QuickPlan) -> Iterator[tuple[str, float]]:
    if not plan.drawn:
        return
    preview, inference = plan.case.preview, plan.case.inference
    short = plan.shortened(preview)
    whole = lab.denoise(short, "the preview's recipe, short", share=short.steps / preview.steps)
    for factor in plan.drawn:
        recipe = take(preview, factor, inference)
        wrong = plan.shortened(recipe)
        latents = lab.denoise(wrong, f"{factor} alone, short", share=wrong.steps / recipe.steps)
        yield factor, squared_gap(whole, latents)


def _ranked(plan: QuickPlan, gaps: dict[str, float]) -> list[FactorCost]:
    rounds = plan.case.preview.precision.dtype != "float32"

    def level(factor: str) -> Level | None:
        if factor in _UNPAIRED:
            return "frames do not pair"
        if factor in ("codec", "fps"):
            return "file only"
        if factor not in gaps:
            return None if factor in plan.drawn else "decode only"
        if gaps[factor] == 0 and not _may_be_missed(plan, factor):
            return "none"
        if gaps[factor] == 0:
            return None
        return "rounding" if rounds and gaps[factor] < ROUNDING_GAP else "visible"

    def key(factor: str) -> tuple[int, float]:
        found = level(factor)
        return LEVELS.index(found) if found else len(LEVELS), -gaps[factor] if found == "visible" else 0.0

    names = sorted(plan.factors, key=key)
    numbers = {factor: number for number, factor in enumerate((f for f in names if level(f) is not None), 1)}
    return [
        FactorCost(
            factor=factor,
            preview=show(plan.case.preview, factor),
            inference=show(plan.case.inference, factor),
            fix=CATALOGUE[factor].fix(plan.case.preview),
            level=level(factor),
            rank=numbers.get(factor),
            latent_gap=gaps.get(factor),
            not_measured=_not_measured(plan, factor, gaps),
        )
        for factor in names
    ]


def _may_be_missed(plan: QuickPlan, factor: str) -> bool:
    """A short schedule may have no timestep between two boundaries where the whole one has."""
    return factor == "boundary" and plan.steps < plan.case.preview.steps


def _not_measured(plan: QuickPlan, factor: str, gaps: dict[str, float]) -> str | None:
    if gaps.get(factor) == 0 and _may_be_missed(plan, factor):
        return f"no timestep of {plan.steps} steps lies between the boundaries; one of {plan.case.preview.steps} may"
    if factor in gaps:
        return "gain and loss in pixels: --quick decodes nothing"
    if factor in plan.drawn:
        return "not drawn"
    if factor in (*_UNPAIRED, "codec", "fps"):
        return "known without drawing"
    return "only the decode differs: --quick decodes nothing"


def _sentence(factors: tuple[FactorCost, ...], stopped: Stopped | None, error: str | None) -> str:
    if stopped == "error":
        return f"stopped: {error}"
    head = "interrupted; so far: " if stopped == "interrupted" else ""
    ranked = [cost for cost in factors if cost.rank is not None]
    if not ranked:
        return f"{head}no factor differs" if not factors else f"{head}nothing was measured"
    first = ranked[0]
    why: str = first.level or ""
    if first.latent_gap is not None and not math.isnan(first.latent_gap):
        why += f", moves the latents by {math.sqrt(first.latent_gap):.1%} of their size"
    return f"{head}first to look at: {first.factor} ({why}); pixels were not compared"
