"""Weights: where a recipe's model comes from, and one spelling for equal places."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, get_args

from pipelines.hub import place_of

Part = Literal["text_encoder", "transformers", "vae"]
PARTS: tuple[Part, ...] = get_args(Part)
"""What can come from somewhere else than the checkpoint."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A checkpoint, and the parts that are taken from elsewhere. Each is a folder or a Hub id, as somebody named it.

    Two values that differ can mean the same weights: compare `places`.
    """

    checkpoint: str
    """In diffusers layout."""
    text_encoder: str | None = None
    """With its tokenizer where the model is a Wan 2.2. None: the checkpoint's own, as for every part."""
    transformers: str | None = None
    """Both experts of a Wan 2.2."""
    vae: str | None = None

    def places(self) -> dict[Part, str]:
        """Where each part lies, in one spelling: weights with equal places are the same weights.

        A part named explicitly that is the checkpoint's own lies where the checkpoint does. The checkpoint itself is
        no entry: what reaches the pixels of it is its parts.
        """
        own = place_of(self.checkpoint)
        places = {part: own if (source := getattr(self, part)) is None else place_of(source) for part in PARTS}
        if places["vae"] == place_of(f"{own}/vae"):  # a VAE may be named by its own folder
            places["vae"] = own
        return places

    def elsewhere(self) -> dict[Part, str]:
        """The parts that are not the checkpoint's own, and where they come from."""
        own = place_of(self.checkpoint)
        return {part: place for part, place in self.places().items() if place != own}

    def __str__(self) -> str:
        return ", ".join(source for source in dataclasses.astuple(self) if source is not None)


WEIGHT_KEYS: tuple[str, ...] = tuple(item.name for item in dataclasses.fields(Weights))
"""What `Weights` is flattened to in results.json and in baselines."""
