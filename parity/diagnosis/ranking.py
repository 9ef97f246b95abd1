"""The ranking of factors by their effect, and which of them cannot be ranked."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from parity.results.diagnosis import LEVELS, Closeness, FactorCost, Trial
from parity.results.words import decibels
from pipelines.recipe import Recipe

ROUNDING_DB = 46.0
"""Raw frames this close cannot be distinguished from the same recipe on another CPU in bfloat16 or float16: 47.5 to
49.5 dB were measured between three kinds of CPU on the tiny checkpoints."""

ORDER = list(LEVELS)
"""The levels, largest effect first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestNoise:
    """The difference between two generations of a request that is not repeatable."""

    factors: frozenset[str]
    """The factors that leave the request unrepeatable if only they are fixed."""
    psnr: float | None
    """The PSNR in dB between raw frames of two generations; None if it was not measured (`--repeat`)."""

    def exceeded(self, before: float | None, now: float) -> bool:
        """Check whether the squared error fell by more than two generations differ."""
        if self.psnr is None or before is None:
            return False
        return 10 ** (-before / 10) - 10 ** (-now / 10) > 10 ** (-self.psnr / 10)

    def __str__(self) -> str:
        difference = "--repeat N measures by how much" if self.psnr is None else f"{decibels(self.psnr, 1)} raw"
        names = ", ".join(sorted(self.factors))
        return (
            f"no two generations of the request are identical ({difference}): the gains of {names} include that noise"
        )


def is_rounding(preview: Recipe, closeness: Closeness) -> bool:
    """Check whether a difference is no larger than that between two CPUs or GPUs on the same recipe."""
    return preview.precision.dtype != "float32" and closeness.psnr is not None and closeness.psnr >= ROUNDING_DB


def rank(costs: list[FactorCost], as_is: Trial | None, noisy: RequestNoise | None = None) -> list[FactorCost]:
    """Sort factors by effect, largest first: by the loss, or by the gain if there is no loss. Number the measured ones.

    Factors that the figures cannot rank keep the order of the catalogue, in which they are passed. `noisy` names the
    factors whose gains come from generations that are not repeatable; such a gain counts only beyond that noise.
    """

    def gained(cost: FactorCost) -> float:
        now = _decibels(cost.gain.to_recipe) if cost.gain is not None else None
        before = _decibels(as_is.to_recipe) if as_is is not None else None
        if now is None or (noisy is not None and cost.factor in noisy.factors and not noisy.exceeded(before, now)):
            return 0.0
        return now if before is None else (now - before if now - before >= 1 else 0.0)

    def key(cost: FactorCost) -> tuple[int, float]:
        if cost.level is not None:
            loss = _decibels(cost.loss.to_recipe) if cost.loss is not None else None
            return ORDER.index(cost.level), loss if cost.level == "visible" and loss is not None else 0.0
        if cost.gain is not None:
            return 1, -gained(cost)
        return len(ORDER), 0.0

    ordered = sorted(costs, key=key)
    measured = [cost for cost in ordered if cost.level is not None or cost.gain is not None]
    numbers = {cost.factor: number for number, cost in enumerate(measured, 1)}
    return [dataclasses.replace(cost, rank=numbers.get(cost.factor)) for cost in ordered]


def _decibels(closeness: Closeness | None) -> float | None:
    if closeness is None or closeness.unavailable is not None:
        return None
    return float("inf") if closeness.psnr is None else closeness.psnr
