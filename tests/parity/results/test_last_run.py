"""The last run: the last full one, and a later one that was passed over is named."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from parity.cli.main import main, whole_parser
from parity.cli.selection import narrowing
from parity.results.case import CaseResult
from parity.results.diagnosis import Closeness, Search
from parity.results.last_run import last_full_results, last_results
from tests.support.baseline_samples import result, write_run


@pytest.fixture(autouse=True)
def _in_a_folder_of_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in "abc":
        Path(f"{name}.yaml").write_text("")


def case(name: str, **changes: Any) -> CaseResult:
    return result(name, case_file=f"{name}.yaml", **changes)


def ran(hour: int, *names: str, narrowed: str | None = None) -> Path:
    started = f"2026-11-22T{hour:02}:00:00+00:00"
    return write_run(*(case(name) for name in names), name=f"at{hour}", started=started, narrowed=narrowed)


def test_a_part_of_an_earlier_run_is_passed_over_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    whole = ran(1, "a", "b", "c")
    part = ran(2, "b", narrowed="-k b")
    last = last_full_results()
    assert last.path == whole
    said = f"a later run ({part}) covers only 1 of these 3 cases; pass --results {part.parent} for it"
    assert last.note == said
    assert last_results() == part  # --resume goes on with the last of any kind
    main(["baseline", "accept"])
    assert f"used: {whole}: run of 2026-11-22T01:00:00+00:00, 3 cases; {said}\n" in capsys.readouterr().out
    main(["baseline", "accept", "--results", str(part)])
    assert "used:" not in capsys.readouterr().out


def test_a_full_run_is_never_a_part(capsys: pytest.CaptureFixture[str]) -> None:
    ran(1, "a", "b", "c")
    now = ran(2, "a", "b")  # c was deleted
    assert (last_full_results().path, last_full_results().note) == (now, "")
    main(["baseline", "accept"])
    assert "used:" not in capsys.readouterr().out


def test_cases_whose_files_are_gone_make_no_run_a_part() -> None:
    ran(1, "a", "b", "c")
    part = ran(2, "a", "b", narrowed="a.yaml b.yaml")
    assert last_full_results().path != part
    Path("c.yaml").unlink()
    assert last_full_results().path == part


def test_a_narrowed_run_stands_for_itself_if_no_earlier_one_has_more() -> None:
    ran(1, "a", "b")
    part = ran(2, "b", "c", narrowed="-k b")
    assert last_full_results().path == part
    whole = ran(3, "a", "b", "c")
    ran(4, "b", narrowed="-k b")
    last = ran(5, "c", narrowed="-k c")
    assert last_full_results().path == whole
    assert f"({last})" in last_full_results().note


def test_what_generated_nothing_is_no_last_run() -> None:
    search = Search(verdict="not found", sentence="", best=Closeness(identical=False), settings=(), recipe={})
    searched = case("a", output=None, search=search)
    only = write_run(searched, name="searched", started="2026-11-22T05:00:00+00:00")
    assert last_full_results().path == only
    run = ran(1, "a")
    assert last_full_results().path == run
    assert "generated nothing to compare" in last_full_results().note


@pytest.mark.parametrize(
    ("arguments", "narrowed"),
    [
        (["run"], None),
        (["run", "."], None),
        (["run", "a.yaml"], "a.yaml"),
        (["run", ".", "-k", "a"], "-k a"),
        (["run", ".", "--tag", "x", "--tag", "y"], "--tag x --tag y"),
        (["diagnose", "a.yaml"], "a.yaml"),
    ],
)
def test_what_narrows_a_run(arguments: list[str], narrowed: str | None) -> None:
    options: argparse.Namespace = whole_parser().parse(arguments)
    assert narrowing(options) == narrowed


def test_what_the_project_always_runs_is_its_full_run() -> None:
    Path("pyproject.toml").write_text('[tool.wan-parity]\ncases = ["a.yaml", "b.yaml"]\ntag = "smoke"\n')
    from parity.cli import project

    parser = whole_parser()
    parser.called(["run"]).set_defaults(**project.defaults("run"))
    assert narrowing(parser.parse(["run"])) is None
    assert narrowing(parser.parse(["run", "--tag", "other"])) == "--tag other"
