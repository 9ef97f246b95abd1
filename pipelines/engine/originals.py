"""The transformers' weights as they were loaded: read again from the checkpoint's files, so that no copy is kept.

A second set of weights would be 28 GB for a model of 14B in bfloat16, and 56 GB for the two of Wan 2.2.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.engine.lora_effect import sample
from pipelines.errors import WeightsError
from pipelines.weight_files import weight_files

if TYPE_CHECKING:
    import torch

_POPULATE_WRITE = 23
"""MADV_POPULATE_WRITE of Linux: faults pages in for writing. It changes no content."""


def read_tensor(path: Path, name: str) -> torch.Tensor:
    """A tensor of a safetensors file, mapped: no more of the file is in memory than is read, as long as it lives."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        tensor: torch.Tensor = file.get_tensor(name)
    return tensor


class Originals:
    """Knows the weights that a pipeline's transformers had before anything was merged into them.

    They are read again. Of one that is unlike its file a copy is kept on the CPU while something is merged into it.
    """

    def __init__(self, pipe: Any = None, folders: Mapping[str, Path] | None = None) -> None:
        """Note the files and dtypes of a pipeline's transformers, which were just loaded on the CPU from `folders`.

        A weight that is read again is cast to its dtype of then first, as loading did. `folders`: by a transformer's
        name in the pipeline; without any, copies are kept.
        """
        from safetensors import safe_open

        self._stamps: dict[Path, tuple[int, ...] | None] = {}
        self._sources: dict[tuple[str, str], tuple[Path, torch.dtype]] = {}
        self._changed: dict[tuple[str, str], torch.Tensor | None] = {}
        for part, folder in (folders or {}).items():
            dtypes = {name: weight.dtype for name, weight in getattr(pipe, part).named_parameters()}
            for path in weight_files(folder):
                self._stamps[path] = _stamp(path)
                with safe_open(path, framework="pt") as file:
                    names = dtypes.keys() & set(file.keys())
                self._sources |= {(part, name): (path, dtypes[name]) for name in names}

    @property
    def copied(self) -> dict[str, torch.Tensor]:
        """The copies that are kept, by the names of their parameters."""
        return {f"{part}.{name}": copy for (part, name), copy in self._changed.items() if copy is not None}

    def will_change(self, part: str, name: str, weight: torch.Tensor) -> None:
        """Make sure that a parameter can be restored. Call it before the first write; `name` is that in its part."""
        if (part, name) not in self._changed:
            is_read = self._is_read((part, name), weight)
            self._changed[part, name] = None if is_read else weight.detach().to("cpu", copy=True)
            if is_read:
                _take_pages(weight)

    def restore(self, pipe: Any) -> None:
        """Give every changed parameter the bits that it was loaded with, cast to its dtype.

        Raises WeightsError if a file is not the one that was loaded; some parameters then stay changed.
        """
        import torch

        needed = {self._sources[key][0] for key, copy in self._changed.items() if copy is None}
        self._check(needed)
        with torch.no_grad():
            for (part, name), copy in self._changed.items():
                weight = getattr(pipe, part).get_parameter(name)
                weight.copy_(self._read((part, name)) if copy is None else copy)
        self._check(needed)
        self._changed.clear()

    def _read(self, key: tuple[str, str]) -> torch.Tensor:
        path, dtype = self._sources[key]
        return read_tensor(path, key[1]).to(dtype)

    def _is_read(self, key: tuple[str, str], weight: torch.Tensor) -> bool:
        """Whether a parameter, unchanged so far, has the bits of its file. A sample of its rows is compared."""
        import torch

        if key not in self._sources:
            return False
        path, dtype = self._sources[key]
        if self._stamps[path] is None or self._stamps[path] != _stamp(path):
            return False
        stored = read_tensor(path, key[1])
        if stored.shape != weight.shape or not stored.is_floating_point():
            return False
        return torch.equal(sample(stored).to(dtype).to(weight.dtype), sample(weight).cpu())

    def _check(self, paths: set[Path]) -> None:
        for path in sorted(paths):
            if self._stamps[path] != _stamp(path):
                raise WeightsError(
                    f"{path}: changed while it was in use, so the weights without the LoRA cannot be read from it "
                    "again; run again, which loads the checkpoint anew"
                )


def _take_pages(weight: torch.Tensor) -> None:
    """Give a tensor on the CPU memory of its own at once, if it is mapped from its file.

    Otherwise its first write does so, 4 KiB at a time: the first merge into 1.4 G parameters in float32 took 13.4 s
    that way, and 7.4 s this way. Linux 5.14 and later can; elsewhere nothing happens.
    """
    if sys.platform != "linux" or weight.device.type != "cpu":
        return
    start = weight.data_ptr() & -mmap.PAGESIZE
    length = weight.data_ptr() + weight.nbytes - start
    ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), _POPULATE_WRITE)


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Whether two looks at a file see the same content; None if it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev
