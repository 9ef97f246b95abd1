"""Samplers of ComfyUI with the interface that the Wan pipelines of diffusers use of a scheduler.

A sampler is written as its publication has it: a generator that yields a state with its noise level, and is sent the
state with the clean latents (x0) that the transformer sees in it. Latents are x = (1 - sigma) * x0 + sigma * noise.
Each meets the final latents of ComfyUI a125cd84 (0.3.64, 2025-10-12) on the tiny checkpoints at 100 dB or more in
float32; the rules are those of `tests/data/comfyui`, for which the facts were measured, and of the papers named below.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from pipelines.comfyui_schedules import LEVELS

Run = Generator[tuple[Tensor, float], tuple[Tensor, Tensor], Tensor]
"""Yields a state and its sigma; is sent the state, as the pipeline kept it, and its x0; returns the final state."""

Method = Callable[[Tensor, Sequence[float]], Run]


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


_LAST_SIGMA = 0.001
"""uni_pc never reaches 0: it ends here, and what it ends with is divided by 1 - 0.001."""


def _uni_pc(x: Tensor, sigmas: Sequence[float], *, bh2: bool) -> Run:
    """UniPC of third order (arXiv 2302.04867) with x0 prediction, as if sigma belonged to a variance-exploding model.

    So lambda = -log sigma, where diffusers has log((1 - sigma) / sigma). Orders 1, 2, 3, 3, …, 2, 1; the last step is
    not corrected.
    """
    levels = [_exploding(sigma or _LAST_SIGMA) for sigma in sigmas]
    steps, order, start, known = len(levels) - 1, 0, x, list[Tensor]()
    for step in range(steps):
        x, x0 = yield x, sigmas[step]
        if step:
            x = _unified(start, levels[step::-1], known[:order], bh2, x0)
        known = [x0, *known[:2]]
        order = min(3, step + 1, steps - step)
        start = x
        x = _unified(start, levels[step + 1 :: -1], known[:order], bh2)
    return x / (1 - _LAST_SIGMA if sigmas[-1] == 0 else 1 - sigmas[-1])


def _exploding(sigma: float) -> tuple[Tensor, Tensor]:
    """Return ratio sigma / alpha and lambda of a level in float32, where log(1 - alpha ** 2) is rounded visibly."""
    squared_alpha = 1 / (1 + torch.tensor(sigma) ** 2)
    log_alpha, variance = torch.log(squared_alpha) / 2, 1 - squared_alpha
    return torch.sqrt(variance) / torch.exp(log_alpha), log_alpha - torch.log(variance) / 2


def _unified(
    x: Tensor, levels: Sequence[tuple[Tensor, Tensor]], known: Sequence[Tensor], bh2: bool, x0: Tensor | None = None
) -> Tensor:
    """Go from a state to the level before it: UniP, or with the `x0` found there UniC.

    `levels` are ratios and lambdas from the one to reach backwards; `known` are x0 of those after it.
    """
    (ratio, target), (ratio_from, origin), *earlier = levels
    h = target - origin
    places = [(lamb - origin) / h for (_, lamb), _ in zip(earlier, known[1:], strict=False)]
    slopes = [(other - known[0]) / place for other, place in zip(known[1:], places, strict=True)]
    if x0 is not None:
        places, slopes = [*places, torch.ones(())], [*slopes, x0 - known[0]]
    grown = torch.expm1(-h)
    scale = grown if bh2 else -h
    x = ratio / ratio_from * x - grown * known[0]
    for weight, slope in zip(_weights(places, -h, scale), slopes, strict=True):
        x = x - scale * weight * slope
    return x


def _weights(places: Sequence[Tensor], h: Tensor, scale: Tensor) -> Sequence[Tensor]:
    """Solve for the weights of the slopes (equation 12 of the paper); a single one is a half."""
    if len(places) < 2:
        return [torch.tensor(0.5)] * len(places)
    moments, phi, factorial = [], torch.expm1(h) / h - 1, 1
    for power in range(1, len(places) + 1):
        moments.append(phi * factorial / scale)
        factorial *= power + 1
        phi = phi / h - 1 / factorial
    row = torch.stack(list(places))
    rows = torch.stack([row**power for power in range(len(places))])
    return list(torch.linalg.solve(rows, torch.stack(moments)))


_METHODS: dict[str, Method] = {
    "euler": _euler,
    "ddim": _euler,  # bit-equal in ComfyUI where nothing is masked
    "heun": _heun,
    "dpm_2": _dpm_2,
    "dpmpp_2m": _dpmpp_2m,
    "res_multistep": _res_multistep,
    "uni_pc": partial(_uni_pc, bh2=False),
    "uni_pc_bh2": partial(_uni_pc, bh2=True),
}


class Sampler:
    """One walk through noise levels, a pass of the transformer at a time, for the Wan pipelines of diffusers."""

    order = 1
    config = SimpleNamespace(num_train_timesteps=LEVELS)

    def __init__(self, name: str, sigmas_of: Callable[[int], Sequence[float]]) -> None:
        self._method = _METHODS[name]
        self._sigmas_of = sigmas_of
        self._run: Run | None = None
        self.split: int | None = None
        """Steps of the first of two sampler nodes: the second knows nothing of what the first did."""

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
        if self.split is not None and 0 < self.split < len(self._levels) - 1:
            x = yield from self._method(x, self._levels[: self.split + 1])
            return (yield from self._method(x, self._levels[self.split :]))
        return (yield from self._method(x, self._levels))
