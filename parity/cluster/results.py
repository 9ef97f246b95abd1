"""The results of a run on several machines, in one folder of the driver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from parity.case.load import Case
from parity.cluster.messages import Kept, Worker
from parity.cluster.parcel import place
from parity.results.case import CaseResult, Run
from parity.run.options import Options
from parity.run.outdir import require_same
from parity.run.resume import still_holds
from parity.run.workers import Shares
from pipelines.engine import fingerprint
from pipelines.errors import UsageError


class Results:
    """As of one machine: judged, in the order of the cases, whole on disk after each."""

    def __init__(self, options: Options, cases: Sequence[Case]) -> None:
        self._options, self._order = options, [case.id for case in cases]
        self._shares = Shares(
            options.out,
            uuid4().hex[:12],
            options.command,
            resume=options.resume,
            baselines=options.baselines,
            narrowed=options.narrowed,
            part=options.part,
        )
        self._previous: Run | None = None
        self._earlier: dict[str, CaseResult] = {}
        self._begun = False

    @property
    def run(self) -> Run:
        """The run so far."""
        return self._shares.run

    def begin(self) -> None:
        """Lock the folder, if that was not done. Raises UsageError as `Session` does."""
        if not self._begun:
            self._previous = self._shares.begin(self._order)
            self._earlier = {result.id: result for result in self._previous.cases} if self._previous is not None else {}
            self._begun = True

    def known(self, case: Case) -> CaseResult | None:
        """The case's result in the resumed run, if it is finished and nothing it was made from has changed."""
        if self._previous is None:
            return None
        known = self._earlier.get(case.id)
        if known is None or not still_holds(known, case, self._options.task):
            return None
        return self._kept(self._judged(known, self._previous.environment), done=True)

    def joined(self, worker: Worker) -> None:
        """A worker is ready; with the first one the results begin.

        Raises UsageError if its results would not fit to this machine's, or to those before.
        """
        if worker.code != fingerprint.code():
            raise UsageError(
                f"{worker} has other code of wan-parity, diffusers, transformers, peft or accelerate than this "
                "machine, although the versions are the same: install the same on both"
            )
        self.begin()
        if self._previous is not None:
            require_same(self._previous, worker.environment, self._options.out / "results.json")
        self._shares.join(f"worker {worker.number}", worker.environment)

    def place(self, kept: Kept, *, first: bool) -> None:
        """Write a result's files into the folder; the `first` ones replace what an earlier run left there."""
        out = self._options.out
        place(kept.files, out, instead_of=out / "artifacts" / kept.case if first else None)

    def keep(self, result: CaseResult, worker: Worker | None, *, done: bool = True) -> CaseResult:
        """Keep a result whose files are in place. Returns it judged. `done` False: its case goes on."""
        return self._kept(self._judged(result, worker.environment if worker is not None else {}), done=done)

    def close(self) -> None:
        """Put all in order, and unlock the folder. The run is finished if no case is missing."""
        if self._begun:
            self._shares.close()

    def _judged(self, result: CaseResult, environment: Mapping[str, Any]) -> CaseResult:
        """The result as this run judges it: by its baselines if there are any, else by the case's own rules."""
        gate = self._options.gate
        return result.by_own_rules() if gate is None else gate(result, environment, self._options.out)

    def _kept(self, result: CaseResult, *, done: bool) -> CaseResult:
        self._shares.keep(result, done=done)
        return result
