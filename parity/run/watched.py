"""Progress that feeds a watchdog."""

from __future__ import annotations

from parity.case.load import Case
from parity.case.progress import Progress
from parity.results.case import CaseResult
from parity.run import interrupt
from parity.run.watchdog import Watchdog


class Watched:
    """Progress that also tells a watchdog what has begun, and stops if the user asked to."""

    def __init__(self, progress: Progress, watchdog: Watchdog) -> None:
        self._progress = progress
        self._watchdog = watchdog

    def case_started(self, case: Case) -> None:
        self._progress.case_started(case)

    def case_kept(self, result: CaseResult) -> None:
        self._progress.case_kept(result)

    def planned(self, plan: str) -> None:
        self._progress.planned(plan)

    def waiting(self, why: str) -> None:
        interrupt.check()
        self._watchdog.beat(f"waiting ({why})")
        self._progress.waiting(why)

    def trial_started(self, label: str, steps: int) -> None:
        interrupt.check()
        self._watchdog.beat(f"the first of {steps} steps")
        self._progress.trial_started(label, steps)

    def step_done(self, done: int, steps: int) -> None:
        interrupt.check()
        self._watchdog.beat("decoding" if done == steps else f"step {done + 1} of {steps}")
        self._progress.step_done(done, steps)

    def case_finished(self, result: CaseResult) -> None:
        self._progress.case_finished(result)
