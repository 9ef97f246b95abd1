"""How much of a case is done, and how long the rest will take."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from parity.cost.speeds import TIMED, Estimate
from pipelines.phases import Phase

MOST = 0.99
"""The most that is shown of a case before it is done."""
_ORDER = ("load", "text", "step", "decode", "encode", "compare")
_BEFORE_STEPS, _UNTIL_STEPS = _ORDER[:2], _ORDER[:3]
_STEPS_FROM, _STEPS_TO = 0.05, 0.7
"""Without a known speed: what steps get of a generation. Decoding takes from 5 % of its time to half of it."""


class Forecast:
    """Follows one case, which may take several generations.

    With a known speed, the fraction is that of the expected time. Otherwise steps get a share, and what comes after
    them slowly fills the rest. From the second generation on, earlier ones tell how long one takes.
    """

    def __init__(self, estimate: Estimate | None, steps: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`steps`: the denoising steps of the case's request."""
        self._estimate = estimate
        self._clock = clock
        self._started = self._generation_since = self._field_since = self._after_since = clock()
        self._step_at = self._started
        self._planned: float | None = 1.0
        self._generations = 0
        self._seconds: list[float] = []
        """Of each finished generation."""
        self._field = "load"
        self._done, self._steps = 0, steps
        self._shown = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since the case began."""
        return self._clock() - self._started

    def planned(self, generations: float | None) -> None:
        """The case takes at most so many generations; None: nobody knows."""
        self._planned = generations

    def generation(self, steps: int) -> None:
        """A generation begins."""
        now = self._clock()
        if self._generations:
            self._seconds.append(now - self._generation_since)
            self._enter("load", now)
        self._generations, self._generation_since = self._generations + 1, now
        self._done, self._steps = 0, steps

    def phase(self, name: Phase) -> None:
        """A phase begins. One that comes before the present one is a detail of it, like loading to compare."""
        field = TIMED[name]
        if field is not None and _ORDER.index(field) > _ORDER.index(self._field):
            self._enter(field, self._clock())

    def step(self, done: int, steps: int) -> None:
        """A denoising step is done."""
        if self._field in _BEFORE_STEPS:  # a server tells nothing but steps
            self._enter("step", self._clock())
        self._done, self._steps, self._step_at = done, steps, self._clock()

    def left(self) -> float | None:
        """The seconds that the case will still take; None: no speed is known yet."""
        rest, each = self._rest_of_generation(), self._each()
        if rest is None or each is None or self._planned is None:
            return None
        return rest + max(0.0, self._planned - max(1, self._generations)) * each

    def fraction(self) -> float | None:
        """The part of the case that is done, from 0 to MOST. It never falls. None: nobody knows how much there is."""
        if self._planned is None:
            return None
        left = self.left()
        if left is None:
            generations = max(self._planned, self._generations, 1.0)
            now = (max(0, self._generations - 1) + self._share()) / generations
        else:
            elapsed = self.elapsed
            now = elapsed / (elapsed + left) if elapsed + left > 0 else 0.0
        self._shown = max(self._shown, min(now, MOST))
        return self._shown

    def _enter(self, field: str, now: float) -> None:
        if self._field in _UNTIL_STEPS:
            self._after_since = now
        self._field, self._field_since = field, now

    def _each(self) -> float | None:
        """Seconds of one more generation."""
        if self._seconds:
            return sum(self._seconds) / len(self._seconds)
        return None if self._estimate is None else self._estimate.seconds(self._steps, load=False)

    def _rest_of_generation(self) -> float | None:
        now = self._clock()
        if self._seconds:
            return max(0.0, sum(self._seconds) / len(self._seconds) - (now - self._generation_since))
        if self._estimate is None:
            return None
        timing, here = self._estimate.timing, _ORDER.index(self._field)
        expected = {field: getattr(timing, field) or 0.0 for field in _ORDER}
        in_field = now - self._field_since
        if self._field == "step" and self._done:
            expected["step"] = (self._step_at - self._field_since) / self._done  # this very run knows best
        expected["step"] *= self._steps
        return max(0.0, expected[self._field] - in_field) + sum(expected[field] for field in _ORDER[here + 1 :])

    def _share(self) -> float:
        """The part of a generation that is done, without a known speed."""
        if self._field in _BEFORE_STEPS or not self._steps:
            return 0.0
        if self._field == "step":
            return _STEPS_FROM + (_STEPS_TO - _STEPS_FROM) * self._done / self._steps
        before = max(1.0, self._after_since - self._generation_since)
        return _STEPS_TO + (1 - _STEPS_TO) * (1 - math.exp(-(self._clock() - self._after_since) / before))
