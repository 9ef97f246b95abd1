"""The listeners that a run reports its progress to."""

from __future__ import annotations

from typing import Protocol

from parity.case.load import Case
from parity.results.case import CaseResult


class TrialProgress(Protocol):
    """A listener for experiments as they run."""

    def trial_started(self, label: str, steps: int) -> None: ...

    def step_done(self, done: int, steps: int) -> None: ...


class Progress(TrialProgress, Protocol):
    """A listener for cases and denoising steps as they run."""

    def case_started(self, case: Case) -> None: ...

    def case_kept(self, result: CaseResult) -> None: ...

    def planned(self, plan: str) -> None: ...

    def waiting(self, why: str) -> None:
        """A server keeps the case waiting, for instance because it is `queued`. Called repeatedly while that lasts."""

    def case_finished(self, result: CaseResult) -> None: ...


class Quiet:
    """A listener that shows nothing."""

    def case_started(self, case: Case) -> None: ...

    def case_kept(self, result: CaseResult) -> None: ...

    def planned(self, plan: str) -> None: ...

    def waiting(self, why: str) -> None: ...

    def trial_started(self, label: str, steps: int) -> None: ...

    def step_done(self, done: int, steps: int) -> None: ...

    def case_finished(self, result: CaseResult) -> None: ...
