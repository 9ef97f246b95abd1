"""ComfyUI's sampler uni_pc, which is not the UniPC of diffusers.

Facts of ComfyUI a125cd84 (0.3.64, 2025-10-12), the same in 0.38.1 (2026).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import torch
from torch import Tensor

LAST_SIGMA = 0.001
"""uni_pc never reaches 0: it ends here, and what it ends with is divided by 1 - 0.001."""


def uni_pc(
    x: Tensor, sigmas: Sequence[float], *, bh2: bool
) -> Generator[tuple[Tensor, float], tuple[Tensor, Tensor], Tensor]:
    """UniPC of third order (arXiv 2302.04867) with x0 prediction, as if sigma belonged to a variance-exploding model.

    So lambda = -log sigma, where diffusers has log((1 - sigma) / sigma). Orders 1, 2, 3, 3, …, 2, 1; the last step is
    not corrected.
    """
    levels = [_exploding(sigma or LAST_SIGMA) for sigma in sigmas]
    steps, order, start, known = len(levels) - 1, 0, x, list[Tensor]()
    for step in range(steps):
        x, x0 = yield x, sigmas[step]
        if step:
            x = _unified(start, levels[step::-1], known[:order], bh2, x0)
        known = [x0, *known[:2]]
        order = min(3, step + 1, steps - step)
        start = x
        x = _unified(start, levels[step + 1 :: -1], known[:order], bh2)
    return x / (1 - LAST_SIGMA)


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
