"""Progress that feeds a watchdog and a stopwatch."""

from __future__ import annotations

import threading

from parity.case.load import Case
from parity.case.progress import Progress
from parity.results.case import CaseResult
from parity.run import interrupt
from parity.run.stopwatch import Stopwatch
from parity.run.watchdog import Watchdog
from pipelines.phases import Phase, in_words


class Watched:
    """Progress that also tells a watchdog what has begun, measures it, and stops if the user asked to."""

    def __init__(self, progress: Progress, watchdog: Watchdog, stopwatch: Stopwatch) -> None:
        self._progress = progress
        self._watchdog = watchdog
        self._stopwatch = stopwatch
        self._steps = 0

    def case_started(self, case: Case) -> None:
        self._progress.case_started(case)

    def case_kept(self, result: CaseResult) -> None:
        self._progress.case_kept(result)

    def planned(self, plan: str, generations: float | None = None) -> None:
        self._progress.planned(plan, generations)

    def waiting(self, why: str) -> None:
        interrupt.check()
        self._stopwatch.phase(None)
        self._watchdog.beat(f"waiting ({why})")
        self._progress.waiting(why)

    def trial_started(self, label: str, steps: int) -> None:
        interrupt.check()
        self._steps = steps
        self._stopwatch.generation()
        self._watchdog.beat(f"the first of {steps} steps")
        self._progress.trial_started(label, steps)

    def phase(self, name: Phase, part: str) -> None:
        if threading.current_thread() is threading.main_thread():  # not in a download's threads: they pass it on late
            interrupt.check()
        self._stopwatch.phase(name)
        self._watchdog.beat(f"step 1 of {self._steps}" if name == "denoise" else in_words(name, part))
        self._progress.phase(name, part)

    def step_done(self, done: int, steps: int) -> None:
        interrupt.check()
        self._stopwatch.step(done)
        self._watchdog.beat("decoding" if done == steps else f"step {done + 1} of {steps}")
        self._progress.step_done(done, steps)

    def case_finished(self, result: CaseResult) -> None:
        self._progress.case_finished(result)
