"""Results on disk: whole whenever the process ends, and one more of many costs what one more of few costs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from parity.results import journal
from parity.results.case import CaseResult, Run
from parity.results.json_text import case_to_json, from_json, in_pieces, to_json
from parity.results.merge import read_results
from parity.run import ledger as module
from parity.run.ledger import WRITTEN_WHOLE, Ledger
from pipelines.errors import MediaError, UsageError
from tests.ledger_kills import MOMENTS, Bookkeeping
from tests.support.report_cases import diagnosed_case, error_case, passed_case, run_of

HEAD = replace(run_of(), finished=None)


def case(number: int, verdict: str = "first") -> CaseResult:
    return replace(error_case(), id=f"case-{number}", verdict=verdict)


def begun(folder: Path) -> Ledger:
    kept = Ledger(folder / "results.json", HEAD)
    kept.begin()
    return kept


def ids(run: Run) -> list[str]:
    return [result.id for result in run.cases]


def by_id(run: Run) -> dict[str, CaseResult]:
    assert len(set(ids(run))) == len(run.cases)
    return {result.id: result for result in run.cases}


def test_few_cases_are_in_results_json_after_each(tmp_path: Path) -> None:
    kept = begun(tmp_path)
    for number in range(WRITTEN_WHOLE):
        kept.keep(case(number))
        if number % 33 == 0:
            assert from_json((tmp_path / "results.json").read_text()) == kept.run
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_many_cases_read_back_whole_after_each(tmp_path: Path) -> None:
    kept = begun(tmp_path)
    in_journal = 0
    for number in range(WRITTEN_WHOLE + 60):
        kept.keep(case(number, "first"))
        if number % 20 == 0:
            kept.keep(case(number, "second"))
        if number < WRITTEN_WHOLE - 2:
            continue
        assert by_id(read_results(kept.path)) == by_id(kept.run)
        in_journal = max(in_journal, len(ids(kept.run)) - len(from_json((tmp_path / "results.json").read_text()).cases))
    assert 10 < in_journal <= (WRITTEN_WHOLE + 60) // 4
    order = [f"case-{number}" for number in reversed(range(WRITTEN_WHOLE + 60))]
    finished = kept.close(order, "2026-11-20T10:05:00Z")
    assert ids(finished) == order
    assert from_json((tmp_path / "results.json").read_text()) == finished
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_the_work_of_one_more_case_does_not_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in cases that are turned into text, since time is no measure here."""
    counted = 0

    def in_pieces_counted(run: Run) -> object:
        nonlocal counted
        counted += len(run.cases)
        return in_pieces(run)

    monkeypatch.setattr(module, "in_pieces", in_pieces_counted)
    kept = begun(tmp_path)
    for number in range(1600):
        kept.keep(case(number))
        if number + 1 == WRITTEN_WHOLE:
            counted = 0
        assert counted <= 4.5 * (number + 1) or number < WRITTEN_WHOLE


def test_a_line_that_was_being_written_is_no_case(tmp_path: Path) -> None:
    kept = begun(tmp_path)
    for number in range(WRITTEN_WHOLE + 5):
        kept.keep(case(number))
    file = journal.journal_of(kept.path)
    whole = file.read_bytes()
    for cut in (1, 40, len(whole.splitlines()[-1])):
        file.write_bytes(whole[:-cut])
        assert ids(read_results(kept.path)) == ids(kept.run)[:-1]
    file.write_bytes(whole.replace(b'{"id":"case-102"', b'{"id":"case', 1))
    with pytest.raises(UsageError, match=r"results\.jsonl: is damaged; without it .* lacks its newest cases"):
        read_results(kept.path)


