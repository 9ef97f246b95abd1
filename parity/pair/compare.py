"""Two files compared: size, then timing, then levels, each kept only if it is clearly better than without; then the
metrics of what is left, what the codecs cost, and the answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from parity.comparison.compare import frames_sha256
from parity.comparison.metrics import measure
from parity.comparison.verdict import broken_in_words
from parity.pair import geometry as places
from parity.pair import timing as times
from parity.pair.answer import Evidence, answer
from parity.pair.codec import Source, errors, estimate
from parity.pair.geometry import Geometry
from parity.pair.graphs import GraphOf, differences, graph_of, next_steps, notes
from parity.pair.levels import Levels, best_levels, is_truncated, sample
from parity.pair.thumbs import Thumbs, distances, levelled, likeness, thumbs
from parity.pair.timing import CLEAR, MOST_FRAMES, Timing, best_timing, plain
from parity.results.pair import FileFacts, PairResult
from pipelines.errors import UsageError
from pipelines.files.digests import sha256_file
from pipelines.media.facts import MediaFacts, media_facts
from pipelines.media.video import Frames, Video, read_video

ALIKE = 0.8
"""The least likeness (`thumbs.likeness`) at which something is claimed about how one video became the other."""
_BETTER = 0.5
"""A geometry replaces a simpler one if what its likeness lacks to 1 is at most this share."""
_SETTLED = 0.97
"""The likeness at which no further geometry is tried."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """One of the two files, read."""

    path: Path
    video: Video
    media: MediaFacts
    graph: GraphOf
    facts: FileFacts

    @property
    def source(self) -> Source:
        """The file as the estimate of its codec's loss needs it."""
        return Source(self.path, self.media, len(self.video.frames))


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The result, and the frames that were compared, pair by pair, of equal sizes."""

    result: PairResult
    a: Frames
    b: Frames


def open_file(path: Path) -> Opened:
    """Read one file. Raises MediaError for a damaged, unknown or missing one."""
    video = read_video(path)
    media, graph = media_facts(path), graph_of(path)
    return Opened(
        path=path,
        video=video,
        media=media,
        graph=graph,
        facts=FileFacts(
            path=str(path),
            kind=media.kind,
            lossless=media.lossless,
            frames=len(video.frames),
            width=video.width,
            height=video.height,
            fps=round(video.fps, 3),
            sha256=frames_sha256(video.frames) if path.is_dir() else sha256_file(path),
            graph=graph.where,
        ),
    )


def compare_files(a: Path, b: Path, asked: Collection[str] = (), tell: Progress = lambda _: None) -> Compared:
    """Compare two files, also by the metrics `asked` for. `tell` hears what is being done.

    Raises MediaError for a file that cannot be read, and UsageError if both are one file.
    """
    if a.exists() and b.exists() and a.samefile(b):
        raise UsageError(f"{a} and {b} are one and the same file; name two")
    tell(f"reading {a.name}")
    first = open_file(a)
    tell(f"reading {b.name}")
    second = open_file(b)
    return compare_opened(first, second, asked, tell)


def compare_opened(a: Opened, b: Opened, asked: Collection[str], tell: Progress) -> Compared:
    """Compare two files that were read."""
    one, two = a.video.frames, b.video.frames
    if one.shape == two.shape and np.array_equal(one, two):
        as_they_are = next(places.candidates(one, two))
        return _finish(a, b, _Found(as_they_are, plain(len(one), len(two)), 1.0), asked, tell)
    tell("looking for size and timing")
    return _finish(a, b, _search(one, two, _rate(a, b)), asked, tell)


def _rate(a: Opened, b: Opened) -> float | None:
    return a.video.fps / b.video.fps if a.video.fps and b.video.fps else None


@dataclass(frozen=True, slots=True)
class _Found:
    """A geometry with its best timing by thumbnails, and how alike the thumbnails are then."""

    geometry: Geometry
    timing: Timing
    likeness: float


def _search(a: Frames, b: Frames, rate: float | None) -> _Found:
    best: _Found | None = None
    for geometry in places.candidates(a, b):
        found = _try(a, b, geometry, rate)
        if best is None or (found.likeness >= ALIKE and 1 - found.likeness <= _BETTER * (1 - best.likeness)):
            best = found
        if best.likeness >= _SETTLED:
            break
    assert best is not None
    return best


def _try(a: Frames, b: Frames, geometry: Geometry, rate: float | None) -> _Found:
    """The best timing of a geometry, by thumbnails whose levels were made alike."""
    first, second = _thumbs(a, b, geometry)
    timing = plain(len(a), len(b))
    if max(len(a), len(b)) <= MOST_FRAMES:
        timing = best_timing(distances(first, levelled(second, first)), times.motion(first), rate)
    found = _Found(geometry, timing, _likeness(first, second, timing))
    if found.likeness >= ALIKE or timing.change is None:
        return found
    as_numbered = plain(len(a), len(b))
    return _Found(geometry, as_numbered, _likeness(first, second, as_numbered))


def _likeness(a: Thumbs, b: Thumbs, timing: Timing) -> float:
    rows, columns = np.array(timing.pairs).T
    return likeness(a[rows], b[columns])


def _thumbs(a: Frames, b: Frames, geometry: Geometry) -> tuple[Thumbs, Thumbs]:
    size = geometry.grid
    sideways = geometry.turn is not None and "90" in geometry.turn
    second = thumbs(b, size[::-1] if sideways else size, geometry.box_b)
    return thumbs(a, size, geometry.box_a), np.ascontiguousarray(places.turned_back(second, geometry.turn))


def _finish(a: Opened, b: Opened, found: _Found, asked: Collection[str], tell: Progress) -> Compared:
    """Verify at full size, measure, and answer."""
    one, two = a.video.frames, b.video.frames
    trusted = found.likeness >= ALIKE
    tell("estimating what the codecs cost")
    identical = one.shape == two.shape and bool(np.array_equal(one, two))
    cost = None if identical else estimate(one, two, a.source, b.source)
    one_lossless = bool(a.media.lossless) != bool(b.media.lossless)
    floor = cost[1].fine if cost is not None and one_lossless else 0.0  # of two lossy files it is too rough
    tell("comparing frames")
    geometry = found.geometry
    first, second, filter_name = places.apply(one, two, geometry)
    timing = found.timing if trusted else plain(len(one), len(two))
    levels = best_levels(*sample(first, second, timing.pairs), floor) if trusted else None
    if timing.change is not None and not _is_verified(first, second, timing, levels):
        timing = plain(len(one), len(two))
        levels = best_levels(*sample(first, second, timing.pairs), floor)
    if trusted and geometry.is_plain:
        geometry, timing = _shift(first, second, geometry, timing, levels)
        if geometry.change is not None:
            first, second, _ = places.apply(one, two, geometry)
            levels = best_levels(*sample(first, second, timing.pairs), floor)
    first, second = _taken(first, [i for i, _ in timing.pairs]), _taken(second, [j for _, j in timing.pairs])
    tell("measuring")
    metrics = measure(first, second, asked=asked)
    identical = bool(np.array_equal(first, second))
    apart = errors(_levelled(first, levels), second)
    found_answer = answer(
        Evidence(
            a=a.facts,
            b=b.facts,
            geometry=geometry,
            filter_name=filter_name,
            timing=timing,
            levels=levels,
            truncated=levels is None and not identical and is_truncated(first, second),
            likeness=found.likeness,
            alike=trusted,
            identical=identical,
            apart=apart,
            before=errors(first, second)[0],
            loss=None if cost is None else cost[1],
            broken=(broken_in_words(one), broken_in_words(two)),
            settings=differences(a.graph, b.graph),
        )
    )
    result = PairResult(
        a=a.facts,
        b=b.facts,
        outcome=found_answer.outcome,
        sentence=found_answer.sentence,
        findings=found_answer.findings,
        pairs=timing.pairs,
        compared_size=(int(first.shape[2]), int(first.shape[1])),
        metrics=metrics,
        as_they_are=_as_they_are(one, two),
        after_levels=None if levels is None else _psnr(apart[0]),
        codec=None if cost is None else cost[0],
        settings=differences(a.graph, b.graph),
        notes=(*found_answer.notes, *notes(a.graph, b.graph)),
        next_steps=tuple(next_steps(a.graph, b.graph)),
    )
    return Compared(result=result, a=first, b=second)


def _taken(frames: Frames, numbers: list[int]) -> Frames:
    """These frames; not copied if they lie in a row."""
    first, last = numbers[0], numbers[-1]
    return frames[first : last + 1] if numbers == list(range(first, last + 1)) else frames[numbers]


def _is_verified(a: Frames, b: Frames, timing: Timing, levels: Levels | None) -> bool:
    """Whether a timing is clearly better than equal frame numbers at full size too, with the levels made alike."""
    moved = [(i, j) for i, j in timing.moved if j < len(a)]
    if not moved:
        return True
    moved = moved[:: max(1, len(moved) // 16)]
    found = sum(_apart(a[i], b[j], levels) for i, j in moved)
    same = sum(_apart(a[j], b[j], levels) for _, j in moved)
    return found <= CLEAR * same


def _shift(a: Frames, b: Frames, geometry: Geometry, timing: Timing, levels: Levels | None) -> tuple[Geometry, Timing]:
    """The shift by whole pixels that is clearly better than none, with its timing; as given where there is none.

    Where the whole picture moves slowly, a shift looks like an offset in time: the one that is closer counts.
    """
    best, least = (geometry, timing), CLEAR * _distance(a, b, timing, levels)
    for pairing in dict.fromkeys((timing.pairs, plain(len(a), len(b)).pairs)):
        tried = timing if pairing == timing.pairs else Timing(pairs=pairing)
        shifted = places.shifted(a, b, pairing[len(pairing) // 2])
        if shifted is None:
            continue
        error = _distance(places.part(a, shifted.box_a), places.part(b, shifted.box_b), tried, levels)
        if error < least:
            best, least = (shifted, tried), error
    return best


def _distance(a: Frames, b: Frames, timing: Timing, levels: Levels | None) -> float:
    """The mean squared error over some of a timing's pairs."""
    some = timing.pairs[:: max(1, len(timing.pairs) // 8)]
    return sum(_apart(a[i], b[j], levels) for i, j in some) / len(some)


def _apart(a: Frames, b: Frames, levels: Levels | None) -> float:
    made = a.astype(np.float32) if levels is None else levels.apply(a.astype(np.float32))
    return float(np.square(np.clip(made, 0, 255) - b).mean())


def _levelled(frames: Frames, levels: Levels | None) -> Iterator[Frames]:
    """A's frames with B's levels, one after the other."""
    for frame in frames:
        if levels is not None:
            frame = np.clip(np.rint(levels.apply(frame.astype(np.float32))), 0, 255).astype(np.uint8)
        yield frame


def _as_they_are(a: Frames, b: Frames) -> float | None:
    count = min(len(a), len(b))
    return _psnr(errors(a[:count], b[:count])[0]) if a.shape[1:] == b.shape[1:] else None


def _psnr(error: float) -> float | None:
    """A mean squared error as PSNR in dB; None: infinite."""
    return None if error <= 0 else round(10 * math.log10(255**2 / error), 4)
