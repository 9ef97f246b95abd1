"""Encodings of texts and images, kept by what they were made from: in memory, and in a store that outlives the process.

An encoding is the same tensor whichever of them it comes from.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pipelines.engine import fingerprint

if TYPE_CHECKING:
    import torch

    from pipelines.engine.stages import Work


@dataclass(frozen=True, slots=True)
class Source:
    """All that an encoding is made from, besides code and machine."""

    kind: Literal["text", "image", "video"]
    """A text by UMT5, a control image by CLIP, or by the VAE as the beginning of a video."""
    folders: tuple[Path, ...]
    """The folders of the model and of its tokenizer or image processor."""
    way: tuple[Any, ...]
    """How it is encoded: dtypes, quantization, rounding."""
    given: tuple[Any, ...]
    """The text, or the image by its hash and how it is resized."""

    def identity(self) -> dict[str, Any]:
        """Return what another process knows it by: JSON values, and dataclasses of such."""
        return {
            "kind": self.kind,
            "weights": [fingerprint.of_folder(folder) for folder in self.folders],
            "way": self.way,
            "given": self.given,
            "code": fingerprint.code(),
        }


class Store(Protocol):
    """Keeps encodings for other processes."""

    def find(self, identity: Mapping[str, Any]) -> torch.Tensor | None:
        """Return an encoding, bit for bit and on the CPU; None: there is none."""

    def keep(self, identity: Mapping[str, Any], encoding: torch.Tensor) -> None:
        """Keep an encoding. Raises nothing if it cannot be kept."""


class Encodings:
    """The last encodings, so that consecutive generations do not encode a text or image twice."""

    def __init__(self, size: int = 16) -> None:
        self._size = size
        self._kept: OrderedDict[Source, torch.Tensor] = OrderedDict()
        self.store: Store | None = None
        """Where more of them are kept; None: in memory alone."""

    def has(self, source: Source) -> bool:
        """Return whether an encoding is kept; one from the store is in memory then."""
        if source not in self._kept and self.store is not None:
            found = self.store.find(source.identity())
            if found is not None:
                self._put(source, found)
        return source in self._kept

    def get(self, source: Source, work: Work, device: torch.device, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Return an encoding on the device: one that is kept, or what `make` returns, which is kept then."""
        if self.has(source):
            work.reused_encodings += 1
            self._put(source, self._kept[source].to(device))
        else:
            work.encodings += 1
            made = make()
            self._put(source, made)
            # From a file it would have no other strides. NaN is what a machine does once.
            if self.store is not None and made.is_contiguous() and made.isfinite().all():
                self.store.keep(source.identity(), made.detach().cpu())
        return self._kept[source]

    def clear(self) -> None:
        """Discard the encodings in memory."""
        self._kept.clear()

    def _put(self, source: Source, encoding: torch.Tensor) -> None:
        self._kept[source] = encoding
        self._kept.move_to_end(source)
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)
