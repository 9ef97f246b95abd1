"""`--json` of every command that prints a table: stdout holds JSON alone, and it says what the table does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from parity.case.load import DEMO, load_case
from parity.cli.main import main, whole_parser
from parity.factors.catalogue import PAGES
from parity.run.cache import Cache
from parity.selftest.planted import singles
from pipelines.catalog import MODELS
from tests.conftest import CaseFiles
from tests.support.baseline_samples import result, write_run

NO_TABLE = {"report", "serve", "schema", "fetch-lpips", "completion", "help"}
"""Commands that print paths, a log, a script or a schema."""
HERE = {
    *("baseline accept", "baseline check", "baseline show", "baseline undo", "cache ls", "cache prune", "explain"),
    *("import", "models", "selftest", "settings"),
}
ELSEWHERE = {"run", "diagnose", "plan", "shards", "doctor", "demo", "expect", "fetch", "compare"}
"""Commands whose JSON is read by their own tests."""


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    """What a command prints with `--json`, which is JSON and nothing else."""
    capsys.readouterr()
    assert main([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_command_that_prints_a_table_has_it() -> None:
    commands = {
        parser.prog.removeprefix("parity "): "--json" in parser._option_string_actions
        for parser in whole_parser().family()
        if not parser.commands
    }
    assert {name for name, has_json in commands.items() if not has_json} == NO_TABLE
    assert {name for name, has_json in commands.items() if has_json} == HERE | ELSEWHERE


def test_import(capsys: pytest.CaptureFixture[str]) -> None:
    Path("models").symlink_to(DEMO / "models")
    shutil.copytree(DEMO / "jobs" / "t2v_basic", "jobs/job")
    planned = printed(capsys, "import", "jobs/job", "--dry-run")
    done = printed(capsys, "import", "jobs/job")
    assert planned == done | {"dry_run": True}
    assert (done["job"], done["model"], done["model_assumed"]) == ("tiny_t2v", "wan21_14b", True)
    assert [(case["sample"], case["step"], case["state"]) for case in done["cases"]] == [
        (0, 500, "new"),
        (1, 500, "new"),
    ]
    assert all(Path(case["file"]).is_file() for case in done["cases"])
    assert any("--toolkit" in note for note in done["notes"])
    assert {case["state"] for case in printed(capsys, "import", "jobs/job")["cases"]} == {"unchanged"}


def test_import_of_a_model_that_is_not_supported_prints_no_half_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    job = Path(shutil.copytree(DEMO / "jobs" / "t2v_basic", "jobs/job"))
    config = yaml.safe_load((job / "config.yaml").read_text())
    config["config"]["process"][0]["model"]["arch"] = "flux"
    (job / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["import", str(job), "--json"]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert "flux" in error


def test_models(capsys: pytest.CaptureFixture[str]) -> None:
    listed = printed(capsys, "models")["models"]
    assert [row["id"] for row in listed] == list(MODELS)
    (row,) = printed(capsys, "models", "wan21_14b")["models"]
    assert row.pop("page").startswith("#")
    assert row == listed[0]


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    assert {row["name"] for row in printed(capsys, "explain")["factors"]} == set(PAGES)
    (row,) = printed(capsys, "explain", "scheduler")["factors"]
    assert "scheduler" in row["page"]


def test_settings(capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys, "settings")
    assert found["file"] is None
    assert {row["source"] for row in found["settings"]} == {"default"}


def test_baselines(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(result("a"), result("b", status="drifted"))
    seen = printed(capsys, "baseline", "accept", code=2)
    assert [(case["case"], case["kind"]) for case in seen["cases"]] == [("a", "new")]
    assert [case["case"] for case in seen["left_out"]] == ["b"]
    assert seen["written"] == []
    assert printed(capsys, "baseline", "accept", "--all", "--dry-run", code=1)["written"] == []
    assert not Path("baselines").exists()
    done = printed(capsys, "baseline", "accept", "--all", code=1)
    assert (done["folder"], done["written"]) == ("baselines", ["a"])
    shown = printed(capsys, "baseline", "show")
    assert shown["baselines"] == [json.loads(Path("baselines/a.json").read_text())]
    assert printed(capsys, "baseline", "check", "a")["failed"] is False
    would = printed(capsys, "baseline", "undo", "--dry-run")
    assert (would["restored"], would["removed"], would["dry_run"]) == ([], ["a.json"], True)
    assert Path("baselines/a.json").exists()
    assert printed(capsys, "baseline", "undo") == would | {"dry_run": False}
    assert not Path("baselines/a.json").exists()


def test_cache(cases: CaseFiles, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAN_PARITY_CACHE", "frames")
    recipe = load_case(cases.write("one")).inference
    Cache(Path("frames")).store("ab" * 32, np.zeros((1, 4, 6, 3), np.uint8), recipe, "one")
    listed = printed(capsys, "cache", "ls")
    (kept,) = listed["generations"]
    assert (kept["case"], kept["frames"], kept["bytes"]) == ("one", 1, listed["bytes"])
    pruned = printed(capsys, "cache", "prune", "--older-than", "0")
    assert (pruned["removed"], pruned["generations"], pruned["folder"]) == (1, [], "frames")
    monkeypatch.setenv("WAN_PARITY_CACHE", "")
    assert printed(capsys, "cache", "ls")["folder"] is None


@pytest.mark.draws
def test_selftest(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One planted case instead of hundreds."""
    monkeypatch.setattr("parity.selftest.matrix.matrix", lambda kinds, _: [(kinds[0], singles(kinds[0])[0])])
    capsys.readouterr()
    assert main(["selftest", "--kind", "t2v", "--no-search", "--json"]) == 0
    out, error = capsys.readouterr()
    found = json.loads(out)
    (row,) = found["planted"]
    assert found["exact"] is row["exact"] is True
    assert row["factors"] == row["findings"]
    assert "all exact" in error
