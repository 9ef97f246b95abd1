"""`--isolate`: cases run in a process apart. One that kills it is an error, and another process runs the others."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import sys
from typing import Self

from parity.case.load import Case
from parity.case.progress import Progress
from parity.comparison.outcome import cut_short, ended_itself
from parity.cost.machine import Machine
from parity.results.case import CaseResult
from parity.run.isolated_process import Errand, IsolatedProcess
from parity.run.options import Options
from parity.run.runner import CaseRunner
from pipelines.errors import ParityError, ProcessEndedError
from pipelines.files.content import write_atomically
from pipelines.offload import Offload


class IsolatedSession(CaseRunner):
    """Runs cases as `Session` does, in a process that holds the engine and keeps its weights from case to case.

    This process never uses the device. To be made in a thread that lives as long, for Linux ends the other one with it.
    """

    def __init__(self, options: Options) -> None:
        """Start the process. Raises what `Session` raises there, and ProcessEndedError if it dies at once."""
        self._process: IsolatedProcess | None = IsolatedProcess(options)
        self._offload, self._machine = options.offload, self._process.machine
        super().__init__(options, self._process.environment)

    def __enter__(self) -> Self:
        try:
            return super().__enter__()
        except BaseException:
            self._end_process()
            raise

    def __exit__(self, *_: object) -> None:
        self._end_process()
        super().__exit__()

    @property
    def offload(self) -> Offload:
        return self._offload

    @property
    def machine(self) -> Machine:
        return self._machine

    def _result_of(self, case: Case, progress: Progress) -> CaseResult:
        first = self._try(case, progress)
        if isinstance(first, CaseResult):
            return first
        if not first.may_be_chance:
            return self._died(case, first)
        sys.stderr.write(f"parity: {case.id}: the process that ran it {first}; it is run once more\n")
        try:
            second = self._try(case, progress)
        except ParityError:  # no other process can be started
            self._died(case, first)
            raise
        if isinstance(second, _Death):
            second = dataclasses.replace(second, kept=second.kept or first.kept)
            return self._died(case, second, f"the first one, in which it was tried before, {first}")
        note = f"the process that ran it first {first}; this is the result of a second one"
        return self.record.keep(dataclasses.replace(second, notes=(*second.notes, note)))

    def _try(self, case: Case, progress: Progress) -> CaseResult | _Death:
        """Let the process run a case. Returns its result as it was kept, or how the process died."""
        process = self._process = self._process or IsolatedProcess(self.options)
        errand = Errand(case, self.record.keep, progress)
        try:
            process.run(errand)
        except ProcessEndedError as error:
            self._end_process()
            self.out.clear()
            if errand.result is not None and ended_itself(errand.result):  # for a --timeout
                return errand.result
            return _Death(
                how=error.how, at=errand.words, peak=process.peak, printed=process.printed, kept=errand.result
            )
        except BaseException:
            self._end_process()
            raise
        assert errand.result is not None
        self._offload = errand.offload or self._offload
        return errand.result

    def _died(self, case: Case, death: _Death, before: str | None = None) -> CaseResult:
        """Keep what is known of a case whose process died: its comparison, if it had come so far, or an error."""
        reasons = [f"the process that ran it {death}", *([before] if before is not None else [])]
        if death.printed:
            file = self.out.traceback_of(case.id)
            with contextlib.suppress(OSError):
                write_atomically(file, death.printed.encode())
                reasons.append(f"what it printed last is in {file}")
        reasons.append("the remaining cases run in another process")
        reasons.append(f"to run it alone: {_command(case, self.options)}")
        return self.record.keep(cut_short(case, death.kept, "; ".join(reasons), self.options.task.diagnose))

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Death:
    """How a process died that ran a case."""

    how: str
    at: str
    """What it was doing."""
    peak: int | None
    """The most memory that it had, in bytes; None: unknown."""
    printed: str
    """What it printed last, with the stack of its Python code if that crashed."""
    kept: CaseResult | None
    """What was kept of the case."""

    @property
    def may_be_chance(self) -> bool:
        """True if the case may well succeed in a new process.

        SIGKILL comes from outside: from the system, say, when other programs and earlier cases have taken the memory.
        What crashes or aborts by itself would do so again, and a second try costs a whole generation.
        """
        return "SIGKILL" in self.how

    def __str__(self) -> str:
        peak = f"; it had used up to {self.peak / (1 << 30):.1f} GiB" if self.peak is not None else ""
        return f"{self.how} (it was at: {self.at}{peak})"


def _command(case: Case, options: Options) -> str:
    """The command that runs a case alone, on the same device."""
    given = {"--device": (options.device, "auto"), "--offload": (options.offload, "none")}
    more = (word for name, (value, default) in given.items() if value != default for word in (name, value))
    return shlex.join(("parity", "run", str(case.path), "--isolate", *more))
