"""How long the phases of a generation took on this machine, kept from run to run in the cache folder."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from parity.results.folders import cache_folder
from pipelines.files.content import read_bytes, write_atomically
from pipelines.files.words import plural
from pipelines.phases import Phase
from pipelines.recipe import Recipe

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]

VERSION = 1
"""Version of the file; one of another version is ignored and replaced."""
_FILE = "speeds.json"
_MAX_BYTES = 1 << 20
_MOST_RECORDS = 200
_MOST_TIMINGS = 5
"""Of each kind of generation the last few count: a machine may have been busy once, and another driver is faster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds per phase of one generation; None: the phase did not occur, or was not measured."""

    load: Seconds | None = None
    """Loading the weights, quantizing them, merging the LoRA; without any download."""
    text: Seconds | None = None
    """Encoding the texts, and for I2V the image."""
    step: Seconds | None = None
    """One denoising step."""
    decode: Seconds | None = None
    encode: Seconds | None = None
    """Writing the frames as a video file, in memory."""
    compare: Seconds | None = None
    """Measuring the metrics, and writing what the report shows."""


TIMED: Mapping[Phase, str | None] = {
    "read": None,
    "download": None,
    "check": "load",
    "load": "load",
    "quantize": "load",
    "place": "load",
    "merge": "load",
    "text": "text",
    "image": "text",
    "denoise": "step",
    "decode": "decode",
    "encode": "encode",
    "compare": "compare",
    "write": "compare",
}
"""The field of a Timing that a phase counts for. A download is made once; reading a preview takes no time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The expected seconds of one generation."""

    timing: Timing
    runs: int
    """The number of earlier generations it is taken from."""
    scaled: bool
    """True if they had another size or number of frames, and their seconds were scaled by the number of pixels."""
    basis: str
    """Where it comes from: `3 earlier runs` or `scaled from 9 frames of 96x64`."""

    def seconds(self, steps: int, *, load: bool = True) -> float:
        """The seconds of a generation of `steps` steps, with or without loading its weights first."""
        timing = self.timing
        once = (timing.load if load else None, timing.text, timing.decode, timing.encode, timing.compare)
        return steps * (timing.step or 0.0) + sum(filter(None, once))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """The timings of equal generations: same weights, same size, same machine."""

    machine: str
    offload: str
    model: str
    weights: str
    """Hash of what the checkpoint is, in which precision, and whether it is compiled."""
    passes: int
    """Passes through the transformer per step: 2 with guidance."""
    frames: int
    width: int
    height: int
    used: float = 0.0
    """The last time it was added to, in seconds since 1970."""
    timings: tuple[Timing, ...] = ()

    @property
    def pixels(self) -> int:
        return max(1, self.frames * self.width * self.height)

    def of_same_weights(self, other: _Record) -> bool:
        names = ("machine", "offload", "model", "weights")
        return all(getattr(self, name) == getattr(other, name) for name in names)

    def of_same_kind(self, other: _Record) -> bool:
        return replace(self, used=0.0, timings=()) == replace(other, used=0.0, timings=())


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    version: int
    records: tuple[_Record, ...]


def remember(recipe: Recipe, machine: str, offload: str, timing: Timing) -> None:
    """Keep the timing of a generation. Without a cache folder, or if it cannot be written, nothing is kept."""
    path = _path()
    if path is None or timing == Timing():
        return
    new = _record(recipe, machine, offload)
    records = _read(path)
    known = next((record for record in records if record.of_same_kind(new)), new)
    new = replace(new, used=time.time(), timings=(*known.timings, timing)[-_MOST_TIMINGS:])
    others = sorted((record for record in records if record is not known), key=lambda record: -record.used)
    with contextlib.suppress(OSError):
        write_atomically(path, _to_json((new, *others[: _MOST_RECORDS - 1])))


def expected(recipe: Recipe, machine: str, offload: str) -> Estimate | None:
    """The expected seconds of a generation on a machine, from earlier ones with the same weights; None: none is known.

    Those of the same size and guidance count alone. Without any, the seconds of the nearest size are scaled by the
    number of pixels, which is too little for much larger videos: attention grows faster than they do.
    """
    path = _path()
    if path is None:
        return None
    new = _record(recipe, machine, offload)
    known = [record for record in _read(path) if record.of_same_weights(new) and record.timings]
    if not known:
        return None
    best = min(known, key=lambda record: (record.passes != new.passes, abs(math.log(record.pixels / new.pixels))))
    timing = _median(best.timings)
    if best.of_same_kind(new):
        runs = len(best.timings)
        return Estimate(timing=timing, runs=runs, scaled=False, basis=plural(runs, "earlier run"))
    ratio = new.pixels / best.pixels
    scaled = replace(
        timing,
        step=_times(timing.step, ratio * new.passes / best.passes),
        decode=_times(timing.decode, ratio),
        encode=_times(timing.encode, ratio),
        compare=_times(timing.compare, ratio),
    )
    source = f"scaled from {plural(best.frames, 'frame')} of {best.width}x{best.height}"
    if best.pixels == new.pixels:
        source = f"scaled from runs {'with' if best.passes > 1 else 'without'} guidance"
    return Estimate(timing=scaled, runs=len(best.timings), scaled=True, basis=source)


def machine_of(environment: Mapping[str, Any]) -> str:
    """The machine that speeds are kept for, from the `environment` of results.json: the GPU, or the CPU and threads."""
    gpu = environment.get("gpu")
    if gpu is not None and str(environment.get("device", "")).startswith("cuda"):
        return str(gpu)
    flags = environment.get("flags")
    flags = flags if isinstance(flags, Mapping) else {}
    kernels = ", portable kernels" if flags.get("cpu_kernels") == "portable" else ""
    return f"{environment.get('cpu')}, {plural(flags.get('threads') or 1, 'thread')}{kernels}"


def kind_of_machine(environment: Mapping[str, Any], offload: str, workers: int = 1) -> str:
    """The kind of machine on which seconds can be compared: `machine_of`, its offload mode, workers that share it."""
    more = [f"offload {offload}"] if offload != "none" else []
    more += [f"{workers} workers at once"] if workers > 1 else []
    return ", ".join((machine_of(environment), *more))


def last_used() -> tuple[str, str] | None:
    """The machine and offload mode of the last generation whose speed was kept; needs no torch. None: there is none."""
    path = _path()
    last = max(_read(path) if path is not None else (), key=lambda record: record.used, default=None)
    return (last.machine, last.offload) if last is not None else None


def _path() -> Path | None:
    folder = cache_folder()
    return folder / _FILE if folder is not None else None


def _record(recipe: Recipe, machine: str, offload: str) -> _Record:
    weights = (*recipe.weights.places().values(), recipe.precision, recipe.quantization.effective, recipe.compiled)
    return _Record(
        machine=machine,
        offload=offload,
        model=recipe.model,
        weights=hashlib.sha256("\0".join(map(str, weights)).encode()).hexdigest()[:16],
        passes=2 if recipe.guidance > 1 else 1,
        frames=recipe.num_frames.applied,
        width=recipe.width.applied,
        height=recipe.height.applied,
    )


def _median(timings: Iterable[Timing]) -> Timing:
    def median(name: str) -> float | None:
        values = [value for timing in timings if (value := getattr(timing, name)) is not None]
        return statistics.median(values) if values else None

    return Timing(**{field.name: median(field.name) for field in fields(Timing)})


def _times(seconds: float | None, factor: float) -> float | None:
    return None if seconds is None else seconds * factor


def _to_json(records: tuple[_Record, ...]) -> bytes:
    return TypeAdapter(_File).dump_json(_File(version=VERSION, records=records), indent=1)


def _read(path: Path) -> tuple[_Record, ...]:
    """The records of the file; none if it does not exist, is damaged, or has another version."""
    try:
        found = path.stat()
        return _parsed(path, (found.st_ino, found.st_size, found.st_mtime_ns))
    except (OSError, ValueError):
        return ()


@functools.lru_cache(maxsize=1)
def _parsed(path: Path, _state: tuple[int, ...]) -> tuple[_Record, ...]:
    """The file's records. It is asked for every case of a run, and changes after some."""
    file = TypeAdapter(_File).validate_json(read_bytes(path, _MAX_BYTES))
    return file.records if file.version == VERSION else ()
