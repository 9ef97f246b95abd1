"""What every section is given, and what several of them share."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from pipelines.engine.engine import Engine
    from pipelines.offload import Offload
    from pipelines.recipe import Recipe

ROOT = Path(__file__).parents[2]


class LeftOutError(Exception):
    """A section that cannot be measured here, and why."""


@dataclass(frozen=True, slots=True)
class Context:
    """Where and how to measure."""

    device: str
    small: bool
    """True for the kit's own test: the least of everything."""
    work: Path
    """A folder for what sections leave for others; empty at the kit's beginning."""

    @property
    def torch_device(self) -> torch.device:
        from pipelines.engine.torch_setup import pick_device

        return pick_device(self.device)

    def engine(self, offload: Offload = "none") -> Engine:
        """A new engine."""
        from pipelines.engine.engine import Engine

        return Engine(self.device, offload)


@functools.cache
def demo() -> dict[str, Recipe]:
    """The demo's recipes that repeat, by case: what the request of each case generates."""
    from parity.case.load import find_case_files, load_cases

    return {case.id: case.inference for case in load_cases(find_case_files([])) if case.inference.repeats}


def recipes(small: bool) -> dict[str, Recipe]:
    """The recipes that are generated on both devices: one for each way that weights, LoRA and model are combined."""
    found = {}
    seen = set()
    for name, recipe in demo().items():
        way = (recipe.weights, recipe.precision, recipe.lora_application, recipe.lora_scales)
        if way not in seen:
            seen.add(way)
            found[name] = recipe
    if not small:
        return found
    return {"t2v-guitar-faithful": demo()["t2v-guitar-faithful"]}


def reduced(context: Context, recipe: Recipe, steps: int | None = None) -> Recipe:
    """A recipe with so many steps; in small, a single step to a single frame in float32, which decodes fastest."""
    from pipelines.recipe import Asked, Precision

    if not context.small:
        return recipe if steps is None else dataclasses.replace(recipe, steps=steps)
    precision = Precision("float32", "kept")
    return dataclasses.replace(recipe, steps=1, num_frames=Asked(1, 1), precision=precision)
