"""Results of shards: merged in the order of the whole, with what is missing said, and never one counted twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from parity.cli.main import main
from parity.results.case import Run
from parity.results.json_text import from_json, to_json
from parity.results.last_run import last_full_results
from parity.results.merge import merge
from parity.results.shard import Shard
from pipelines.errors import UsageError
from reports.github import workflow_commands
from tests.support.baseline_samples import accept_all, result, run_of

WHOLE = ("a", "b", "c", "d", "e")
ASSIGNED = (1, 2, 1, 3, 2)


def shard(index: int, **changes: Any) -> Shard:
    values: dict[str, Any] = {"index": index, "of": 4, "partition": "p", "cases": WHOLE, "assigned": ASSIGNED} | changes
    return Shard(**values)


def run(index: int, *, lacks: str = "", **changes: Any) -> Run:
    part = shard(index, **changes)
    return run_of(*(result(case) for case in part.ids() if case not in lacks), shard=part)


def write(name: str, made: Run) -> Path:
    folder = Path("reports/out") / name
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(to_json(made))
    return folder


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_shards_are_merged_in_the_order_of_the_whole_and_an_empty_one_may_lack() -> None:
    paths = [write(f"{index}", run(index)) for index in (3, 2, 1)]
    merged = merge(paths).run
    assert [case.id for case in merged.cases] == list(WHOLE)
    assert all(not case.notes for case in merged.cases)
    assert (merged.missing, merged.shard, merged.exit_code) == ((), None, 0)
    assert len(merged.environment["runs"]) == 3
    assert main(["report", *map(str, paths)]) == 0


def test_what_is_missing_is_said_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(write("1", run(1, lacks="c"))), str(write("2", run(2)))]
    phrases = ("shard 1 of 4 lacks 1 of its 2 cases", "shard 3 of 4 is missing: 1 case")
    kinds = [word for kind in ("summary", "comment", "junit") for word in (f"--{kind}", kind)]
    assert main(["report", *paths, "--out", "page.html", *kinds]) == 3
    said = capsys.readouterr().err
    for phrase in phrases:
        assert phrase in said
        for name in ("page.html", "summary", "comment"):
            assert phrase.removeprefix("s") in Path(name).read_text()
    suite = ET.parse("junit").getroot()[0]
    assert (suite.get("tests"), suite.get("errors")) == ("5", "2")
    assert [test.get("name") for test in suite.findall("testcase")][3:] == list(phrases)
    merged = merge([Path(path) for path in paths]).run
    assert merged.exit_code == 3
    assert workflow_commands(merged) == [f"::error title=wan-parity::{phrase}" for phrase in phrases]


def test_one_shard_alone_says_what_it_is() -> None:
    path = str(write("2", run(2)))
    assert main(["report", path, "--summary", "summary"]) == 0
    assert "Shard 2 of 4: 2 of 5 cases." in Path("summary").read_text()
    assert "Shard 2 of 4: 2 of 5 cases" in Path(path, "report.html").read_text()


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ([run(1), run(2, partition="q")], "do not belong together"),
        ([run(1), run(2, of=5)], "do not belong together"),
        ([run(1), run(2), run(2)], "is shard 2 of 4, and so is"),
        ([run(1), run_of(result("e"))], "is no shard and has e"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    others: list[Run], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(write(f"{number}", other)) for number, other in enumerate(others)]
    assert main(["report", *paths, "--out", "page.html"]) == 2
    assert said in capsys.readouterr().err
    assert not Path("page.html").exists()
    write("baselined", run_of(result("a")))
    accept_all(result("a"))
    assert main(["baseline", "check", *(word for path in paths for word in ("--results", path))]) == 2


def test_two_suites_of_shards_make_one_report() -> None:
    other = Shard(index=1, of=2, partition="q", cases=("x", "y"), assigned=(1, 2))
    first = write("x", run_of(result("x"), shard=other))
    second = write("y", run_of(result("y"), shard=replace(other, index=2)))
    merged = merge([first, second, *(write(f"{index}", run(index)) for index in (1, 2, 3))]).run
    assert merged.missing == ()
    assert [case.id for case in merged.cases] == ["x", "y", *WHOLE]


def test_a_baseline_check_of_shards_knows_where_other_cases_are(capsys: pytest.CaptureFixture[str]) -> None:
    accept_all(*(result(case) for case in (*WHOLE, "gone")))
    paths = [str(write(f"{index}", run(index))) for index in (1, 2, 3)]

    def check(*chosen: str) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        code = main(["baseline", "check", "--json", *(word for path in chosen for word in ("--results", path))])
        return code, json.loads(capsys.readouterr().out)

    code, seen = check(*paths)
    assert (code, seen["unused"], seen["missing"]) == (0, ["gone"], [])
    assert check(paths[1])[0] == 0
    assert check(paths[1])[1]["unused"] == ["gone"]  # the others' baselines are checked with their shards
    code, seen = check(*paths[:2])
    assert (code, seen["missing"]) == (1, ["shard 3 of 4 is missing: 1 case"])
    assert main(["baseline", "check", *(word for path in paths[:2] for word in ("--results", path))]) == 1
    assert "FAILED: shard 3 of 4 is missing: 1 case" in capsys.readouterr().out


def test_a_shard_does_not_stand_for_the_whole_run_before_it(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").touch()
    later = replace(run(2), started="2026-11-23T01:00:00+00:00")
    whole = run_of(*(result(case, case_file=str(tmp_path / "a.yaml")) for case in WHOLE))
    paths = [write("whole", whole), write("part", later)]
    assert last_full_results().path == paths[0] / "results.json"


@pytest.mark.parametrize("changes", [{"index": 5}, {"index": 0}, {"of": 10**9}, {"assigned": [1]}])
def test_a_shard_that_no_run_writes_is_refused(changes: dict[str, Any]) -> None:
    data = json.loads(to_json(run(1)))
    data["shard"] |= changes
    with pytest.raises(ValueError, match="that `parity run` wrote"):
        from_json(json.dumps(data))
    path = write("odd", run(1))
    (path / "results.json").write_text(json.dumps(data))
    with pytest.raises(UsageError):
        merge([path])
