"""Progress of a run on several workers: what each does in one line, and a line for every case begun or finished."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from parity.case.load import Case
from parity.results.case import CaseResult
from parity.results.words import duration
from parity.terminal.progress import Shown
from parity.terminal.tracker import Unknown
from pipelines.files.words import plural

_PATIENCE_S = 30.0
"""Seconds without any worker, after which it is said that there is none."""


class ShownWorkers:
    """Shows such a run on the command line's progress. A worker is given as anything that reads as its name."""

    def __init__(self, shown: Shown, cases: Sequence[Case], clock: Callable[[], float] = time.monotonic) -> None:
        self._shown, self._clock = shown, clock
        self._doing: dict[str, str] = {}
        """What each worker does in which case, by its name."""
        self._since: float | None = None
        self._generated = 0
        self._is_waiting = False
        shown.prepare(cases, Unknown())

    def between(self, words: str) -> None:
        self._shown.between(words)

    def spread(self, share: str) -> None:
        self._shown.say(share)

    def joined(self, worker: object) -> None:
        self._since = self._since or self._clock()
        self._shown.say(f"{worker} is ready")

    def waiting_for_workers(self, seconds: float) -> None:
        if seconds >= _PATIENCE_S and not self._is_waiting:
            self._is_waiting = True
            self._shown.say("no worker is ready yet: they start, or wait for room in the cluster")

    def lost(self, worker: str, why: str) -> None:
        self._doing.pop(worker, None)
        self._shown.say(f"{worker} {why}")
        self._tell()

    def case_started(self, worker: object, case: Case) -> None:
        self._shown.say(f"{worker}: {case.id}", live=False)
        self.doing(worker, case, "starting")

    def doing(self, worker: object, case: Case, words: str) -> None:
        self._doing[str(worker)] = f"{case.id}: {words}"
        self._tell()

    def planned(self, worker: object, case: Case, plan: str, generations: float | None) -> None:  # noqa: ARG002
        self._shown.say(f"{worker}: {case.id}: plan: {plan}")

    def case_kept(self, result: CaseResult) -> None:
        self._shown.case_kept(result)

    def case_finished(self, worker: object, result: CaseResult) -> None:
        self._doing.pop(str(worker), None)
        self._generated += 1
        self._shown.case_finished(result)
        self._tell()

    def stopping(self, workers: int) -> None:
        if workers:
            self._shown.say(
                f"stopping, once {plural(workers, 'worker')} handed in results so far; Ctrl-C again: at once"
            )

    def _tell(self) -> None:
        shown, left = self._shown, ""
        if self._since is not None and self._generated >= max(1, len(self._doing)):
            each = (self._clock() - self._since) / self._generated
            left = f", about {duration(each * (shown.total - shown.done))} left"
        doing = "; ".join(f"{worker}: {words}" for worker, words in sorted(self._doing.items()))
        shown.status(f"{shown.done} of {plural(shown.total, 'case')} done{left}; {doing or 'waiting'}")
