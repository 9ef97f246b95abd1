"""Stills that a baseline keeps of the accepted output: chosen and made small when it is accepted, copied to be seen."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from parity.baselines.file import Baseline, BaselineStill, still_folder
from parity.results.case import CaseResult
from parity.results.frames import spread, worst_frame
from pipelines.errors import MediaError
from pipelines.files.content import read_bytes, real_path
from pipelines.files.words import plural, reason_of

_MOST_BYTES = 48 << 10
"""A larger still is made smaller."""
_MOST_BYTES_OF_A_CASE = 192 << 10
_LONGEST_SIDE = 480
_QUALITY = 90
_READ_BYTES = 32 << 20
_MAX_PIXELS = 1 << 26


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """The stills for a new baseline."""

    stills: tuple[BaselineStill, ...] = ()
    data: Mapping[str, bytes] = field(default_factory=dict)
    """The content of each file by its name."""
    notes: tuple[str, ...] = ()
    """What could not be kept, and why."""


def pick(result: CaseResult, folder: Path, count: int) -> Picked:
    """Choose stills of a result's output, the worst frame first. `folder` holds its results.json."""
    if not count:
        return Picked()
    files = _found(result, folder)
    if not files:
        return Picked(notes=("no stills are kept: the results hold none of the output (any more)",))
    kept: dict[int, bytes] = {}
    notes: list[str] = []
    wanted = _wanted(sorted(files), worst_frame(result), count)
    for frame in wanted:
        try:
            data = _small(read_bytes(files[frame], _READ_BYTES), files[frame].name)
        except (OSError, MediaError) as error:
            notes.append(f"frame {frame} is not kept: {reason_of(error) if isinstance(error, OSError) else error}")
            continue
        if sum(map(len, kept.values())) + len(data) > _MOST_BYTES_OF_A_CASE:
            limit = _MOST_BYTES_OF_A_CASE >> 10
            notes.append(f"{plural(len(kept), 'still')} of {len(wanted)} kept: a case may have {limit} KiB")
            break
        kept[frame] = data
    stills = {frame: BaselineStill.of(frame, _sha256(kept[frame])) for frame in sorted(kept)}
    by_name = {still.file: kept[frame] for frame, still in stills.items()}
    return Picked(stills=tuple(stills.values()), data=by_name, notes=tuple(notes))


def _found(result: CaseResult, folder: Path) -> dict[int, Path]:
    """The stills of a result's output by frame. Links are none: they may lead out of the results."""
    relative = result.artifacts.get("output_frames")
    if relative is None or "\0" in relative:
        return {}
    stills = real_path(folder / relative)
    if not stills.is_relative_to(real_path(folder)) or not stills.is_dir():
        return {}
    paths = [path for path in stills.glob("*.webp") if path.stem.isdecimal() and not path.is_symlink()]
    return {int(path.stem): path for path in paths}


def _wanted(frames: Sequence[int], worst: int | None, count: int) -> list[int]:
    """Choose `count` of the frames that have stills, the worst first: where not all fit, the others are left out."""
    chosen = [frames[place] for place in spread(len(frames), count, frames.index(worst) if worst in frames else None)]
    return sorted(chosen, key=lambda frame: frame != worst)


def _small(data: bytes, name: str) -> bytes:
    """The picture as it is kept. Raises MediaError if it is none."""
    from PIL import Image

    from pipelines.media.picture import opened

    with opened(data, name, "a WebP", _MAX_PIXELS) as image:
        image.load()
        if len(data) <= _MOST_BYTES and image.format == "WEBP":
            return data
        smaller = image.convert("RGB")
        smaller.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.LANCZOS)
        encoded = io.BytesIO()
        smaller.save(encoded, "WEBP", quality=_QUALITY)
        return encoded.getvalue()


def damage(baseline: Baseline, folder: Path) -> list[str]:
    """Say which stills of a baseline in this folder are missing or are not the pictures that were accepted."""
    return _read(baseline, folder)[1]


def copy_stills(baseline: Baseline, folder: Path, into: Path) -> list[str]:
    """Copy a baseline's stills to the folder `into`, named by their frames. Returns what cannot be shown, and why.

    What was there before is replaced as a whole: a kill leaves no folder that is half filled, and without a still that
    can be shown there is no folder.
    """
    stills, problems = _read(baseline, folder)
    names = {f"{frame:04d}.webp": data for frame, data in stills.items()}
    new = into.with_name(f".new-{into.name}.{os.getpid()}")
    try:
        if _content(into) == names:
            return problems
        new.mkdir(parents=True)
        for name, data in names.items():
            (new / name).write_bytes(data)
        shutil.rmtree(into, ignore_errors=True)
        if names:
            new.replace(into)
    except OSError as error:
        shutil.rmtree(into, ignore_errors=True)
        problems.append(f"the accepted stills cannot be copied to {into}: {reason_of(error)}")
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return problems


def _content(folder: Path) -> dict[str, bytes]:
    if not folder.is_dir():
        return {}
    return {path.name: read_bytes(path, _READ_BYTES) for path in folder.iterdir()}


def _read(baseline: Baseline, folder: Path) -> tuple[dict[int, bytes], list[str]]:
    """The stills that are as they were accepted, and what is wrong with the others."""
    stills: dict[int, bytes] = {}
    problems = []
    for still in baseline.stills:
        path = folder / still_folder(baseline.case) / still.file
        try:
            data = read_bytes(path, _READ_BYTES)
        except OSError as error:
            problems.append(f"{path}: {reason_of(error)}; the accepted frame {still.frame} cannot be shown")
            continue
        if _sha256(data) == still.sha256:
            stills[still.frame] = data
        else:
            reason = "a Git LFS pointer; run git lfs pull" if data.startswith(b"version https://git-lfs") else "changed"
            problems.append(f"{path}: {reason}; the accepted frame {still.frame} cannot be shown")
    return stills, problems


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
