"""The record of a run: the results of its cases in its folder, judged, continued with --resume, whole at any time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from parity.case.load import Case
from parity.results.case import CaseResult, Run, now
from parity.run.ledger import Ledger
from parity.run.options import Options
from parity.run.outdir import OutDir
from parity.run.resume import still_holds
from pipelines.errors import UsageError


class Record:
    """Keeps the results of one run. Loads no model: the cases may run in this process or in another one."""

    def __init__(self, options: Options, environment: Mapping[str, Any]) -> None:
        """`environment`: that of the process that generates, as results.json has it."""
        self._options = options
        self.out = OutDir(options.out, options.share)
        head = Run(
            started=now(),
            finished=None,
            command=options.command,
            environment=environment,
            cases=(),
            narrowed=options.narrowed,
            baselines=options.baselines,
            shard=options.part,
        )
        self._ledger = Ledger(self.out.results, head, only_journal=options.share is not None)
        self._previous: dict[str, CaseResult] = {}
        self._done: set[str] = set()
        self.killed_in: str | None = None
        """The case that the process of the run that is continued was at when it was killed or died; None: it was not,
        or nobody knows."""

    @property
    def run(self) -> Run:
        """The run as it is now."""
        return self._ledger.run

    @property
    def environment(self) -> Mapping[str, Any]:
        """The environment of the run, as results.json has it."""
        return self._ledger.head.environment

    def open(self) -> None:
        """Lock the folder. Raises UsageError if another run has it, or if there is nothing to resume."""
        self.out.acquire()
        self.killed_in = self.out.under_way
        if not self._options.resume:
            self._ledger.begin()
            return
        previous = self._read_previous()
        self._previous = {result.id: self.judged(result) for result in previous.cases}
        self._ledger.begin(self._previous.values() if self._options.share is None else (), previous.started)

    def close(self) -> None:
        """Unlock the folder."""
        self.out.release()

    def begin(self, case: Case) -> CaseResult | None:
        """Begin a case. Returns its result in the resumed run, if that holds: there is nothing to do then."""
        self._done.add(case.id)
        known = self._previous.get(case.id)
        if known is not None and still_holds(known, case, self._options.task):
            if self._options.share is not None:
                self.keep(known)
            return known
        self.out.mark(case.id)
        return None

    def end(self) -> None:
        """The case that began last is done, or given up by this process itself."""
        self.out.mark(None)

    def keep(self, result: CaseResult) -> CaseResult:
        """Add a case to results.json, or replace its earlier result. Returns it as it was kept: judged."""
        result = self.judged(result)
        self._ledger.keep(result)
        return result

    def judged(self, result: CaseResult) -> CaseResult:
        """The result as this run judges it: by its baselines if there are any, else by the case's own rules."""
        gate = self._options.gate
        return result.by_own_rules() if gate is None else gate(result, self.environment, self.out.path)

    def finish(self, order: Sequence[str]) -> Run:
        """Put the cases in `order` (ids), and close the run if all of them were run."""
        return self._ledger.close(order, now() if self._done.issuperset(order) else None)

    def _read_previous(self) -> Run:
        """The run to continue. Raises UsageError if there is none, or if it is another one; the folder is free then."""
        try:
            previous = self.out.read_previous(self.environment)
            self.out.refuse_another_part(previous, self._options.part)
        except UsageError:
            self.out.release()
            raise
        return previous
