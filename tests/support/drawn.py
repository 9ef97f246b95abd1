"""Generations to compare with: each is made once per test session, by the worker that needs it first."""

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
    """Frames of recipes, kept for all workers of one test session.

    The subject of a test is generated anew: only what it is compared with comes from
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
