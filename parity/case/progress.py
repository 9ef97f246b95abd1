"""The listeners that a run reports its progress to."""

from __future__ import annotations

from typing import Protocol

from parity.case.load import Case
from parity.results.case import CaseResult
from pipelines.phases import Phase


class TrialProgress(Protocol):
    """A listener for experiments as they run."""

    def trial_started(self, label: str, steps: int) -> None: ...

    def phase(self, name: Phase, part: str) -> None:
        """A phase began, with the part that it works on; an empty part: the only one there is.

        Called from the threads of a download, too.
        """

    def step_done(self, done: int, steps: int) -> None: ...


class Progress(TrialProgress, Protocol):
    """A listener for cases and denoising steps as they run."""

    def case_started(self, case: Case) -> None: ...

    def case_kept(self, result: CaseResult) -> None: ...

    def planned(self, plan: str, generations: float | None = None) -> None:
        """What a diagnosis or search is going to do, and the most generations that it takes if that is known."""

    def waiting(self, why: str) -> None:
        """A server keeps the case waiting, for instance because it is `queued`. Called repeatedly while that lasts."""

    def case_finished(self, result: CaseResult) -> None: ...


class Quiet:
    """A listener that shows nothing."""

    def case_started(self, case: Case) -> None: ...

    def case_kept(self, result: CaseResult) -> None: ...

    def planned(self, plan: str, generations: float | None = None) -> None: ...

    def waiting(self, why: str) -> None: ...

    def trial_started(self, label: str, steps: int) -> None: ...

    def phase(self, name: Phase, part: str) -> None: ...

    def step_done(self, done: int, steps: int) -> None: ...

    def case_finished(self, result: CaseResult) -> None: ...
