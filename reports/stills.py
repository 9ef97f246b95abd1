"""Stills for the page: compressed copies of the frames, embedded until the page is full.

A side is a video of which there are stills: `preview`, `output`, `baseline` (what was accepted), and those of a
diagnosis, named as `Diagnosis.trials` does: `as_is`, `recipe`, `gain:scheduler`, `loss:scheduler`, `waterfall:0`, ….
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

from parity.results.case import CaseResult, Status
from parity.results.frames import worst_frame

SIDES = ("preview", "output", "baseline")
"""The sides that are no trials of a diagnosis."""
_PREFIX = "data:image/webp;base64,"
_ENTRY = 32
"""JSON around one still: quotes, commas, its frame number, its place in `images`."""
_FEW = 5
"""Frames, spread over the video, that every case gets before any gets all of them."""
_RANKS: dict[Status, int] = {"drifted": 0, "error": 0, "unpairable": 0, "expected_drift": 1, "smoke": 2, "passed": 2}
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
    """Side -> frame -> file. Sides of equal videos have the same files."""
    folders: dict[str, str]
    """Side -> its folder, relative to results.json, if there are stills in it."""
    problems: tuple[str, ...]
    """The reasons why preview, output or baseline have no stills."""
    trial_problems: tuple[str, ...] = ()
    """The reasons why trials of the diagnosis have none."""
    worst: int
    rank: int
    """The case's place in line for stills: see `_RANKS`."""
    images: dict[str, int] = field(default_factory=dict)
    """data: URI -> place; a still that sides share is embedded once."""
    embedded: dict[str, dict[int, int]] = field(init=False)
    """Side -> frame -> place."""

    def __post_init__(self) -> None:
        self.embedded = {side: {} for side in self.files}

    @property
    def trials(self) -> tuple[str, ...]:
        """The sides of the diagnosis."""
        return tuple(side for side in self.files if side not in SIDES)

    @property
    def own(self) -> tuple[str, ...]:
        """The sides that have stills of their own: trials that gave the output's or the preview's video have theirs."""
        whole = {self.folders.get("preview"), self.folders.get("output")}
        return tuple(side for side, folder in self.folders.items() if side in SIDES or folder not in whole)

    @property
    def found(self) -> int:
        """Number of stills on disk."""
        return len(self._on_disk(self.own))

    @property
    def left_out(self) -> int:
        """Number of stills that did not fit."""
        return self.left_out_of(self.own)

    def left_out_of(self, sides: Sequence[str]) -> int:
        """Number of stills of these sides that did not fit."""
        return len(self._on_disk(sides) - self._in_page(sides))

    @property
    def left_out_trials(self) -> int:
        """Number of stills that the diagnosis kept and that did not fit."""
        return self.left_out_of([side for side in self.own if side not in SIDES])

    @property
    def left_out_folders(self) -> list[str]:
        """Where the stills are that did not fit; for trials the folder that holds theirs."""
        short = {side: self.folders[side] for side in self.own if self.left_out_of([side])}
        places = (folder if side in SIDES else str(PurePosixPath(folder).parent) for side, folder in short.items())
        return list(dict.fromkeys(places))

    @property
    def pair_size(self) -> int:
        """Bytes that the worst frame takes in the page, of the preview, the output and what was accepted."""
        pair = (self.files.get(side, {}).get(self.worst) for side in SIDES)
        return sum(still.embedded_size + _ENTRY for still in pair if still is not None)

    def _on_disk(self, sides: Sequence[str]) -> set[Path]:
        return {still.path for side in sides for still in self.files[side].values()}

    def _in_page(self, sides: Sequence[str]) -> set[Path]:
        return {self.files[side][frame].path for side in sides for frame in self.embedded[side]}

    def data(self) -> dict[str, Any]:
        """The data for the page's script: {images: [URI], preview: {frame: place}, output: {frame: place}, …}."""
        return {"images": list(self.images), **self.embedded}

    def frames(self) -> list[int]:
        """Frames that have stills: those kept of trials and baseline, then coarse to fine over the video.

        Thus those which fit are spread over the video, and a picture of a trial has the preview's beside it.
        """
        few = {frame for side in self.own if side not in ("preview", "output") for frame in self.files[side]}
        frames = {frame for files in self.files.values() for frame in files}
        return sorted(
            frames, key=lambda frame: (frame not in few, -(frame & -frame) if frame else float("-inf"), frame)
        )

    def add(self, frame: int, budget: int, sides: Sequence[str] | None = None) -> int | None:
        """Embed a frame of all sides, or of some. Bytes the page grew by; None if they are more than `budget`."""
        wanted = [
            side
            for side in (self.files if sides is None else sides)
            if frame in self.files.get(side, ()) and frame not in self.embedded[side]
        ]
        new = {self.files[side][frame].path: self.files[side][frame] for side in wanted}
        sizes = {still.embedded_size for still in new.values()}
        if sum(sizes) > budget:  # files of one size may be equal, and then cost one
            return None
        uris = {path: _data_uri(path) for path in new}
        cost = sum(len(uri) for uri in set(uris.values()) if uri not in self.images) + _ENTRY * len(wanted)
        if cost > budget:
            return None
        for side in wanted:
            uri = uris[self.files[side][frame].path]
            self.embedded[side][frame] = self.images.setdefault(uri, len(self.images))
        return cost


