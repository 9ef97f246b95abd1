"""Drawings that another is held against: each drawn once a test session, whichever worker needs it first."""

from __future__ import annotations

from pathlib import Path

from parity.results.environment import describe
from parity.run.cache import Cache
from parity.run.generation import Shelf
from pipelines.engine import fingerprint
from pipelines.engine.engine import Engine
from pipelines.media.video import Frames
from pipelines.recipe import Recipe


class Drawn:
    """Frames of recipes, kept for all workers of one session and for no longer.

    What is under test is drawn anew: only what it must equal, or what was drawn elsewhere to be looked at, comes from
    here. `root` serves as `Options.cache`, too.
    """

    def __init__(self, root: Path, engine: Engine) -> None:
        self.root = root
        self._engine = engine
        self._shelf = Shelf(Cache(root), describe("cpu"))

    def __call__(self, recipe: Recipe) -> Frames:
        assert recipe.repeats
        key = self._shelf.key(recipe, fingerprint.weights(recipe))
        found = self._shelf.cache.find(key)
        if found is not None:
            return found[0]
        frames = self._engine.generate(recipe)
        self._shelf.cache.store(key, frames, recipe, "")
        return frames
