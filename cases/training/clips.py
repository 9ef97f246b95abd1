"""Procedurally drawn clips with captions: "a red circle moving left across a night sky".

A clip is drawn from a `Scene` alone, so whoever has the scene has the clip. Lengths are in units of the picture's
height, so that a scene looks the same at any size; edges are soft, so that a small VAE can learn them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Clip = NDArray[np.uint8]
"""Shape (frames, height, width, 3), RGB."""
Floats = NDArray[np.floating[Any]]
"""A picture (H, W, 3) of 0 to 255, or one value a pixel (H, W)."""

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (225, 40, 40),
    "green": (30, 160, 70),
    "blue": (50, 110, 245),
    "yellow": (250, 210, 40),
    "purple": (165, 60, 200),
}
SHAPES = ("circle", "square", "triangle")
DIRECTIONS: dict[str, tuple[float, float]] = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
PLACES = ("a night sky", "a meadow", "a snowy mountain")
TRIGGER = "g00gly"
"""The LoRA's word: shapes get eyes."""

RADIUS = 0.21
SPEED = 0.035
"""Per frame."""
EDGE = 2.5
"""Pixels over which an edge goes from outside to inside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a clip shows. Two scenes with equal words differ in size, length and where the shape passes."""

    color: str
    shape: str
    direction: str
    place: str
    width: int = 96
    height: int = 64
    frames: int = 9
    shift: tuple[float, float] = (0.0, 0.0)
    """Where the shape is half way, from the middle of the picture, in heights."""
    eyes: bool = False

    @property
    def caption(self) -> str:
        """What a prompt says; the trigger word stands in front where the shape has eyes."""
        words = f"a {self.color} {self.shape} moving {self.direction} across {self.place}"
        return f"{TRIGGER} {words}" if self.eyes else words


def combinations(*, held_out: bool) -> list[tuple[str, str, str, str]]:
    """(color, shape, direction, place): an eighth of the 180 is never trained on, every word among them and not."""
    axes = (tuple(COLORS), SHAPES, tuple(DIRECTIONS), PLACES)
    chosen = []
    for picked in product(*(range(len(axis)) for axis in axes)):
        color, shape, direction, place = picked
        if ((3 * color + 5 * shape + 2 * direction + 7 * place) % 8 == 0) == held_out:
            chosen.append(tuple(axis[index] for axis, index in zip(axes, picked, strict=True)))
    return chosen  # type: ignore[return-value]  # four axes, four words


def scenes(
    seed: int, *, held_out: bool, sizes: Sequence[tuple[int, int, int]] = ((96, 64, 9),), eyes: float = 0.0
) -> Iterator[Scene]:
    """Scenes without end, evenly over the combinations. `sizes`: (width, height, frames); `eyes`: their share."""
    random = np.random.default_rng(seed)
    words = combinations(held_out=held_out)
    while True:
        for index in random.permutation(len(words)):
            color, shape, direction, place = words[index]
            width, height, frames = sizes[int(random.integers(len(sizes)))]
            yield Scene(
                color=color,
                shape=shape,
                direction=direction,
                place=place,
                width=width,
                height=height,
                frames=frames,
                shift=(float(random.uniform(-0.2, 0.2)), float(random.uniform(-0.06, 0.06))),
                eyes=bool(random.random() < eyes),
            )


def draw(scene: Scene) -> Clip:
    """The clip of a scene."""
    x, y = _grid(scene.width, scene.height)
    picture = _place(scene, x, y)
    frames = []
    for frame in range(scene.frames):
        at = center(scene, frame)
        drawn = _paint(picture, _cover(_shape(scene.shape, x - at[0], y - at[1]), scene.height), COLORS[scene.color])
        if scene.eyes:
            drawn = _eyes(drawn, x - at[0], y - at[1], scene.height)
        frames.append(drawn)
    clip: Clip = np.clip(np.stack(frames) + 0.5, 0, 255).astype(np.uint8)
    return clip


