"""The process of `--isolate` itself: runs the cases that it is sent, one at a time, and keeps its engine loaded."""

from __future__ import annotations

import dataclasses
import faulthandler
import signal
import sys

from parity.case.load import Case
from parity.results.case import CaseResult
from parity.results.json_text import case_to_json
from parity.run import interrupt
from parity.run.options import Options
from parity.run.session import Session
from pipelines.apart import Parent
from pipelines.errors import ParityError
from pipelines.phases import Phase


class ChildSession(Session):
    """Keeps no results and holds no folder: the other process does."""

    others = "another one runs the remaining cases"

    def __init__(self, options: Options, parent: Parent) -> None:
        super().__init__(options)
        self._parent = parent
        self._keep_encodings()

    def run_for_parent(self, case: Case) -> None:
        """Run a case; each of its results is sent, the last one too."""
        self._result_of(case, _Telling(self._parent))

    def _store(self, result: CaseResult) -> CaseResult:
        result = self.record.judged(result)
        self._parent.send(kept=case_to_json(result).decode())
        return result


class _Telling:
    """Progress that tells the other process, which knows by itself when a case begins and ends."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent

    def case_started(self, case: Case) -> None: ...

    def case_kept(self, result: CaseResult) -> None: ...

    def case_finished(self, result: CaseResult) -> None: ...

    def planned(self, plan: str, generations: float | None = None) -> None:
        self._parent.send(planned=(plan, generations))

    def waiting(self, why: str) -> None:
        self._parent.send(waiting=why)

    def trial_started(self, label: str, steps: int) -> None:
        self._parent.send(trial=(label, steps))

    def phase(self, name: Phase, part: str) -> None:
        self._parent.send(phase=(name, part))

    def step_done(self, done: int, steps: int) -> None:
        self._parent.send(step=(done, steps))


def main() -> None:
    """Run as the process apart, until the other one ends it."""
    parent = Parent()
    faulthandler.enable()
    if sys.platform != "win32":
        _leave_no_core()
        interrupt.listen(signal.SIGUSR1)  # Ctrl-C, as the other process has it
    try:
        session = ChildSession(parent.receive(), parent)
    except ParityError as error:
        parent.fail(error)
        return
    parent.send(environment=dict(session.environment), machine=dataclasses.asdict(session.machine))
    while True:
        case = parent.receive()
        try:
            session.run_for_parent(case)
        except KeyboardInterrupt:
            parent.send(stopped=True)
            return
        parent.send(done=session.offload)


def _leave_no_core() -> None:
    """Write no core file, which would be as large as the weights: where the code was is printed all the same."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


if __name__ == "__main__":
    main()
