"""What a run is doing at this moment, in one line."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from parity.case.load import Case
from parity.cost.estimate import sized
from parity.cost.fetching import bytes_here
from parity.cost.speeds import Estimate
from parity.results.case import CaseResult
from parity.results.words import duration
from parity.terminal.forecast import Forecast
from pipelines.files.words import plural
from pipelines.phases import Phase, in_words

_COUNTED_ANEW = 100
"""The seconds of later cases are counted anew when a hundredth of them has begun since. So what it costs to begin a
case does not grow with their number."""


class Outlook(Protocol):
    """What a run expects of its cases (`parity.run.outlook`)."""

    def expect(self, case: Case) -> Estimate | None:
        """The seconds of one generation; None: no speed is known."""

    def generations(self, case: Case) -> float | None:
        """The most generations that a case takes; None: nobody knows."""


class Unknown:
    """An outlook that knows nothing."""

    def expect(self, case: Case) -> Estimate | None:  # noqa: ARG002
        return None

    def generations(self, case: Case) -> float | None:  # noqa: ARG002
        return 1.0


class Tracker:
    """A listener that shows nothing itself. Any thread may ask it for its line.

    A case that was interrupted stays the one under work. The seconds of later cases are expected from known speeds;
    those without any are taken to last as long as the finished cases that were generated.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._outlook: Outlook = Unknown()
        self._later: dict[str, Case] = {}
        self.total = 0
        """The number of cases; 0: nobody knows."""
        self.number = 0
        """The number of the case under work, from 1."""
        self.done = 0
        self.case: Case | None = None
        self.doing = ""
        self._label = ""
        self._steps = 0
        self._fetched: tuple[str, int] | None = None
        """The repository that is being downloaded, and its bytes before that."""
        self._forecast = Forecast(None, 0, clock)
        self._took: list[float] = []
        self._left_later: float | None = None
        self._seconds_later: dict[str, float] = {}
        """The seconds of each later case, as they were last counted."""
        self._since_counted = 0
        self._cached = False
        self._lock = threading.RLock()

    def prepare(self, cases: Sequence[Case], outlook: Outlook) -> None:
        """These cases will run, in this order."""
        with self._lock:
            self._outlook, self._later, self.total = outlook, {case.id: case for case in cases}, len(cases)
            self._since_counted = len(cases)  # so they are counted with the first

    def case_started(self, case: Case) -> None:
        with self._lock:
            self.number += 1
            self.case, self._label, self.doing = case, "", ""
            self._later.pop(case.id, None)
            self._count_later(case.id)
            self._forecast = Forecast(self._outlook.expect(case), case.inference.steps, self._clock)
            self._forecast.planned(self._outlook.generations(case))

    def case_kept(self, result: CaseResult) -> None:
        self._end(result)

    def case_finished(self, result: CaseResult) -> None:
        with self._lock:
            if result.drawn_before is not None:
                self._cached = True
            elif result.output is not None:
                self._took.append(self._forecast.elapsed)
            self._end(result)

    def planned(self, plan: str, generations: float | None = None) -> None:  # noqa: ARG002
        with self._lock:
            self._forecast.planned(generations)

    def waiting(self, why: str) -> None:
        with self._lock:
            self.doing, self._fetched = why, None

    def trial_started(self, label: str, steps: int) -> None:
        with self._lock:
            self._label = "" if self.case is not None and label == self.case.id else label
            self._steps = steps
            self._forecast.generation(steps)
            self.doing = f"step 1 of {steps}"

    def phase(self, name: Phase, part: str) -> None:
        with self._lock:
            self._forecast.phase(name)
            self.doing = f"step 1 of {self._steps}" if name == "denoise" else in_words(name, part)
            self._fetched = (part, bytes_here(part)) if name == "download" else None

    def step_done(self, done: int, steps: int) -> None:
        with self._lock:
            self._forecast.step(done, steps)
            self.doing = f"step {done + 1} of {steps}" if done < steps else "decoding"

    @property
    def head(self) -> str:
        """The case under work, with its number: `[3/40] t2v-guitar`."""
        name = self.case.id if self.case is not None else ""
        return f"[{self.number}/{self.total}] {name}" if self.total else name

    @property
    def words(self) -> str:
        """What is done in the case: `only scheduler fixed: step 3 of 25`, `fetching owner/name, 3.1 GB so far`."""
        words, fetched = self.doing, self._fetched
        if fetched is not None and (size := bytes_here(fetched[0]) - fetched[1]) > 0:
            words += f", {sized(size)} so far"
        return f"{self._label}: {words}" if self._label else words

    @property
    def elapsed(self) -> float:
        """Seconds since the case began."""
        return self._forecast.elapsed

    def fraction(self) -> float | None:
        """The part of the case that is done, below 1; None: nobody knows how much there is to do."""
        with self._lock:
            return self._forecast.fraction()

    def left(self) -> float | None:
        """Seconds until the case is done; None: no speed is known yet."""
        with self._lock:
            return self._forecast.left()

    def line(self) -> str | None:
        """All of it: `[3/40] t2v-guitar: step 12 of 25, 1 min 40 s, about 6 min left`. None: no case is under work."""
        with self._lock:
            if self.case is None:
                return None
            left = self.left()
            ending = f", about {duration(left)} left" if left is not None and left >= 1 else ""
            return f"{self.head}: {self.words or 'starting'}, {duration(self.elapsed)}{ending}"

    def stopped(self) -> str:
        """How far the run came, once it was stopped: `stopped at t2v-guitar (step 12 of 25): 1 of 4 cases done, …`."""
        with self._lock:
            at = f" at {self.case.id} ({self.words or 'starting'})" if self.case is not None else ""
            left = self.total - self.done
            return f"stopped{at}: {self.done} of {plural(self.total, 'case')} done, {left} not generated"

    def run_line(self) -> str | None:
        """The whole run: `case 3 of 40, about 1 h 20 min left`. None if there is no other case."""
        with self._lock:
            if self.total < 2:
                return None
            left = self.run_left()
            about = "at most" if self._cached else "about"
            ending = f", {about} {duration(left)} left" if left is not None else ""
            return f"case {max(1, self.number)} of {self.total}{ending}"

    def run_left(self) -> float | None:
        """Seconds until the last case is done; None: nothing tells how long a later one takes."""
        with self._lock:
            left = self.left() if self.case is not None else 0.0
            if left is None and self._took:
                left = max(0.0, self._mean() - self.elapsed)
            return None if left is None or self._left_later is None else left + self._left_later

    def _mean(self) -> float:
        return sum(self._took) / len(self._took)

    def _count_later(self, begun: str) -> None:
        """Count the seconds of all cases after the one that has begun: all of them anew, or without this one."""
        gone = self._seconds_later.pop(begun, 0.0)
        self._since_counted += 1
        if self._since_counted * _COUNTED_ANEW < len(self._later):
            self._left_later = None if self._left_later is None else max(0.0, self._left_later - gone)
            return
        self._since_counted, self._seconds_later, self._left_later = 0, {}, None
        for case in self._later.values():
            seconds = self._seconds_of(case)
            if seconds is None:
                return
            self._seconds_later[case.id] = seconds
        self._left_later = sum(self._seconds_later.values())

    def _seconds_of(self, case: Case) -> float | None:
        """The expected seconds of a later case; None: nothing tells."""
        estimate, generations = self._outlook.expect(case), self._outlook.generations(case)
        if estimate is not None and generations is not None:
            steps = case.inference.steps
            return estimate.seconds(steps) + max(0.0, generations - 1) * estimate.seconds(steps, load=False)
        return self._mean() if self._took else None

    def _end(self, result: CaseResult) -> None:
        with self._lock:
            if "interrupted" not in (part.stopped for part in (result.diagnosis, result.search) if part is not None):
                self.done += 1
                self.case, self.doing, self._label, self._fetched = None, "", "", None
