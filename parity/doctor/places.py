"""Checks of disks and of what lies on them: caches, output folder, ffmpeg, the weights of LPIPS."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from parity.cost.census import published
from parity.cost.estimate import sized
from parity.doctor.check import Asked, Check, ok, problem, warning
from pipelines.catalog import MODELS
from pipelines.errors import UsageError
from pipelines.files.words import plural, reason_of

FULL, SCARCE = 250_000_000, 2_000_000_000
"""Free bytes below which a place is full (a video of one case does not fit), and below which a run may fill it."""
_PROBE_BYTES = 1 << 16
_SECONDS = 10
"""How long ffmpeg may take to print its version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder that is written to, which need not exist yet."""

    name: str
    folder: Path
    scarce: int
    """Free bytes below which there is a warning."""
    to_do: str
    """How to make room, or to write elsewhere."""
    note: str = ""


def disks(asked: Asked) -> Iterator[Check]:
    """Free space, and whether it can be written to, wherever something is written."""
    for place in _places(asked):
        yield judged_place(place)


def judged_place(place: Place) -> Check:
    """Write a few bytes where the place is or will be, and look at what is free there."""
    name = f"disk: {place.name}"
    there = _nearest(place.folder)
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
    except OSError as error:
        return problem(name, f"{place.folder}: cannot be written: {reason_of(error)}", place.to_do)
    free = shutil.disk_usage(there).free
    found = f"{place.folder}: {sized(free)} free{place.note}"
    if free < FULL:
        return problem(name, f"{found}: the disk is full", place.to_do)
    return warning(name, found, place.to_do) if free < place.scarce else ok(name, found)


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest above it that exists: it will be made there."""
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 (links are kept, as users write them)
    return next(path for path in (folder, *folder.parents) if path.exists())


def _places(asked: Asked) -> Iterator[Place]:
    from parity.results.folders import default_out
    from pipelines import downloads

    smallest = _smallest_checkpoint()
    yield Place(
        name="checkpoints",
        folder=downloads.cache_folder(),
        scarce=smallest,
        to_do="remove what is not needed (hf cache ls, hf cache rm), or set HF_HOME to a folder on a larger disk",
        note=f"; the smallest model takes about {sized(smallest)}",
    )
    frames = _frames_cache()
    if frames is not None:
        yield frames
    yield Place(
        name="output",
        folder=(asked.out or default_out().parent).absolute(),
        scarce=SCARCE,
        to_do="remove old runs from it, or pass --out with a folder on a larger disk",
    )
    yield Place(
        name="temporary",
        folder=Path(tempfile.gettempdir()),
        scarce=SCARCE,
        to_do="make room there, or set TMPDIR to a folder on a larger disk",
    )


def _smallest_checkpoint() -> int:
    """The bytes of the smallest published model, its text encoder included, in bfloat16."""
    models = (published(model).values() for model in MODELS)
    return min(sum(2 * tensor.numbers for part in parts for tensor in part) for parts in models)


def _frames_cache() -> Place | None:
    from parity.results.folders import cache_folder
    from parity.run.cache import Cache

    root = cache_folder()
    if root is None:
        return None
    cache = Cache(root)
    kept, encodings = cache.entries(), cache.encodings()
    size = sized(sum(one.size for one in cache.everything()))
    found = f"{plural(len(kept), 'generation')} and {plural(len(encodings), 'encoding')} of {size}"
    return Place(
        name="cached frames",
        folder=root,
        scarce=SCARCE,
        to_do="parity cache prune --older-than 30, or set WAN_PARITY_CACHE to a folder on a larger disk",
        note=f", {found}" if kept or encodings else ", empty",
    )


def cache_trust(_: Asked) -> Iterator[Check]:
    """Who besides this user could choose what cached cases show."""
    from parity.results.folders import CACHE_KEY, cache_folder, cache_key, who_else_writes

    folder, name = cache_folder(), "cache trust"
    if folder is None or not folder.is_dir():
        return
    try:
        key = cache_key()
    except UsageError as error:
        yield problem(name, str(error), "correct the variable, or unset it: runs stop at it")
        return
    others = who_else_writes(folder)
    if key is not None:
        yield ok(name, f"{folder} is keyed: entries that the key did not sign are not used")
    elif others is not None:
        found = f"{folder} is believed, and {others}, so they could choose what cached cases show"
        yield warning(name, found, f"chmod go-w {folder}, or set {CACHE_KEY} (SECURITY.md)")
    else:
        yield ok(name, f"{folder}: no other user can write it; there is no cache key")


def ffmpeg(_: Asked) -> Iterator[Check]:
    """The ffmpeg that reads and writes mp4 and webm, and whether it runs."""
    try:
        import imageio_ffmpeg
    except ModuleNotFoundError:
        found = "imageio-ffmpeg is not installed: videos are not compared here"
        yield problem("ffmpeg", found, "pip install imageio-ffmpeg")
        return
    own = "IMAGEIO_FFMPEG_EXE" in os.environ
    to_do = (
        "unset IMAGEIO_FFMPEG_EXE, or set it to a working ffmpeg"
        if own
        else "pip install --force-reinstall imageio-ffmpeg"
    )
    try:
        program = imageio_ffmpeg.get_ffmpeg_exe()
        done = subprocess.run(
            [program, "-hide_banner", "-version"], capture_output=True, timeout=_SECONDS, check=False, text=True
        )
    except RuntimeError:
        yield problem("ffmpeg", "not found: previews in mp4 or webm cannot be read", to_do)
    except subprocess.TimeoutExpired:
        yield problem("ffmpeg", f"{program} does not answer within {_SECONDS} s", to_do)
    except OSError as error:
        yield problem("ffmpeg", f"{program} cannot be run: {reason_of(error)}", to_do)
    else:
        first = (done.stdout or done.stderr).strip().partition("\n")[0].partition(" Copyright")[0]
        if done.returncode or not first.startswith("ffmpeg version"):
            said = f"ends with exit code {done.returncode} and says {first[:80]!r}"
            yield problem("ffmpeg", f"{program} {said}: it is broken, or no ffmpeg", to_do)
        else:
            yield ok("ffmpeg", f"{first.removeprefix('ffmpeg version ')}, {program}")