def test_a_journal_that_was_left_over_changes_nothing(tmp_path: Path) -> None:
    """The process was killed after results.json was written and before its journal was removed."""
    kept = begun(tmp_path)
    for number in range(WRITTEN_WHOLE + 5):
        kept.keep(case(number))
    kept.keep(case(102, "second"))
    left = journal.journal_of(kept.path).read_bytes()
    kept.update({"device": "cpu"})
    assert not journal.journal_of(kept.path).exists()
    journal.journal_of(kept.path).write_bytes(left)
    assert by_id(read_results(kept.path)) == by_id(kept.run)
    other = Ledger(kept.path, replace(HEAD, started="2026-11-21T10:00:00Z"))
    other.begin([case(0)])
    journal.journal_of(kept.path).write_bytes(left)
    assert ids(read_results(kept.path)) == ["case-0"]


def test_a_journal_that_cannot_be_written_is_reported_and_stays_readable(tmp_path: Path) -> None:
    kept = begun(tmp_path)
    for number in range(WRITTEN_WHOLE):
        kept.keep(case(number))
    journal.journal_of(kept.path).mkdir()
    with pytest.raises(MediaError, match=r"results\.jsonl: cannot be written.*--resume"):
        kept.keep(case(WRITTEN_WHOLE))
    journal.journal_of(kept.path).rmdir()
    assert len(ids(read_results(kept.path))) == WRITTEN_WHOLE


def test_a_text_is_the_same_in_pieces(tmp_path: Path) -> None:
    for run in (run_of(), run_of(passed_case(tmp_path), diagnosed_case(tmp_path), error_case()), HEAD):
        tricky = replace(run, command=("parity", '\n "cases": [],\n', "é\u2028"))
        assert b"".join(in_pieces(tricky)).decode() == to_json(tricky)
        assert from_json(to_json(tricky)) == from_json(to_json(tricky, indent=None)) == tricky


def test_a_damaged_text_is_refused_wherever_it_is_damaged(tmp_path: Path) -> None:
    text = to_json(run_of(passed_case(tmp_path), error_case()))
    damaged = [
        text.replace("\n  },\n  {", "\n  }\n  {", 1),
        text.replace("\n  },\n  {", "\n  },,\n  {", 1),
        text.replace("\n ],\n", ",\n ],\n").replace("\n  }\n ]", "\n  },\n ]", 1),
    ]
    for each in damaged:
        assert each != text
        with pytest.raises(ValueError, match="damaged"):
            from_json(each)


def test_nan_is_never_written_and_the_word_is(tmp_path: Path) -> None:
    broken = replace(passed_case(tmp_path), timings={"total": float("nan")})
    for write in (lambda: case_to_json(broken), lambda: to_json(run_of(broken))):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write()
    named = run_of(replace(error_case(), verdict="the latents contain NaN or Infinity"))
    assert from_json(to_json(named)) == named


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.parity.run.test_ledger import begun, case
kept = begun(Path(sys.argv[1]))
for number in range(100_000):
    kept.keep(case(number))
    print(number, flush=True)
"""


@pytest.mark.process
def test_a_killed_process_loses_no_finished_case(tmp_path: Path) -> None:
    for moment in (90, 104, 131, 230):
        folder = tmp_path / str(moment)
        folder.mkdir()
        with subprocess.Popen([sys.executable, "-c", KILLED, folder], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            finished = 0
            for line in process.stdout:
                finished = int(line)
                if finished == moment:
                    os.kill(process.pid, signal.SIGKILL)
        found = ids(read_results(folder / "results.json"))
        assert found[: finished + 1] == [f"case-{number}" for number in range(finished + 1)]
        assert len(found) <= finished + 2


def test_a_name_that_is_no_utf_8_is_kept_in_letters() -> None:
    run = run_of(replace(error_case(), case_file="a\udcff.yaml"))
    for text in (to_json(run), b"".join(in_pieces(run)).decode()):
        assert from_json(text).cases[0].case_file == r"a\udcff.yaml"


@pytest.mark.parametrize("moment", MOMENTS[:-1])
def test_a_kill_while_results_are_written_loses_no_finished_case(tmp_path: Path, moment: str) -> None:
    book = Bookkeeping(tmp_path, 200)
    assert book.kill(moment, more=WRITTEN_WHOLE + 5) == []
    assert book.done > WRITTEN_WHOLE
    assert book.kill(moment, more=3) == []
    assert book.finish().cases == tuple(book.cases)
