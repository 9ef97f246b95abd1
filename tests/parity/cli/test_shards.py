"""`--shard`: two machines and one give the same results, and folders of shards are not mixed up."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from parity.cli.main import main
from parity.results.merge import merge
from tests.conftest import CaseFiles
from tests.support.paths import ROOT


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def suite(cases: CaseFiles) -> str:
    """Four quick cases of two checkpoints."""
    quick = cases.request(sample_steps=1, num_frames=1)
    (cases.folder / "suite").mkdir()
    cases.folder = cases.folder / "suite"
    for number in range(3):
        cases.write(f"case-{number}", request=quick, tags=["t"])
    cases.write("bf16", request=quick, pipeline="reference", tags=["t"])
    return str(cases.folder)


def comparable(*paths: Path) -> list[dict[str, Any]]:
    """The cases of results but for times and where artifacts are, as JSON."""
    found = []
    for case in merge(paths).run.cases:
        row = asdict(case) | {"timings": None, "speed": None}
        row["artifacts"] = {name: Path(place).name for name, place in case.artifacts.items()}
        found.append(row)
    return found


@pytest.mark.draws
def test_two_shards_give_what_one_machine_gives(suite: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", suite, "--out", "whole"]) == 1
    for index in (1, 2):
        main(["run", suite, "--shard", f"{index}/2", "--out", f"shard-{index}"])
    assert "shard 1 of 2: " in capsys.readouterr().err
    parts = [merge([Path(f"shard-{index}")]).run for index in (1, 2)]
    assert sum(len(part.cases) for part in parts) == 4
    assert all(0 < len(part.cases) < 4 for part in parts)
    assert comparable(Path("shard-2"), Path("shard-1")) == comparable(Path("whole"))
    assert main(["report", "shard-1", "shard-2", "--out", "page.html"]) == 0

    # the same folder for another shard, resumed as what it is not, and resumed after the cases changed
    assert main(["run", suite, "--shard", "2/2", "--out", "shard-1"]) == 2
    assert "has the results of shard 1 of 2" in capsys.readouterr().err
    assert main(["run", suite, "--shard", "2/2", "--out", "shard-1", "--resume"]) == 2
    assert "is shard 1 of 2, this is shard 2 of 2" in capsys.readouterr().err
    assert main(["run", suite, "--out", "shard-1", "--resume"]) == 2
    assert "this is a run without --shard" in capsys.readouterr().err
    assert main(["run", suite, "--shard", "1/2", "--balance", "whole", "--out", "shard-1", "--resume"]) == 2
    assert "are split differently now" in capsys.readouterr().err
    before = Path("shard-1/results.json").read_text()
    main(["run", suite, "--shard", "1/2", "--out", "shard-1", "--resume"])
    kept = json.loads(Path("shard-1/results.json").read_text())
    assert kept["cases"] == json.loads(before)["cases"]


def test_a_shard_without_a_case_is_green_and_counts_as_there(suite: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shards", "6", suite, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["shards"]
    (empty, *_) = [row["shard"] for row in rows if not row["cases"]]
    assert main(["run", suite, "--shard", empty, "--out", "empty"]) == 0
    assert main(["report", "empty"]) == 0
    assert "0 of 4 cases" in Path("empty/report.html").read_text()


def test_shards_of_the_plan_are_those_of_the_run(suite: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shards", "2", suite, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["shard"] for row in found["shards"]] == ["1/2", "2/2"]
    assert sorted(case for row in found["shards"] for case in row["cases"]) == ["bf16", "case-0", "case-1", "case-2"]
    assert found["shards"][0]["weights_bytes"] > 0
    assert sum(row["share"] for row in found["shards"]) == pytest.approx(1)
    assert main(["shards", "9", suite, "--github"]) == 0
    name, _, names = capsys.readouterr().out.strip().partition("=")
    assert name == "shards"
    assert set(json.loads(names)) < {f"{index}/9" for index in range(1, 10)}
    assert main(["shards", "2", suite]) == 0
    text = capsys.readouterr().out
    assert "times as fast as one machine\n(estimated from the recipes, no speed is known" in text
    assert "100 %" in text


def test_the_document_quotes_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shards", "4"]) == 0
    quoted = (ROOT / "docs" / "ci.md").read_text().partition("    $ parity shards 4\n")[2].partition("\n\n")[0]
    assert capsys.readouterr().out == textwrap.dedent(quoted) + "\n"


@pytest.mark.parametrize("wrong", ["0/4", "5/4", "2", "2/", "/4", "a/4", "1/1001", "1/4/2", "²/4", "1/" + "9" * 5000])
def test_a_shard_that_is_none(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", "--shard", wrong])
    assert caught.value.code == 2
    assert "must be I/N" in capsys.readouterr().err


def test_balance_needs_a_shard_and_results(suite: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", suite, "--balance", "x"]) == 2
    assert "pass --shard I/N, too" in capsys.readouterr().err
    assert main(["run", suite, "--shard", "1/2", "--balance", "x"]) == 2
    assert "x" in capsys.readouterr().err
