"""Who hears of a run as it goes."""

from __future__ import annotations

from typing import Protocol

from parity.case.load import Case
from parity.results.case import CaseResult


class TrialProgress(Protocol):
    """Hears of experiments as they go."""

    def trial_started(self, label: str, steps: int) -> None: ...

    def step_done(self, done: int, steps: int) -> None: ...


class Progress(TrialProgress, Protocol):
    """Hears of cases and denoising steps as they go."""

    def case_started(self, case: Case) -> None: ...

    def case_kept(self, result: CaseResult) -> None: ...

    def planned(self, plan: str) -> None: ...

    def waiting(self, why: str) -> None:
        """For a server: `queued`, say. Called again and again while it lasts."""

    def case_finished(self, result: CaseResult) -> None: ...


class Quiet:
    """Progress that leaves the terminal to others."""

    def case_started(self, case: Case) -> None: ...

    def case_kept(self, result: CaseResult) -> None: ...

    def planned(self, plan: str) -> None: ...

    def waiting(self, why: str) -> None: ...

    def trial_started(self, label: str, steps: int) -> None: ...

    def step_done(self, done: int, steps: int) -> None: ...

    def case_finished(self, result: CaseResult) -> None: ...
