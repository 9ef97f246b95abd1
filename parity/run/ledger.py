"""The results of a run as they come in, whole on disk at any time: results.json, and a journal if there are many."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from parity.results import journal
from parity.results.case import CaseResult, Run, in_order
from parity.results.json_text import in_pieces
from pipelines.errors import MediaError
from pipelines.files.content import write_atomically
from pipelines.files.words import cannot_write

WRITTEN_WHOLE = 100
"""Up to so many cases results.json alone holds all of them after each. Beyond, a quarter may be in the journal, so that
one more case costs the same however many there are."""


class Ledger:
    """Keeps the cases of one run. `parity.results.merge.read_results` reads them back, whenever the process ended."""

    def __init__(self, path: Path, head: Run, *, only_journal: bool = False) -> None:
        """`path` is that of results.json. `head` is the run, without its cases.

        `only_journal`: the cases stay in the journal, where the process that started this worker reads each once.
        """
        self.path = path
        self.head = dataclasses.replace(head, cases=())
        self._only_journal = only_journal
        self._cases: dict[str, CaseResult] = {}
        self._journaled = 0

    @property
    def run(self) -> Run:
        """The run with the cases so far."""
        return dataclasses.replace(self.head, cases=tuple(self._cases.values()))

    def case(self, case_id: str) -> CaseResult | None:
        """The result that is kept of a case."""
        return self._cases.get(case_id)

    def begin(self, cases: Iterable[CaseResult] = (), started: str | None = None) -> None:
        """Write results.json with the cases of the run that is continued, and when that `started`.

        Raises MediaError, as all that writes here does.
        """
        self._cases = {case.id: case for case in cases}
        self.head = dataclasses.replace(self.head, started=started or self.head.started)
        self._write()

    def keep(self, result: CaseResult) -> None:
        """Add a case, or replace its earlier result."""
        self._cases.pop(result.id, None)
        self._cases[result.id] = result
        if self._journaled or self._only_journal or len(self._cases) > WRITTEN_WHOLE:
            self._append(result)  # also before all is written: a journal that is left over must not be older
            if self._only_journal or 4 * self._journaled <= len(self._cases):
                return
        self._write()

    def update(self, environment: Mapping[str, Any]) -> None:
        """Change the environment of the run, if it is another one."""
        if self.head.environment != environment:
            self.head = dataclasses.replace(self.head, environment=environment)
            self._write()

    def close(self, order: Sequence[str], finished: str | None) -> Run:
        """Put the cases in `order` (ids), and write all to results.json; `finished` None: cases are missing."""
        self._cases = {case.id: case for case in in_order(tuple(self._cases.values()), order)}
        self.head = dataclasses.replace(self.head, finished=finished)
        self._write()
        return self.run

    def _append(self, result: CaseResult) -> None:
        try:
            journal.append(self.path, self.head.started, result)
        except OSError as error:
            raise _unwritable(journal.journal_of(self.path), error) from None
        self._journaled += 1

    def _write(self) -> None:
        try:
            write_atomically(self.path, in_pieces(self.run))
            journal.journal_of(self.path).unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(self.path, error) from None
        self._journaled = 0


def _unwritable(path: Path, error: OSError) -> MediaError:
    return MediaError(
        f"{cannot_write(path, error)}; the results before this case are kept: make room and continue with --resume"
    )
