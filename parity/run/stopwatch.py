"""How long the phases of a case's own generation took, for the memory of speeds."""

from __future__ import annotations

import time
from collections.abc import Callable

from parity.cost.speeds import TIMED, Timing
from pipelines.phases import Phase


class Stopwatch:
    """Measures a case until its second generation begins: later ones reuse what the first has loaded and encoded."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._seconds: dict[str, float] = {}
        self._field: str | None = None
        self._since = clock()
        self._steps = self._generations = 0

    def phase(self, name: Phase | None) -> None:
        """A phase begins; None: one that is not measured."""
        self._add()
        self._field = TIMED[name] if name is not None else None

    def generation(self) -> None:
        """A generation begins, in the phase of before."""
        self._add()
        self._generations += 1

    def step(self, done: int) -> None:
        """A denoising step is done."""
        if self._generations < 2:
            self._steps = done

    def timing(self) -> Timing | None:
        """What was measured; None if nothing was generated, because the frames were cached."""
        self.phase(None)
        if not self._steps:
            return None
        seconds = dict(self._seconds)
        return Timing(step=seconds.pop("step", 0.0) / self._steps, **seconds)

    def _add(self) -> None:
        now = self._clock()
        if self._field is not None and self._generations < 2:
            self._seconds[self._field] = self._seconds.get(self._field, 0.0) + now - self._since
        self._since = now
