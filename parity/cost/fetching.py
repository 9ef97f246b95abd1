"""Downloading what cases need, one repository after another, with its progress as it arrives on disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity.cost.downloads import Need
from parity.cost.estimate import sized
from parity.results.words import duration
from pipelines.downloads import cache_folder
from pipelines.errors import HubError
from pipelines.hub import folder_of, forget_answers

_STALLS_S = 60.0
"""After so long without a byte the progress says so."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """How far a download is."""

    done: int
    """Bytes since it began."""
    missing: int
    """Bytes in all, 0 if unknown."""
    seconds: float
    silent: float
    """Seconds since the last byte."""

    def __str__(self) -> str:
        of = f" of {sized(self.missing)}" if self.missing else ""
        rate = self.done / self.seconds if self.seconds else 0.0
        if self.silent >= _STALLS_S:
            return f"{sized(self.done)}{of}, no byte for {duration(self.silent)}"
        left = (self.missing - self.done) / rate if rate and self.missing > self.done else 0.0
        return f"{sized(self.done)}{of}, {sized(rate)}/s" + (f", about {duration(max(1, left))} left" if left else "")


def fetch(need: Need, missing: int, tell: Callable[[Arrived], None], every: float) -> Path:
    """Download what is missing of a repository. Returns its folder in the Hub's cache.

    `tell` is called every so many seconds, in another thread. Files that an earlier attempt completed are kept.
    Raises HubError.
    """
    forget_answers()
    ended = threading.Event()
    watch = threading.Thread(target=_watch, args=(need.place, missing, tell, every, ended), daemon=True)
    watch.start()
    try:
        with quiet():
            return folder_of(need.place, token=need.token, only=sorted(need.patterns))
    except HubError as error:
        raise HubError(str(error).removeprefix("checkpoint "), error.source) from None
    finally:
        ended.set()
        watch.join()


@contextmanager
def quiet() -> Iterator[None]:
    """Without the Hub library's bars and warnings: our progress says the same in one line, also without a terminal."""
    import huggingface_hub.utils as hub

    library: Any = hub
    shown, level = not library.are_progress_bars_disabled(), library.logging.get_verbosity()
    library.disable_progress_bars()
    library.logging.set_verbosity_error()
    try:
        yield
    finally:
        library.logging.set_verbosity(level)
        if shown:
            library.enable_progress_bars()


def _watch(place: str, missing: int, tell: Callable[[Arrived], None], every: float, ended: threading.Event) -> None:
    start = last = time.monotonic()
    before = seen = bytes_here(place)
    while not ended.wait(every):
        now, size = time.monotonic(), bytes_here(place)
        last = now if size != seen else last
        seen = size
        tell(Arrived(max(0, size - before), missing, now - start, now - last))


def bytes_here(place: str) -> int:
    """The bytes of a Hub id's files in the Hub's cache, unfinished ones included."""
    folder, total = cache_folder() / f"models--{place.replace('/', '--')}" / "blobs", 0
    try:
        for path in folder.iterdir():
            total += path.stat().st_size
    except OSError:  # it does not exist yet, or a file was renamed meanwhile
        return total
    return total
