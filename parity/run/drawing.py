"""The frames of a case's request: drawn before, or drawn now."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from parity.diagnosis.lab import Lab
from parity.results.environment import reaching_the_bits
from parity.run.cache import Cache, key_of
from pipelines.engine import fingerprint
from pipelines.engine.stages import Trace
from pipelines.media.video import Frames
from pipelines.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """Frames and how they came to be."""

    frames: Frames
    weights_sha256: str
    """Of the files of checkpoint and text encoder."""
    drawn_before: str | None
    """When, ISO 8601; null: now."""
    load_seconds: float
    draw_seconds: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shelf:
    """A cache, for the environment of this run."""

    cache: Cache
    environment: Mapping[str, Any]

    def key(self, recipe: Recipe, weights: str) -> str:
        """What a recipe's frames are kept by here."""
        return key_of(recipe, weights, reaching_the_bits(self.environment), fingerprint.code())


def draw(lab: Lab, shelf: Shelf | None, trace: Trace | None) -> Drawing:
    """Draw the request of the lab's case; not if its frames are on the shelf.

    It is always drawn with a `trace`, and where drawing it again gives another video. Raises as `Lab.generate`.
    """
    case = lab.case
    clock = time.perf_counter()
    weights = fingerprint.weights(case.inference, case.token)
    keeps = trace is None and case.inference.repeats
    key = shelf.key(case.inference, weights) if shelf is not None and keeps else None
    if shelf is not None and key is not None:
        found = shelf.cache.find(key)
        if found is not None:
            frames, entry = found
            seconds = time.perf_counter() - clock
            return Drawing(
                frames=frames,
                weights_sha256=weights,
                drawn_before=entry.drawn,
                load_seconds=0.0,
                draw_seconds=seconds,
            )
    lab.engine.load(case.inference, case.token)
    loaded_at = time.perf_counter()
    frames = lab.generate(case.inference, case.id, trace)
    drawn_at = time.perf_counter()
    notes = _store(shelf, key, frames, case.inference, case.id) if shelf is not None and key is not None else ()
    return Drawing(
        frames=frames,
        weights_sha256=weights,
        drawn_before=None,
        load_seconds=loaded_at - clock,
        draw_seconds=drawn_at - loaded_at,
        notes=notes,
    )


def _store(shelf: Shelf, key: str, frames: Frames, recipe: Recipe, case: str) -> tuple[str, ...]:
    """Why the frames could not be kept, which spoils no result."""
    try:
        shelf.cache.store(key, frames, recipe, case)
    except OSError as error:
        return (f"these frames could not be kept in {shelf.cache.root}: {error.strerror or error}",)
    return ()
