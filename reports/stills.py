"""Stills for the page: compressed copies of the frames, embedded until the page is full."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from parity.results.case import CaseResult, Status
from reports.view import worst_frame

SIDES = ("preview", "output")
_PREFIX = "data:image/webp;base64,"
_ENTRY = 32
"""JSON around one still: quotes, commas, its frame number, its place in `images`."""
_FEW = 5
"""Frames, spread over the video, that every case gets before any gets all of them."""
_RANKS: dict[Status, int] = {"drifted": 0, "error": 0, "unpairable": 0, "expected_drift": 1, "passed": 2}
"""Which cases get stills first: cases that failed (0), then drift as expected, then what passed."""


@dataclass(frozen=True, slots=True)
class Still:
    """A file and its size."""

    path: Path
    size: int

    @property
    def embedded_size(self) -> int:
        """The size as a data: URI, known without reading the file."""
        return len(_PREFIX) + 4 * -(-self.size // 3)


@dataclass(slots=True, kw_only=True)
class Album:
    """The stills of one case: those on disk, and those that went into the page."""

    files: dict[str, dict[int, Still]]
    """Side -> frame -> file."""
    problems: tuple[str, ...]
    """The reasons why a side has no stills."""
    worst: int
    rank: int
    """The case's place in line for stills: see `_RANKS`."""
    images: dict[str, int] = field(default_factory=dict)
    """data: URI -> place; a still both sides share is embedded once."""
    embedded: dict[str, dict[int, int]] = field(default_factory=lambda: {side: {} for side in SIDES})
    """Side -> frame -> place."""

    @property
    def found(self) -> int:
        """Number of stills on disk."""
        return sum(len(files) for files in self.files.values())

    @property
    def left_out(self) -> int:
        """Number of stills that did not fit."""
        return self.found - sum(len(frames) for frames in self.embedded.values())

    def data(self) -> dict[str, Any]:
        """The data for the page's script: {images: [URI], preview: {frame: place}, output: {frame: place}}."""
        return {"images": list(self.images), **self.embedded}

    def frames(self) -> list[int]:
        """Frames that have stills, coarse to fine, so that those which fit are spread over the video."""
        frames = {frame for files in self.files.values() for frame in files}
        return sorted(frames, key=lambda frame: (-(frame & -frame) if frame else float("-inf"), frame))

    def add(self, frame: int, budget: int) -> int | None:
        """Embed a frame of both sides. Bytes the page grew by; None if they are more than `budget`."""
        sides = [side for side in SIDES if frame in self.files[side] and frame not in self.embedded[side]]
        sizes = {self.files[side][frame].embedded_size for side in sides}
        if sum(sizes) > budget:  # files of one size may be equal, and then cost one
            return None
        uris = {side: _data_uri(self.files[side][frame].path) for side in sides}
        new = {uri for uri in uris.values() if uri not in self.images}
        cost = sum(len(uri) for uri in new) + _ENTRY * len(sides)
        if cost > budget:
            return None
        for side, uri in uris.items():
            self.embedded[side][frame] = self.images.setdefault(uri, len(self.images))
        return cost


def albums(cases: Sequence[CaseResult], folder: Path) -> list[Album]:
    """The stills on disk; `folder` is the one that holds results.json."""
    return [_album(case, folder) for case in cases]


def embed(books: Sequence[Album], budget: int) -> None:
    """Fill the albums with `budget` bytes: cases that failed first, those that passed last.

    Nothing is made smaller: shrinking costs more time than the page may take, and the page takes differences of what
    it embeds.
    """
    for book, frame in _queue(books):
        cost = book.add(frame, budget)
        if cost is None:
            return
        budget -= cost


def _queue(books: Sequence[Album]) -> Iterator[tuple[Album, int]]:
    """For each rank every case's worst frame, then a few of every case, then the rest case by case."""
    for _, group in groupby(sorted(books, key=lambda book: book.rank), key=lambda book: book.rank):
        alike = list(group)
        yield from ((book, book.worst) for book in alike)
        yield from ((book, frame) for book in alike for frame in book.frames()[:_FEW])
        yield from ((book, frame) for book in alike for frame in book.frames()[_FEW:])


def _read_folder(folder: Path) -> dict[int, Still]:
    """Stills by frame. Links are none: they may lead out of the results."""
    paths = [path for path in folder.glob("*.webp") if path.stem.isdecimal() and path.is_file()]
    return {int(path.stem): Still(path, path.stat().st_size) for path in paths if not path.is_symlink()}


def _album(case: CaseResult, folder: Path) -> Album:
    files: dict[str, dict[int, Still]] = {side: {} for side in SIDES}
    problems = []
    for side in SIDES:
        relative = case.artifacts.get(f"{side}_frames")
        if relative is None:
            continue
        inside = (folder / relative).resolve().is_relative_to(folder.resolve())
        if inside:  # a results.json from elsewhere must not pull other files into a page that is passed on
            files[side] = _read_folder(folder / relative)
        if not files[side]:
            where = "found there" if inside else "read: it lies outside the folder of results.json"
            problems.append(f"The {side}'s stills should be in {relative}; none was {where}.")
    rank = _RANKS[case.status]
    return Album(files=files, problems=tuple(problems), worst=worst_frame(case) or 0, rank=rank)


def _data_uri(path: Path) -> str:
    return _PREFIX + base64.b64encode(path.read_bytes()).decode("ascii")
