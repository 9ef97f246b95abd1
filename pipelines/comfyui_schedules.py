"""Noise schedules of ComfyUI as numbers: what its nine schedulers make of a shift and a number of steps.

Facts of ComfyUI a125cd84 (0.3.64, 2025-10-12), the same in 0.38.1 (2026): 225 lists of its own functions are recorded
in `tests/data/comfyui/sigmas.json`. Sigmas are noise levels of rectified flow, from 1 (all noise) down to 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Sigmas = npt.NDArray[np.float32]

LEVELS = 1000
"""A Wan model knows that many noise levels; the timestep it is told is sigma times this."""

SAMPLERS = (
    "euler",
    "euler_ancestral",
    "heun",
    "dpm_2",
    "lcm",
    "dpmpp_2m",
    "ipndm",
    "deis",
    "res_multistep",
    "ddim",
    "uni_pc",
    "uni_pc_bh2",
)
"""ComfyUI's samplers that the engine has."""

SPLIT_SAMPLERS = ("euler", "ddim", "dpmpp_2m", "ipndm", "deis", "res_multistep")
"""These can be divided between two sampler nodes, an expert each: the second node begins anew. Of the others it was
never measured."""

NOISY = ("euler_ancestral", "lcm")
"""These take new noise in each step: the recordings, made on a CPU, took it from the seed on the CPU. Where a GPU takes
it from is not known."""

TWO_PASSES = ("heun", "dpm_2")
"""These look at two states in each step but the one to 0."""

DISCARDING = ("uni_pc", "uni_pc_bh2", "dpm_2", "dpm_2_ancestral")
"""For these samplers KSampler asks for one step more and removes the last level but one; a BasicScheduler does not."""


def comfyui_sigmas(
    sampler: str, schedule: str, shift: float, steps: int, *, denoise: float = 1.0, basic: bool = False
) -> tuple[float, ...]:
    """Return the noise levels that a sampler node walks through, float32 values from at most 1 down to 0.

    Their number is steps + 1, but for `ddim_uniform`, which can have more, and for `beta`, which can have fewer.
    `denoise` above 0 and below 1: the end of a longer list. `basic`: they come from a BasicScheduler.
    """
    asked = steps if denoise >= 1 else int(steps / denoise)
    if sampler in DISCARDING and not basic:
        longer = SCHEDULES[schedule](shift, asked + 1)
        sigmas = np.append(longer[:-2], longer[-1])
    else:
        sigmas = SCHEDULES[schedule](shift, asked)
    kept = sigmas if denoise >= 1 else sigmas[-(steps + 1) :]
    return tuple(float(sigma) for sigma in kept)


def why_not_split(sampler: str) -> str | None:
    """The reason why a sampler cannot be divided between two sampler nodes, one an expert; None if it can."""
    if sampler in SPLIT_SAMPLERS:
        return None
    return (
        f"{sampler} with two experts: what this sampler does across two sampler nodes was never measured, so it is not "
        f"supported yet; supported: {', '.join(SPLIT_SAMPLERS)}"
    )


def steps_done(sampler: str, sigmas: Sequence[float]) -> tuple[int, ...]:
    """Return the number of steps that are done after each pass of the transformer: some samplers take two a step."""
    passes = [2 if sampler in TWO_PASSES and following > 0 else 1 for following in sigmas[1:]]
    return tuple(step + (last == count) for step, count in enumerate(passes) for last in range(1, count + 1))


def high_noise_steps(sigmas: Sequence[float], boundary: float) -> int:
    """Count the steps that `boundary`, a share of the timesteps, gives to the high-noise expert of Wan 2.2.

    They are what `end_at_step` of its KSamplerAdvanced has to be. `sigmas` end with 0, where no step begins.
    """
    timesteps = np.asarray(sigmas[:-1], dtype=np.float32) * np.float32(LEVELS)
    return int((timesteps >= boundary * LEVELS).sum())


def _shifted(levels: Sigmas, shift: float) -> Sigmas:
    return np.float32(shift) * levels / (np.float32(1) + np.float32(shift - 1) * levels)


def _model(shift: float) -> Sigmas:
    """The model's own levels, rising: those of timesteps 1 to 1000."""
    return _shifted(np.arange(1, LEVELS + 1, dtype=np.float32) / np.float32(LEVELS), shift)


