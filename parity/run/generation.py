"""The frames of a case's request: taken from the cache, or generated now."""

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
from pipelines.files.words import reason_of
from pipelines.limits import within_limits
from pipelines.media.video import Frames
from pipelines.ran import Ran
from pipelines.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """Generated frames, and where and when they were generated."""

    frames: Frames
    weights_sha256: str
    """Hash of the files of checkpoint and text encoder."""
    generated_before: str | None
    """When the cached frames were generated, ISO 8601; None: they were generated now."""
    load_seconds: float
    generate_seconds: float
    notes: tuple[str, ...] = ()
    ran: Ran | None = None
    """What really ran; None: the frames come from the cache."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """The cache, as seen from the environment of this run."""

    cache: Cache
    environment: Mapping[str, Any]

    def key(self, recipe: Recipe, weights: str) -> str:
        """The key under which a recipe's frames are cached in this environment."""
        return key_of(recipe, weights, reaching_the_bits(self.environment), fingerprint.code())


def generate(lab: Lab, shelf: Shelf | None, trace: Trace | None) -> Generation:
    """Generate the request of the lab's case, or take its frames from the shelf.

    The cache is skipped with a `trace` and for requests that do not repeat. Raises as `Lab.generate`.
    """
    case, inference = lab.case, within_limits(lab.case.inference)
    clock = time.perf_counter()
    hashing = fingerprint.Hashing(inference, case.token, lab.engine.on_phase)
    shelf = shelf if trace is None and inference.repeats else None
    if shelf is not None:
        shelf.cache.unsigned = None
    if hashing.is_known or (shelf is not None and shelf.cache.might_have(inference)):
        hashing.result()
    else:  # no frames can be kept of it: 28 GB are read while they are loaded
        hashing.begin()
    if shelf is not None and hashing.is_done:
        weights = hashing.result()
        found = shelf.cache.find(shelf.key(inference, weights))
        if found is not None:
            frames, entry = found
            seconds = time.perf_counter() - clock
            return Generation(
                frames=frames,
                weights_sha256=weights,
                generated_before=entry.drawn,
                load_seconds=0.0,
                generate_seconds=seconds,
            )
    lab.progress.phase("load", "")
    lab.engine.load(inference, case.token)
    loaded_at = time.perf_counter()
    frames = lab.generate(inference, case.id, trace)
    generated_at = time.perf_counter()
    if not hashing.is_done:
        lab.engine.on_phase("check", "")
    weights = hashing.result()
    notes: tuple[str, ...] = ()
    if shelf is not None:
        notes = () if shelf.cache.unsigned is None else (shelf.cache.unsigned,)
        notes += _store(shelf, shelf.key(inference, weights), frames, inference, case.id)
    return Generation(
        frames=frames,
        weights_sha256=weights,
        generated_before=None,
        load_seconds=loaded_at - clock,
        generate_seconds=generated_at - loaded_at,
        notes=notes,
        ran=lab.engine.ran,
    )


def _store(shelf: Shelf, key: str, frames: Frames, recipe: Recipe, case: str) -> tuple[str, ...]:
    """Cache the frames. Returns a note if that fails, which does not affect the result."""
    try:
        shelf.cache.store(key, frames, recipe, case)
    except OSError as error:
        return (f"these frames could not be cached in {shelf.cache.root}: {reason_of(error)}",)
    return ()
