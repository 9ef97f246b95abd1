"""`parity expect`: `expect` written into case files that exist, and nothing else touched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from parity.case.document import read_case_file
from parity.case.load import DEMO, find_case_files
from parity.cli.main import main
from parity.results.case import CaseResult, FindingResult, Status
from pipelines.files.edit import CannotEditError, set_list
from tests.support.baseline_samples import no_output, result, write_run

CASE = """\
# guitar, by hand
model: wan21_14b   # the small one
preview:
  video: preview.webp
request: request.json
tags: [t2v]  # for CI
"""


def test_a_key_that_is_not_there_is_added_before_the_tags() -> None:
    edited = set_list(CASE, "expect", ["scheduler", "precision"], before="tags")
    assert edited == CASE.replace("tags:", "expect: [scheduler, precision]\ntags:")
    assert set_list(edited, "expect", None) == CASE


@pytest.mark.parametrize(
    ("text", "values", "after"),
    [
        ("a: 1\nexpect: [x]  # known\nb: 2\n", ["y", "z"], "a: 1\nexpect: [y, z]  # known\nb: 2\n"),
        ("expect:\n", ["y"], "expect: [y]\n"),
        ("expect: [x,\n  w]\nb: 2", ["y"], "expect: [y]\nb: 2"),
        (
            "expect:\n  - x  # of the server\n  # why\n  - w\n\n# more\nb: 2\n",
            ["x", "y"],
            "expect:\n  - x  # of the server\n  # why\n  - y\n\n# more\nb: 2\n",
        ),
        ("b: 2\nexpect:\n- x\n- w", ["w", "y"], "b: 2\nexpect:\n- w\n- y\n"),
        ("a: 1\r\nexpect: [x]\r\nb: 2\r\n", ["y"], "a: 1\r\nexpect: [y]\r\nb: 2\r\n"),
        ("a: 1\r\n", ["y"], "a: 1\r\nexpect: [y]\r\n"),
        ("a: 1", ["y"], "a: 1\nexpect: [y]\n"),
        ("a: |\n  long\n# end\n", ["y"], "a: |\n  long\n# end\nexpect: [y]\n"),
        ("a: 1\n# of the tags\ntags: [t]\n", ["y"], "a: 1\n# of the tags\ntags: [t]\nexpect: [y]\n"),
        ("a: 1\nexpect: [x]  # known\nb: 2\n", None, "a: 1\nb: 2\n"),
        ("a: 1\nexpect:\n  - x\n  - w # c\n# of b\nb: 2\n", None, "a: 1\n# of b\nb: 2\n"),
        ("a: 1\n", None, "a: 1\n"),
    ],
)
def test_comments_and_layout_stay(text: str, values: list[str] | None, after: str) -> None:
    assert set_list(text, "expect", values, before="tags") == after
    data = yaml.safe_load(after)
    assert data.pop("expect", None) == values
    before = yaml.safe_load(text)
    before.pop("expect", None)
    assert data == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{a: 1, expect: [x]}", "one key a line"),
        ("k: &k [x]\nexpect: *k\n", "an alias"),
        ("expect: &known [x]\nk: *known\n", "an anchor"),
        ("expect: [x, # because\n  w]\n", "a comment inside"),
        ("expect: # because\n  - x\n", "a comment before its value"),
        ("expect:\n  - - x\n", "one word a line"),
        ("? expect\n: [x]\n", "does not begin its line"),
    ],
)
def test_what_cannot_be_changed_is_refused(text: str, said: str) -> None:
    with pytest.raises(CannotEditError, match=said):
        set_list(text, "expect", ["y"])


def test_every_case_of_the_demo_can_be_edited() -> None:
    for path in find_case_files([]):
        text = path.read_text()
        edited = set_list(text, "expect", ["steps", "seed"], before="tags")
        assert yaml.safe_load(edited) == yaml.safe_load(text) | {"expect": ["steps", "seed"]}
        assert "expect" not in yaml.safe_load(set_list(edited, "expect", None))


# --- the command
@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three cases of the demo: one that expects nothing, one that expects, one with a tolerance."""
    monkeypatch.chdir(tmp_path)
    source = (DEMO / "t2v-guitar-reference.yaml").read_text()
    text = "".join(
        line for line in source.splitlines(keepends=True) if not line.startswith(("id:", "expect", "tolerance"))
    )
    for name, more in (("plain", ""), ("known", "expect: [steps]\n"), ("tight", "tolerance: {psnr: 60}\n")):
        (tmp_path / f"{name}.yaml").write_text(text + more)
    return tmp_path