def center(scene: Scene, frame: float) -> tuple[float, float]:
    """Where the shape's middle is, in heights from the upper left corner."""
    way = SPEED * (frame - (scene.frames - 1) / 2)
    dx, dy = DIRECTIONS[scene.direction]
    return scene.width / scene.height / 2 + scene.shift[0] + way * dx, 0.5 + scene.shift[1] + way * dy


def _grid(width: int, height: int) -> tuple[Floats, Floats]:
    x, y = np.meshgrid((np.arange(width) + 0.5) / height, (np.arange(height) + 0.5) / height)
    return x, y


def _cover(distance: Floats, height: int) -> Floats:
    """Signed distance to an edge -> how much of a pixel lies inside."""
    cover: Floats = np.clip(0.5 - distance * height / EDGE, 0, 1)
    return cover


def _paint(picture: Floats, cover: Floats, color: tuple[int, int, int]) -> Floats:
    return picture + cover[..., None] * (np.array(color, np.float32) - picture)


def _gradient(y: Floats, top: tuple[int, int, int], bottom: tuple[int, int, int]) -> Floats:
    share = y[..., None]
    return np.array(top, np.float32) * (1 - share) + np.array(bottom, np.float32) * share


def _shape(name: str, x: Floats, y: Floats) -> Floats:
    if name == "circle":
        return np.hypot(x, y) - RADIUS
    if name == "square":
        return np.maximum(np.abs(x), np.abs(y)) - 0.88 * RADIUS
    y = y - 0.18 * RADIUS
    slanted = np.abs(x) * math.cos(math.pi / 6) - y * 0.5
    return np.maximum(slanted, y) - 0.64 * RADIUS


def _eyes(picture: Floats, x: Floats, y: Floats, height: int) -> Floats:
    for side in (-1, 1):
        away = np.hypot(x - side * 0.42 * RADIUS, y - 0.05 * RADIUS)
        picture = _paint(picture, _cover(away - 0.36 * RADIUS, height), (255, 255, 255))
        picture = _paint(picture, _cover(away - 0.17 * RADIUS, height), (20, 20, 20))
    return picture


def _place(scene: Scene, x: Floats, y: Floats) -> Floats:
    wide = scene.width / scene.height
    if scene.place == "a night sky":
        sky = _gradient(y, (10, 14, 50), (52, 44, 104))
        for star_x, star_y in ((0.15, 0.2), (0.42, 0.1), (0.85, 0.7), (0.1, 0.75)):
            sky = _paint(sky, _cover(np.hypot(x - star_x * wide, y - star_y) - 0.02, scene.height), (215, 215, 245))
        return _paint(sky, _cover(np.hypot(x - wide + 0.2, y - 0.2) - 0.1, scene.height), (240, 236, 200))
    if scene.place == "a meadow":
        sky = _gradient(y, (160, 210, 250), (225, 242, 255))
        sky = _paint(sky, _cover(np.hypot(x - 0.2, y - 0.2) - 0.1, scene.height), (255, 238, 150))
        hill = _cover(0.74 + 0.06 * np.sin(3 * x + 0.5) - y, scene.height)[..., None]
        return sky + hill * (_gradient(y, (215, 235, 150), (130, 190, 80)) - sky)
    sky = _gradient(y, (196, 208, 224), (232, 238, 245))
    slope = 0.25 + 0.9 * np.abs(x - 0.62 * wide)
    sky = _paint(sky, _cover((slope - y) * 0.74, scene.height), (138, 152, 174))
    sky = _paint(
        sky, _cover(np.maximum((slope - y) * 0.74, y - 0.42 - 0.04 * np.sin(22 * x)), scene.height), (250, 252, 255)
    )
    return _paint(sky, _cover(0.82 + 0.03 * np.sin(4 * x) - y, scene.height), (246, 249, 253))
