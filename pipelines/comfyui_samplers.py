"""Samplers of ComfyUI with the interface that the Wan pipelines of diffusers use of a scheduler.

A sampler is written as its publication has it: a generator that yields a state with its noise level, and is sent the
state with the clean latents (x0) that the transformer sees in it. Latents are x = (1 - sigma) * x0 + sigma * noise.
Each meets the final latents of ComfyUI a125cd84 (0.3.64, 2025-10-12) on the tiny checkpoints at 100 dB or more in
float32; the rules are those of `tests/data/comfyui`, for which the facts were measured, and of the papers named below.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Generator, Sequence
from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipelines.comfyui_schedules import LEVELS
from pipelines.comfyui_unipc import uni_pc

Run = Generator[tuple[Tensor, float], tuple[Tensor, Tensor], Tensor]
"""Yields a state and its sigma; is sent the state, as the pipeline kept it, and its x0; returns the final state."""

Method = Callable[[Tensor, Sequence[float]], Run]

Values = npt.NDArray[np.float64]

Noise = Callable[[Tensor], Tensor]
"""New noise of a state's shape."""


def _euler(x: Tensor, sigmas: Sequence[float]) -> Run:
    for sigma, following in pairwise(sigmas):
        x, x0 = yield x, sigma
        x = x + (x - x0) / sigma * (following - sigma)
    return x


def _heun(x: Tensor, sigmas: Sequence[float]) -> Run:
    """Algorithm 1 of arXiv 2206.00364: the mean of the slopes at both ends, but for the step to 0."""
    for sigma, following in pairwise(sigmas):
        x, x0 = yield x, sigma
        slope = (x - x0) / sigma
        ahead = x + slope * (following - sigma)
        if following > 0:
            ahead, x0 = yield ahead, following
            ahead = x + (slope + (ahead - x0) / following) / 2 * (following - sigma)
        x = ahead
    return x


def _dpm_2(x: Tensor, sigmas: Sequence[float]) -> Run:
    """The slope in the middle, in log sigma (arXiv 2206.00927)."""
    for sigma, following in pairwise(sigmas):
        x, x0 = yield x, sigma
        slope = (x - x0) / sigma
        if following > 0:
            middle = math.sqrt(sigma * following)
            ahead, x0 = yield x + slope * (middle - sigma), middle
            slope = (ahead - x0) / middle
        x = x + slope * (following - sigma)
    return x


def _dpmpp_2m(x: Tensor, sigmas: Sequence[float]) -> Run:
    """DPM-Solver++(2M), arXiv 2211.01095, with lambda = -log sigma."""
    before: Tensor | None = None
    for step, (sigma, following) in enumerate(pairwise(sigmas)):
        x, x0 = yield x, sigma
        if following == 0:
            x = x0
        else:
            h = math.log(sigma / following)
            aim = x0
            if before is not None:
                ratio = math.log(sigmas[step - 1] / sigma) / h
                aim = x0 + (x0 - before) / (2 * ratio)
            x = following / sigma * x - math.expm1(-h) * aim
        before = x0
    return x


def _res_multistep(x: Tensor, sigmas: Sequence[float]) -> Run:
    """The refined exponential solver of second order, from the last two x0 (arXiv 2308.02157)."""
    before: Tensor | None = None
    for step, (sigma, following) in enumerate(pairwise(sigmas)):
        x, x0 = yield x, sigma
        if before is None or following == 0:
            x = x + (x - x0) / sigma * (following - sigma)
        else:
            h = math.log(sigma / following)
            back = -math.log(sigmas[step - 1] / sigma) / h
            phi_1 = math.expm1(-h) / -h
            phi_2 = (phi_1 - 1) / -h
            x = math.exp(-h) * x + h * ((phi_1 - phi_2 / back) * x0 + phi_2 / back * before)
        before = x0
    return x


_ADAMS = ((1,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))
"""Weights of the last slopes, the newest first, as if all steps were equally long."""


def _ipndm(x: Tensor, sigmas: Sequence[float]) -> Run:
    """Adams and Bashforth's fourth order (iPNDM, arXiv 2204.13902); the step to 0 takes the slope there."""
    slopes: list[Tensor] = []
    for sigma, following in pairwise(sigmas):
        x, x0 = yield x, sigma
        slopes = [(x - x0) / sigma, *slopes[:3]]
        weights = _ADAMS[len(slopes) - 1] if following > 0 else _ADAMS[0]
        x = x + (following - sigma) * _sum(weights, slopes)
    return x


def _deis(x: Tensor, sigmas: Sequence[float]) -> Run:
    """DEIS of third order, fitted in time (tAB-DEIS, arXiv 2204.13902); the step to 0 takes the slope there."""
    slopes: list[Tensor] = []
    times = _times(np.asarray(sigmas))
    for step, (sigma, following) in enumerate(pairwise(sigmas)):
        x, x0 = yield x, sigma
        slopes = [(x - x0) / sigma, *slopes[:2]]
        if following > 0:
            known = times[step::-1][: len(slopes)]
            x = x + _sum(_integrals(known, times[step], times[step + 1]), slopes)
        else:
            x = x + (following - sigma) * slopes[0]
    return x


def _growth() -> tuple[float, float]:
    """Return slope and start of beta in the variance-preserving model with sigma 0.002 at time 0.001 and 80 at 1."""
    low, high = math.log1p(0.002**2), math.log1p(80**2)
    slope = 2 * (high - low / 0.001) / (1 - 0.001)
    return slope, high - slope / 2