def albums(cases: Sequence[CaseResult], folder: Path) -> list[Album]:
    """The stills on disk; `folder` is the one that holds results.json."""
    return [_album(case, folder) for case in cases]


def embed(books: Sequence[Album], budget: int) -> None:
    """Fill the albums anew with `budget` bytes: a pair for the overview, then failed cases first, passed ones last.

    Nothing is made smaller: shrinking costs more time than the page may take, and the page takes differences of what
    it embeds.
    """
    for book in books:
        book.images.clear()
        book.embedded = {side: {} for side in book.files}
    for book, frame, sides in _queue(books):
        cost = book.add(frame, budget, sides)
        if cost is None:
            return
        budget -= cost


def _queue(books: Sequence[Album]) -> Iterator[tuple[Album, int, Sequence[str] | None]]:
    """Every case's worst frame; then for each rank that of its other sides, then a few frames, then case by case.

    The sides are those of a frame to embed; None: all.
    """
    in_line = sorted(books, key=lambda book: book.rank)
    yield from ((book, book.worst, ("preview", "output")) for book in in_line)
    for _, group in groupby(in_line, key=lambda book: book.rank):
        alike = list(group)
        yield from ((book, book.worst, SIDES) for book in alike)
        yield from ((book, book.worst, book.trials) for book in alike)
        yield from ((book, frame, None) for book in alike for frame in book.frames()[:_FEW])
        yield from ((book, frame, None) for book in alike for frame in book.frames()[_FEW:])


def _read_folder(folder: Path) -> dict[int, Still]:
    """Stills by frame. Links are none: they may lead out of the results."""
    paths = [path for path in folder.glob("*.webp") if path.stem.isdecimal() and path.is_file()]
    return {int(path.stem): Still(path, path.stat().st_size) for path in paths if not path.is_symlink()}


def _album(case: CaseResult, folder: Path) -> Album:
    named = {side: case.artifacts[f"{side}_frames"] for side in SIDES if f"{side}_frames" in case.artifacts}
    generated = case.diagnosis.trials() if case.diagnosis is not None else {}
    trials = {side: trial.stills for side, trial in generated.items() if trial.stills is not None}
    folders = named | trials
    safe = {relative for relative in folders.values() if _is_inside(folder, relative)}
    read = {relative: _read_folder(folder / relative) for relative in safe}
    files: dict[str, dict[int, Still]] = {side: {} for side in ("preview", "output")}
    files |= {side: read.get(relative, {}) for side, relative in folders.items()}
    missing = {side: f"should be in {folders[side]}; none was {_where(folders[side] in safe)}." for side in named}
    lost = dict.fromkeys(relative for side, relative in trials.items() if not files[side])
    return Album(
        files=files,
        folders={side: relative for side, relative in folders.items() if files[side]},
        problems=tuple(f"The {side}'s stills {where}" for side, where in missing.items() if not files[side]),
        trial_problems=tuple(
            f"Stills of the diagnosis should be in {relative}; none was {_where(relative in safe)}."
            for relative in lost
        ),
        worst=worst_frame(case) or 0,
        rank=_RANKS[case.status],
    )


def _is_inside(folder: Path, relative: str) -> bool:
    """Say if a path stays in the folder: a results.json from elsewhere must not pull other files into a page."""
    return "\0" not in relative and (folder / relative).resolve().is_relative_to(folder.resolve())


def _where(safe: bool) -> str:
    return "found there" if safe else "read: it lies outside the folder of results.json"


def _data_uri(path: Path) -> str:
    return _PREFIX + base64.b64encode(path.read_bytes()).decode("ascii")