def found(case_id: str, *factors: str, status: Status = "drifted", **changes: Any) -> CaseResult:
    findings = tuple(FindingResult(factor=factor, preview="a", inference="b", note="") for factor in factors)
    return result(case_id, status=status, findings=findings, verdict="psnr is 33", **changes)


def test_what_the_run_found_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(
        found("plain", "scheduler", "environment"),
        found("known", "steps", status="expected_drift"),
        found("tight", "steps"),
    )
    before = {path.name: path.read_text() for path in folder.glob("*.yaml")}
    assert main(["expect", ".", "--dry-run"]) == 0
    assert {path.name: path.read_text() for path in folder.glob("*.yaml")} == before
    assert "2 would be changed; nothing was written" in capsys.readouterr().out
    assert main(["expect", "."]) == 0
    out = capsys.readouterr().out
    assert "plain  changed  expect: not set -> [scheduler]\n" in out
    assert "known  kept     as expected: expected_drift\n" in out
    assert "tight  changed  expect: not set -> [steps]; its tolerance decides too\n" in out
    assert "2 changed\nnext: parity run .\n" in out
    assert read_case_file(folder / "plain.yaml").keys.expect == ["scheduler"]
    assert (folder / "known.yaml").read_text() == before["known.yaml"]
    assert main(["expect", ".", "--remove"]) == 0
    assert (folder / "plain.yaml").read_text() == before["plain.yaml"]


@pytest.mark.usefixtures("folder")
def test_what_is_left_out_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(found("plain", "environment"), no_output("tight"))
    assert main(["expect", ".", "--json"]) == 1
    rows = {row["case"]: row for row in json.loads(capsys.readouterr().out)}
    assert {row["state"] for row in rows.values()} == {"left_out"}
    assert rows["known"]["note"] == "not in the results; run it first"
    assert rows["plain"]["note"] == "no factor explains it: psnr is 33"
    assert rows["tight"]["note"] == "could not be run: no weights"


def test_named_factors_need_no_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["expect", "plain.yaml", "--factors", "scheduler,seed"]) == 0
    assert read_case_file(folder / "plain.yaml").keys.expect == ["scheduler", "seed"]
    with pytest.raises(SystemExit):
        main(["expect", "plain.yaml", "--factors", "shedular"])
    assert "did you mean scheduler?" in capsys.readouterr().err
    assert main(["expect"]) == 2
    assert "name the case files" in capsys.readouterr().err


def test_one_file_that_cannot_be_changed_stops_all(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = folder / "odd.yaml"
    odd.write_text((folder / "plain.yaml").read_text() + "expect: [steps, # why\n  seed]\n")
    before = {path.name: path.read_text() for path in folder.glob("*.yaml")}
    assert main(["expect", ".", "--factors", "scheduler"]) == 2
    said = capsys.readouterr().err
    assert "odd.yaml: `expect` cannot be changed here: there is a comment inside `expect`" in said
    assert "write `expect: [scheduler]` by hand" in said
    assert {path.name: path.read_text() for path in folder.glob("*.yaml")} == before


def test_a_link_and_the_files_mode_stay(folder: Path) -> None:
    real = folder / "elsewhere"
    real.mkdir()
    shutil.move(folder / "plain.yaml", real / "plain.yaml")
    (real / "plain.yaml").chmod(0o640)
    (folder / "plain.yaml").symlink_to(real / "plain.yaml")
    assert main(["expect", "plain.yaml", "--factors", "seed"]) == 0
    assert (folder / "plain.yaml").is_symlink()
    assert (real / "plain.yaml").stat().st_mode & 0o777 == 0o640
    assert "expect: [seed]" in (real / "plain.yaml").read_text()
