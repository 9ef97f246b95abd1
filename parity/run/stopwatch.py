"""How long a case took: its phases for the memory of speeds, the steps and decodes for the gate on time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from parity.cost.speeds import TIMED, Timing
from parity.results.speed import Speed
from pipelines.phases import Phase


@dataclass(slots=True)
class _Lap:
    """One generation, in seconds."""

    steps: list[float] = field(default_factory=list)
    rest: float = 0.0
    """Denoising since the last step."""
    decode: float = 0.0

    @property
    def step(self) -> float:
        """A step without the first, which also compiles kernels and allocates; the only step there is."""
        later = self.steps[1:]
        return (sum(later) + self.rest) / len(later) if later else self.steps[0] + self.rest

    @property
    def seconds(self) -> float:
        return self.step * len(self.steps) + self.decode


class Stopwatch:
    """Measures a case. Its phases until its second generation begins: later ones reuse what it loaded and encoded."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._seconds: dict[str, float] = {}
        self._field: str | None = None
        self._since = clock()
        self._steps = self._generations = 0
        self._laps: list[_Lap] = []

    def phase(self, name: Phase | None) -> None:
        """A phase begins; None: one that is not measured."""
        self._add()
        if name == "read" and self._laps and self._field in ("step", "decode"):
            self._laps.pop()  # it failed, and the case begins again
        self._field = TIMED[name] if name is not None else None

    def generation(self) -> None:
        """A generation begins, in the phase of before."""
        self._add()
        self._generations += 1
        self._laps.append(_Lap())

    def step(self, done: int) -> None:
        """A denoising step is done."""
        self._add()
        if self._laps:
            lap = self._laps[-1]
            lap.steps.append(lap.rest)
            lap.rest = 0.0
        if self._generations < 2:
            self._steps = done

    def timing(self) -> Timing | None:
        """What was measured; None if nothing was generated, because the frames were cached."""
        self.phase(None)
        if not self._steps:
            return None
        seconds = dict(self._seconds)
        return Timing(step=seconds.pop("step", 0.0) / self._steps, **seconds)

    def speed(self, generations: int, machine: str) -> Speed | None:
        """The median of the first so many generations, which are those of the case's request.

        None if fewer were made, because the frames were cached.
        """
        self.phase(None)
        laps = [lap for lap in self._laps if lap.steps and lap.decode][:generations]
        if len(laps) < generations:
            return None

        def median(of: Callable[[_Lap], float]) -> float:
            return round(statistics.median(map(of, laps)), 4)

        return Speed(
            seconds=median(lambda lap: lap.seconds),
            step=median(lambda lap: lap.step),
            decode=median(lambda lap: lap.decode),
            generations=generations,
            machine=machine,
        )

    def _add(self) -> None:
        now = self._clock()
        if self._laps and self._field == "step":
            self._laps[-1].rest += now - self._since
        elif self._laps and self._field == "decode":
            self._laps[-1].decode += now - self._since
        if self._field is not None and self._generations < 2:
            self._seconds[self._field] = self._seconds.get(self._field, 0.0) + now - self._since
        self._since = now