_SLOPE, _START = _growth()


def _times(sigmas: Values) -> Values:
    """The times in which deis fits (arXiv 2206.00364, table 1, VP)."""
    times: Values = (np.sqrt(_START**2 + 2 * _SLOPE * np.log1p(sigmas**2)) - _START) / _SLOPE
    return times


def _integrals(known: Values, start: float, end: float) -> list[float]:
    """Integrate over sigma, between two times, the polynomials that are 1 at one known time and 0 at the others."""
    edges = np.linspace(start, end, 10_001)
    sigmas = np.sqrt(np.expm1(_SLOPE / 2 * edges**2 + _START * edges))
    middles = (edges[1:] + edges[:-1]) / 2
    found = []
    for time in known:
        others = known[known != time]
        polynomial = np.prod([(middles - other) / (time - other) for other in others], axis=0)
        found.append(float(np.sum(polynomial * np.diff(sigmas))))
    return found


def _sum(weights: Sequence[float], slopes: Sequence[Tensor]) -> Tensor:
    return functools.reduce(operator.add, (weight * slope for weight, slope in zip(weights, slopes, strict=False)))


def _lcm(x: Tensor, sigmas: Sequence[float], noise: Noise) -> Run:
    """Latent consistency (arXiv 2310.04378): x0, made noisy again."""
    for sigma, following in pairwise(sigmas):
        x, x0 = yield x, sigma
        x = (1 - following) * x0 + following * noise(x0) if following > 0 else x0
    return x


def _euler_ancestral(x: Tensor, sigmas: Sequence[float], noise: Noise) -> Run:
    """Step to less noise than is due (down = following ** 2 / sigma) and add the rest anew."""
    for sigma, following in pairwise(sigmas):
        x, x0 = yield x, sigma
        down = following**2 / sigma
        x = x + (x - x0) / sigma * (down - sigma)
        if following > 0:
            kept = (1 - following) / (1 - down)
            x = kept * x + math.sqrt(following**2 - (kept * down) ** 2) * noise(x)
    return x


_METHODS: dict[str, Method] = {
    "euler": _euler,
    "ddim": _euler,  # bit-equal in ComfyUI where nothing is masked
    "heun": _heun,
    "dpm_2": _dpm_2,
    "dpmpp_2m": _dpmpp_2m,
    "res_multistep": _res_multistep,
    "deis": _deis,
    "ipndm": _ipndm,
    "uni_pc": partial(uni_pc, bh2=False),
    "uni_pc_bh2": partial(uni_pc, bh2=True),
}

_NOISY: dict[str, Callable[[Tensor, Sequence[float], Noise], Run]] = {
    "lcm": _lcm,
    "euler_ancestral": _euler_ancestral,
}
"""These take new noise in each step."""


class Sampler:
    """One walk through noise levels, a pass of the transformer at a time, for the Wan pipelines of diffusers."""

    order = 1
    config = SimpleNamespace(num_train_timesteps=LEVELS)

    def __init__(self, name: str, sigmas_of: Callable[[int], Sequence[float]]) -> None:
        self._name = name
        self._sigmas_of = sigmas_of
        self._run: Run | None = None
        self.split: int | None = None
        """Steps of the first of two sampler nodes: the second knows nothing of what the first did."""
        self.seed = 0
        """The seed of the noise that a sampler takes on its way."""

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        """Prepare a walk of that many steps."""
        levels = tuple(self._sigmas_of(num_inference_steps))
        self._levels, self._run = levels, None
        passes = []
        walk = self._walk(torch.zeros(1))
        try:
            x, sigma = next(walk)
            while True:
                passes.append(sigma)
                x, sigma = walk.send((x, x))
        except StopIteration:
            pass
        self.sigmas = torch.tensor([*passes, levels[-1]])
        """The sigma of each pass of the transformer, and the last of all."""
        self.timesteps = (self.sigmas[:-1] * LEVELS).to(device)

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Do nothing: a walk begins at its beginning."""

    def step(self, model_output: Tensor, _timestep: Tensor, sample: Tensor, **_named: Any) -> tuple[Tensor]:
        """Return the next state, in the dtype of `model_output`: the velocity (noise - x0) that the transformer saw."""
        x = sample.float()
        if self._run is None:
            self._run = self._walk(x)
            _, self._sigma = next(self._run)
        try:
            x, self._sigma = self._run.send((x, x - self._sigma * model_output.float()))
        except StopIteration as end:
            self._run, x = None, end.value
        return (x.to(model_output.dtype),)

    def _walk(self, x: Tensor) -> Run:
        """Walk through all levels; after a split, the method begins anew."""
        if self._name in _NOISY:
            return (yield from _NOISY[self._name](x, self._levels, _seeded(self.seed)))
        method = _METHODS[self._name]
        if self.split is not None and 0 < self.split < len(self._levels) - 1:
            x = yield from method(x, self._levels[: self.split + 1])
            return (yield from method(x, self._levels[self.split :]))
        return (yield from method(x, self._levels))


def _seeded(seed: int) -> Noise:
    """Generate noise on the CPU from the seed of the initial noise, which so comes first again (recorded on a CPU)."""
    generator = torch.Generator("cpu").manual_seed(seed)
    return lambda x: torch.randn(x.shape, generator=generator).to(x.device)
