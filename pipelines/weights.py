"""Weights: the sources of a recipe's model, and one spelling for equal places."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, get_args

from pipelines.hub import place_of

Part = Literal["text_encoder", "transformers", "vae"]
PARTS: tuple[Part, ...] = get_args(Part)
"""The parts of a model that can come from elsewhere than the checkpoint."""


_EXPERTS = ("transformer/*", "transformer_2/*")

_OWN_FILES: dict[Part, tuple[str, ...]] = {
    "text_encoder": ("text_encoder/*", "tokenizer/*"),
    "transformers": _EXPERTS,
    "vae": ("vae/*",),
}
"""The files of each part in a Wan 2.2 14B checkpoint."""

_FILES_ELSEWHERE: dict[Part, tuple[str, ...] | None] = {
    "text_encoder": None,
    "transformers": _EXPERTS,
    "vae": ("*.json", "*.safetensors"),
}
"""The files of each part in a repository of its own; None means all files that a pipeline reads."""


@dataclass(frozen=True, slots=True)
class Source:
    """A folder or Hub id, and which of its files are read."""

    place: str
    files: tuple[str, ...] | None = None
    """Patterns as huggingface_hub has them; None: all files that a pipeline reads."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A checkpoint, and the parts that are taken from elsewhere. Each is a folder or a Hub id, as somebody named it.

    Two values that differ can mean the same weights: compare `places`.
    """

    checkpoint: str
    """A folder or Hub id in diffusers layout."""
    text_encoder: str | None = None
    """The text encoder's source, and for Wan 2.2 the tokenizer's. None, for every part: the checkpoint."""
    transformers: str | None = None
    """The source of both experts of Wan 2.2."""
    vae: str | None = None

    def places(self) -> dict[Part, str]:
        """The place of each part in one spelling: weights with equal places are the same weights.

        The place of the checkpoint's own parts is the checkpoint's, also if they are named explicitly. The checkpoint
        itself is not compared: only its parts reach the pixels.
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

    def sources(self, *, experts: bool) -> dict[str, Source]:
        """Where the files come from: `checkpoint`, and each part that comes from elsewhere. Only those that are read.

        `experts`: the model is Wan 2.2 14B, an expert of which has 28 GB.
        """
        elsewhere = self.elsewhere()
        own = (pattern for part in PARTS if part not in elsewhere for pattern in _OWN_FILES[part])
        found = {"checkpoint": Source(self.checkpoint, ("*.json", *own) if experts else None)}
        return found | {part: Source(place, _FILES_ELSEWHERE[part]) for part, place in elsewhere.items()}

    def __str__(self) -> str:
        return ", ".join(source for source in dataclasses.astuple(self) if source is not None)


WEIGHT_KEYS: tuple[str, ...] = tuple(item.name for item in dataclasses.fields(Weights))
"""The keys of `Weights` in results.json and in baselines, where it is flattened."""
