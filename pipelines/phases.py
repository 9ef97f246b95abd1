"""The phases in which a video is generated and compared, as those who wait for it hear of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

Phase = Literal[
    "read",
    "download",
    "check",
    "load",
    "quantize",
    "place",
    "merge",
    "text",
    "image",
    "denoise",
    "decode",
    "encode",
    "compare",
    "write",
]

OnPhase = Callable[[Phase, str], None]
"""Called when a phase begins, with the part that it works on; an empty part: the only one there is."""

_WORDS: dict[Phase, tuple[str, str]] = {
    "read": ("reading the preview", "reading {}"),
    "download": ("fetching files", "fetching {}"),
    "check": ("hashing the weights", "hashing {}"),
    "load": ("loading", "loading {}"),
    "quantize": ("quantizing", "quantizing {}"),
    "place": ("moving weights", "moving weights to {}"),
    "merge": ("applying the LoRA", "applying {}"),
    "text": ("encoding the text", "encoding {}"),
    "image": ("encoding the image", "encoding {}"),
    "denoise": ("denoising", "denoising {}"),
    "decode": ("decoding", "decoding {}"),
    "encode": ("writing the video file", "writing {}"),
    "compare": ("comparing", "comparing {}"),
    "write": ("writing results", "writing {}"),
}


def in_words(phase: Phase, part: str) -> str:
    """A phase as it is shown: `loading the text encoder`."""
    alone, of_part = _WORDS[phase]
    return of_part.format(part) if part else alone


def unheard(_phase: Phase, _part: str) -> None:
    """Tell nobody."""
