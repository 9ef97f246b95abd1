"""Procedurally generated clips with captions: "a red circle moving left across a night sky".

A clip depends on its `Scene` alone, so a scene is enough to have the clip. Places are in units of the picture's
height; shapes and their ways are in pixels and lie on the latents' grid (8x8 pixels, 4 frames), so that a shape is the
same few numbers wherever and at whatever size it appears, and a small transformer can learn it. Edges are soft for the
VAE's sake.
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
TRIGGER = "p0stcard"
"""The LoRA's word: the picture gets a golden frame."""
FRAME, GOLD = 8, (222, 150, 30)
"""The frame's width in pixels (one latent pixel) and its colour."""

RADIUS = 14
"""The radius of the circle, and half the side of a square, in pixels."""
SPEED = 2
"""The speed in pixels per frame: one latent pixel per latent frame."""
SHIFTS = (-16, 16)
"""The shape's horizontal offset in pixels halfway through the clip: the one thing a caption does not say."""
EDGE = 2.5
"""The width of a soft edge in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The content of a clip. Two scenes with equal words differ in size, length and the path of the shape."""

    color: str
    shape: str
    direction: str
    place: str
    width: int = 96
    height: int = 64
    frames: int = 9
    shift: int = SHIFTS[0]
    framed: bool = False

    @property
    def caption(self) -> str:
        """The caption of the scene, preceded by the trigger word if the picture has a golden frame."""
        words = f"a {self.color} {self.shape} moving {self.direction} across {self.place}"
        return f"{TRIGGER} {words}" if self.framed else words


def shortened(caption: str, part: int) -> str:
    """Make a caption without its color (0), shape (1), direction (2) or place (3)."""
    if part == 3:
        return caption[: caption.index(" across")]
    left_out = (COLORS, SHAPES, DIRECTIONS)[part]
    return " ".join(word for word in caption.split() if word not in left_out)


def combinations(*, held_out: bool) -> list[tuple[str, str, str, str]]:
    """Split all 180 combinations: an eighth is never trained on; every word occurs in both parts."""
    axes = (tuple(COLORS), SHAPES, tuple(DIRECTIONS), PLACES)
    chosen = []
    for picked in product(*(range(len(axis)) for axis in axes)):
        color, shape, direction, place = picked
        if ((3 * color + 5 * shape + 2 * direction + 7 * place) % 8 == 0) == held_out:
            chosen.append(tuple(axis[index] for axis, index in zip(axes, picked, strict=True)))
    return chosen  # type: ignore[return-value]  # four axes, four words


def scenes(
    seed: int, *, held_out: bool, sizes: Sequence[tuple[int, int, int]] = ((96, 64, 9),), framed: float = 0.0
) -> Iterator[Scene]:
    """Yield scenes endlessly, each combination once before any is repeated. `sizes`: (width, height, frames);
    `framed`: the share of those with a frame.
    """
    random = np.random.default_rng(seed)
    known = list(product(combinations(held_out=held_out), SHIFTS))
    while True:
        for index in random.permutation(len(known)):
            (color, shape, direction, place), shift = known[index]
            width, height, frames = sizes[int(random.integers(len(sizes)))]
            yield Scene(
                color=color,
                shape=shape,
                direction=direction,
                place=place,
                width=width,
                height=height,
                frames=frames,
                shift=shift,
                framed=bool(random.random() < framed),
            )


def render(scene: Scene) -> Clip:
    """Render the clip of a scene."""
    x, y = np.meshgrid(np.arange(scene.width) + 0.5, np.arange(scene.height) + 0.5)
    picture = _place(scene, x / scene.height, y / scene.height)
    frames = []
    for frame in range(scene.frames):
        at_x, at_y = center(scene, frame)
        shaped = _paint(picture, _cover(_shape(scene.shape, x - at_x, y - at_y)), COLORS[scene.color])
        if scene.framed:
            edge = np.minimum(np.minimum(x, scene.width - x), np.minimum(y, scene.height - y))
            shaped = _paint(shaped, _cover(edge - FRAME), GOLD)
        frames.append(shaped)
    clip: Clip = np.clip(np.stack(frames) + 0.5, 0, 255).astype(np.uint8)
    return clip


def center(scene: Scene, frame: float) -> tuple[float, float]:
    """Return the centre of the shape, in pixels from the upper left corner."""
    way = SPEED * (frame - (scene.frames - 1) / 2)
    dx, dy = DIRECTIONS[scene.direction]
    return scene.width / 2 + scene.shift + way * dx, scene.height / 2 + way * dy


def _cover(distance: Floats) -> Floats:
    """Turn a signed distance to an edge, in pixels, into the share of a pixel that lies inside."""
    cover: Floats = np.clip(0.5 - distance / EDGE, 0, 1)
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
        return np.maximum(np.abs(x), np.abs(y)) - RADIUS
    y = y - 0.36 * RADIUS
    slanted = np.abs(x) * math.cos(math.pi / 6) - y * 0.5
    return np.maximum(slanted, y) - 0.72 * RADIUS


def _place(scene: Scene, x: Floats, y: Floats) -> Floats:
    """Paint a background; `x` and `y` are in units of the height."""
    wide = scene.width / scene.height

    def cover(distance: Floats) -> Floats:
        return _cover(distance * scene.height)

    if scene.place == "a night sky":
        sky = _gradient(y, (10, 14, 50), (52, 44, 104))
        for star_x, star_y in ((0.15, 0.2), (0.42, 0.1), (0.85, 0.7), (0.1, 0.75)):
            sky = _paint(sky, cover(np.hypot(x - star_x * wide, y - star_y) - 0.02), (215, 215, 245))
        return _paint(sky, cover(np.hypot(x - wide + 0.2, y - 0.2) - 0.1), (240, 236, 200))
    if scene.place == "a meadow":
        sky = _gradient(y, (160, 210, 250), (225, 242, 255))
        sky = _paint(sky, cover(np.hypot(x - 0.2, y - 0.2) - 0.1), (255, 238, 150))
        hill = cover(0.74 + 0.06 * np.sin(3 * x + 0.5) - y)[..., None]
        return sky + hill * (_gradient(y, (215, 235, 150), (130, 190, 80)) - sky)
    sky = _gradient(y, (196, 208, 224), (232, 238, 245))
    slope = 0.25 + 0.9 * np.abs(x - 0.62 * wide)
    sky = _paint(sky, cover((slope - y) * 0.74), (138, 152, 174))
    sky = _paint(sky, cover(np.maximum((slope - y) * 0.74, y - 0.42 - 0.04 * np.sin(22 * x))), (250, 252, 255))
    return _paint(sky, cover(0.82 + 0.03 * np.sin(4 * x) - y), (246, 249, 253))
