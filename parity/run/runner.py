"""What all that run the cases of one machine have in common, wherever the generation itself happens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from parity.case.load import Case
from parity.case.progress import Progress
from parity.cost.machine import Machine
from parity.results.case import CaseResult, Run
from parity.run.options import Options
from parity.run.outdir import OutDir
from parity.run.record import Record
from pipelines.files.shown import shown
from pipelines.offload import Offload


class CaseRunner(ABC):
    """Runs cases into one folder. Use it as a context manager, so that weights are released at the end."""

    def __init__(self, options: Options, environment: Mapping[str, Any]) -> None:
        """`environment`: that of the process that generates, as results.json has it."""
        self.options = options
        self.record = Record(options, environment)

    def __enter__(self) -> Self:
        """Lock the folder. Raises UsageError if another run has it, or if there is nothing to resume."""
        self.record.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.record.close()

    @property
    def out(self) -> OutDir:
        return self.record.out

    @property
    def results_path(self) -> Path:
        return self.out.results

    @property
    def run(self) -> Run:
        """The run as it is now."""
        return self.record.run

    @property
    def environment(self) -> Mapping[str, Any]:
        """The environment of the run, as results.json has it."""
        return self.record.environment

    @property
    def warning(self) -> str | None:
        """The case that the run which is continued did not survive, and what to do; None: there is none."""
        case = self.record.killed_in if self.options.resume else None
        if case is None:
            return None
        then = "" if self.options.isolate else "; if that comes again, add --isolate: it is an error of that case then"
        return f"the run before was killed or crashed while it ran {shown(case, 200)}{then}"

    @property
    @abstractmethod
    def offload(self) -> Offload:
        """The offload mode of the next case."""

    @property
    @abstractmethod
    def machine(self) -> Machine:
        """The machine as the next case uses it."""

    def run_case(self, case: Case, progress: Progress) -> CaseResult:
        """Run one case and add it to results.json. A case that cannot be run is a result too, not an exception.

        That holds for any exception, a bug's or a library's: its traceback goes to `errors/` in the folder. A
        KeyboardInterrupt during a diagnosis is raised again once the results so far are written.
        """
        progress.case_started(case)
        known = self.record.begin(case)
        if known is not None:
            progress.case_kept(known)
            return known
        try:
            result = self._result_of(case, progress)
        finally:
            self.record.end()
        progress.case_finished(result)
        if was_interrupted(result):
            raise KeyboardInterrupt
        return result

    @abstractmethod
    def _result_of(self, case: Case, progress: Progress) -> CaseResult:
        """Run a case. Returns its result as it was kept, whatever became of the case."""

    def finish(self, order: Sequence[str]) -> Run:
        """Put the cases in `order` (ids), and close the run if all of them were run."""
        return self.record.finish(order)


def was_interrupted(result: CaseResult) -> bool:
    """Return whether Ctrl-C ended the case's diagnosis or search, which has results so far."""
    return "interrupted" in (result.diagnosis and result.diagnosis.stopped, result.search and result.search.stopped)


def started(options: Options) -> CaseRunner:
    """What runs the cases: with `--isolate` a process apart, unless this one is the worker of another already.

    Raises UsageError and DeviceError for a device that cannot be used.
    """
    if options.isolate and options.share is None:
        from parity.run.isolated import IsolatedSession

        return IsolatedSession(options)
    from parity.run.session import Session

    return Session(options)
