"""A run of thousands of cases, killed while it writes their results: none that was finished may be lost or torn.

    python -m tests.ledger_kills --times 20 --cases 3000

No video is generated: processes keep handmade results as a run does, one after the other in one folder. Each is killed
(SIGKILL) at a chosen moment or at a random one; then the results are read back, and the next process goes on with them.
Says what was checked, and what failed; exit code 1 then.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from parity.results import journal
from parity.results.case import CaseResult, Run
from parity.results.json_text import case_to_json, in_pieces
from parity.results.merge import read_results
from parity.run import ledger as module
from parity.run.ledger import Ledger
from tests.support.report_cases import error_case, run_of

MOMENTS = (
    "half a line",
    "half of results.json",
    "before it is moved",
    "before the journal is removed",
    "after that",
    "any",
)
HEAD = replace(run_of(), finished=None)


class Bookkeeping:
    """The results of one run in a folder, which processes keep that are killed."""

    def __init__(self, folder: Path, cases: int) -> None:
        self.results = folder / "results.json"
        self.cases = [replace(error_case(), id=f"case-{number}", error=f"{number} " * 200) for number in range(cases)]
        self.done = 0
        """How many cases a process has said it has kept."""

    def kill(self, moment: str, more: int, delay: float = 0) -> list[str]:
        """Keep at least `more` cases in a process that is killed at the next such moment. Returns what is wrong then.

        `delay`: seconds after which any moment is.
        """
        reads, writes = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                self._keep(moment, more, writes)
            finally:
                os._exit(3)  # it should be dead
        os.close(writes)
        if moment == "any":
            time.sleep(delay)
            os.kill(child, signal.SIGKILL)
        with os.fdopen(reads, "rb") as said:
            kept = self.done + len(said.read())  # a byte for each case
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            return [f"it ended by itself: exit code {os.waitstatus_to_exitcode(status)}"]
        self.done = kept
        return self._wrong()

    def finish(self) -> Run:
        """Keep the other cases, here, and close the run."""
        ledger = self._continued()
        for case in self.cases[self.done :]:
            ledger.keep(case)
        ledger.close([case.id for case in self.cases], "2026-11-20T10:01:00Z")
        return read_results(self.results)

    def _keep(self, moment: str, more: int, writes: int) -> None:
        ledger = self._continued()
        for number, case in enumerate(self.cases[self.done :]):
            if number == more and moment != "any":
                _arm(moment)
            ledger.keep(case)
            os.write(writes, b".")

    def _continued(self) -> Ledger:
        ledger = Ledger(self.results, HEAD)
        ledger.begin(read_results(self.results).cases if self.results.exists() else (), HEAD.started)
        return ledger

    def _wrong(self) -> list[str]:
        """What is not on disk as it should be."""
        if not self.results.exists():
            return [f"{self.done} cases are lost"] if self.done else []
        try:
            found = {case.id: case for case in read_results(self.results).cases}
        except Exception as error:
            return [f"cannot be read: {error}"]
        lost = [case.id for case in self.cases[: self.done] if case.id not in found]
        torn = [case.id for case in self.cases if found.get(case.id, case) != case]
        wrong = [f"{len(ids)} {what}, {ids[0]} first" for what, ids in (("lost", lost), ("torn", torn)) if ids]
        self.done = max(self.done, len(found))  # the last one may be kept without having been said
        return wrong


def _arm(moment: str) -> None:
    """From now on this process kills itself at the first such moment."""

    def die(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def half_a_line(results: Path, _: str, case: CaseResult) -> None:
        with journal.journal_of(results).open("ab") as file:
            line = case_to_json(case)
            file.write(line[: len(line) // 2])
        die()

    def half_of_it(run: Run) -> Iterator[bytes]:
        for number, piece in enumerate(in_pieces(run)):
            if 2 * number > len(run.cases):
                die()
            yield piece

    unlink = Path.unlink

    def unlink_and_die(path: Path, *arguments: Any, **options: Any) -> None:
        unlink(path, *arguments, **options)
        if path.suffix == ".jsonl":
            die()

    def die_or_unlink(path: Path, *arguments: Any, **options: Any) -> None:
        if path.suffix == ".jsonl":
            die()
        unlink(path, *arguments, **options)

    patches: dict[str, tuple[Any, str, Any]] = {
        "half a line": (journal, "append", half_a_line),
        "half of results.json": (module, "in_pieces", half_of_it),
        "before it is moved": (Path, "replace", die),
        "before the journal is removed": (Path, "unlink", die_or_unlink),
        "after that": (Path, "unlink", unlink_and_die),
    }
    setattr(*patches[moment])


def main() -> int:
    """Print what happened; 1 if anything was lost or torn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--cases", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    failed = whole = runs = 0
    with tempfile.TemporaryDirectory() as temporary:
        book = Bookkeeping(Path(temporary), options.cases)
        for number in range(options.times):
            moment = MOMENTS[number % len(MOMENTS)]
            more = chance.randrange(1, max(2, options.cases // options.times))
            wrong = book.kill(moment, more, delay=chance.uniform(0, 0.5))
            failed += bool(wrong)
            print(f"{number + 1:3} {moment}, {book.done} finished: {'; '.join(wrong) or 'ok'}", flush=True)
            if book.done >= 0.7 * options.cases or number + 1 == options.times:
                runs += 1
                whole += book.finish().cases == tuple(book.cases)
                folder = Path(temporary) / str(number)
                folder.mkdir()
                book = Bookkeeping(folder, options.cases)
    print(
        f"{options.times} kills, {failed} with losses; {whole} of {runs} runs of {options.cases} cases whole at the end"
    )
    return 1 if failed or whole < runs else 0


if __name__ == "__main__":
    sys.exit(main())
