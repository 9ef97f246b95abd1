"""What the cases of a run are expected to take, before they run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from parity.case.load import Case
from parity.cost.speeds import Estimate, expected, machine_of
from parity.run.runner import CaseRunner
from parity.run.work import jobs_of
from pipelines.limits import within_limits


@dataclass(frozen=True, slots=True)
class Outlook:
    """The outlook of a session's cases."""

    session: CaseRunner

    def expect(self, case: Case) -> Estimate | None:
        """The seconds of one generation of the case's request; None: unknown, or it is made elsewhere."""
        if case.made_elsewhere or self.session.options.task.blocks:
            return None
        machine = machine_of(self.session.environment)
        return expected(within_limits(case.inference), machine, self.session.offload)

    def generations(self, case: Case) -> float | None:
        """The most generations that the case takes; None: a search, which ends when it has found something.

        A diagnosis of those that drifted alone is not counted: nobody knows yet which do.
        """
        task = self.session.options.task
        if task.search:
            return None
        if case.target is not None:
            return float(task.repeat or 1)
        if case.output is not None and (task.diagnose is None or task.only_drifted):
            return 0.0
        jobs = jobs_of([case], dataclasses.replace(task, diagnose=None) if task.only_drifted else task)
        return jobs[0].generations if jobs else 0.0