def _even(start: float, end: float, count: int) -> Sigmas:
    """Space numbers evenly as torch.linspace does: float32, from the nearer end, each rounded once."""
    first, last = np.float32(start), np.float32(end)
    if count == 1:
        return np.array([first])
    step, places = np.float64((last - first) / np.float32(count - 1)), np.arange(count)
    spaced = np.where(places < count // 2, first + step * places, last - step * (count - 1 - places))
    return spaced.astype(np.float32)


def _ended(levels: npt.ArrayLike) -> Sigmas:
    return np.append(np.asarray(levels, dtype=np.float32), np.float32(0))


def _normal(shift: float, steps: int) -> Sigmas:
    """Even from 1 to the model's lowest level, which is shifted already, and then shifted: as FlowMatchEuler does."""
    timesteps = _even(LEVELS, _model(shift)[0] * np.float32(LEVELS), steps)
    return _ended(_shifted(timesteps / np.float32(LEVELS), shift))


def _sgm_uniform(shift: float, steps: int) -> Sigmas:
    return _ended(_normal(shift, steps + 1)[:-2])


def _simple(shift: float, steps: int) -> Sigmas:
    model = _model(shift)
    return _ended([model[-(1 + int(step * LEVELS / steps))] for step in range(steps)])


def _ddim_uniform(shift: float, steps: int) -> Sigmas:
    """Every so many-th level from the second: it starts below 1, and can have more steps than asked for."""
    return _ended(_model(shift)[1 :: max(LEVELS // steps, 1)][::-1])


def _beta(shift: float, steps: int) -> Sigmas:
    """Levels at the quantiles of a Beta(0.6, 0.6) distribution (arXiv 2407.12173), each once."""
    shares = 1 - np.linspace(0, 1, steps, endpoint=False)
    places = np.rint(_beta_quantiles(shares) * (LEVELS - 1)).astype(int)
    return _ended(_model(shift)[list(dict.fromkeys(places.tolist()))])


def _beta_quantiles(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Where Beta(0.6, 0.6) reaches each share of 0 to 1, to 1e-8: ComfyUI asks scipy, which reading needs not.

    The density is x ** -0.4 * (1 - x) ** -0.4, up to a factor; in u = x ** 0.6 it is smooth below its middle, 0.5.
    """
    u = np.linspace(0, 0.5**0.6, 100_001)
    density = (1 - u ** (1 / 0.6)) ** -0.4
    area = np.append(0, np.cumsum((density[1:] + density[:-1]) / 2))
    lower = np.interp(np.minimum(shares, 1 - shares), area / area[-1] / 2, u) ** (1 / 0.6)
    return np.where(shares == 0.5, 0.5, np.where(shares < 0.5, lower, 1 - lower))  # the middle is a tie to round


def _karras(shift: float, steps: int) -> Sigmas:
    """Even in the seventh root (arXiv 2206.00364)."""
    lowest = float(_model(shift)[0]) ** (1 / 7)
    return _ended((1 + _even(0, 1, steps) * np.float32(lowest - 1)).astype(np.float64) ** 7)


def _exponential(shift: float, steps: int) -> Sigmas:
    return _ended(np.exp(_even(0, math.log(_model(shift)[0]), steps).astype(np.float64)))


def _kl_optimal(shift: float, steps: int) -> Sigmas:
    """Even in the arc tangent (arXiv 2404.14507, theorem 3.1)."""
    return _ended(np.tan(np.linspace(math.atan(1), math.atan(_model(shift)[0]), steps)))


def _linear_quadratic(_: float, steps: int) -> Sigmas:
    """Half of the steps fall evenly to 0.975, the others ever faster to 0 (Movie Gen, arXiv 2410.13720); no shift."""
    if steps == 1:
        return _ended([1.0])
    linear = steps // 2
    slope = 0.025 / linear
    curved = np.arange(1, steps - linear + 1, dtype=np.float64)
    bend = (1 - 0.025 - slope * (steps - linear)) / (steps - linear) ** 2
    fallen = np.concatenate([slope * np.arange(linear + 1), 0.025 + slope * curved + bend * curved**2])
    return _ended(1 - fallen[:-1])


SCHEDULES: dict[str, Callable[[float, int], Sigmas]] = {
    "normal": _normal,
    "karras": _karras,
    "exponential": _exponential,
    "sgm_uniform": _sgm_uniform,
    "simple": _simple,
    "ddim_uniform": _ddim_uniform,
    "beta": _beta,
    "linear_quadratic": _linear_quadratic,
    "kl_optimal": _kl_optimal,
}
"""ComfyUI's schedulers by name: levels of a shift above 0 and of at least one step, falling, 0 at the end."""
