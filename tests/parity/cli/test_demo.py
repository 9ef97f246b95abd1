"""`parity demo`: what it unpacks is a job that import reads without an edit, and what it prints can be typed."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from parity.case.load import DEMO, load_cases
from parity.cli.main import main, whole_parser

JOBS = sorted(path.name for path in (DEMO / "jobs").iterdir())


def printed_commands(text: str) -> list[list[str]]:
    _, _, steps = text.partition("next:\n")
    return [shlex.split(line) for line in steps.splitlines() if not line.startswith("   ")]


@pytest.mark.parametrize("name", JOBS)
def test_every_job_is_imported_unedited(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The checkpoint and the LoRA files of the cases are those that were unpacked, not the demo's."""
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "my try", "--job", name]) == 0
    cd, *commands = printed_commands(capsys.readouterr().out)
    assert cd == ["cd", "my try"]
    monkeypatch.chdir(tmp_path / "my try")
    assert main(commands[0][1:]) == 0
    capsys.readouterr()
    files = sorted(Path("cases").rglob("*.yaml"))
    assert Path(commands[2][2]) in files
    cases = load_cases(files)
    assert cases
    for case in cases:
        assert Path(case.inference.weights.checkpoint).resolve().is_relative_to(tmp_path)
        assert case.video.resolve().is_relative_to(tmp_path)


@pytest.mark.parametrize("name", JOBS)
def test_every_printed_command_is_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "try", "--job", name]) == 0
    _, *commands = printed_commands(capsys.readouterr().out)
    for command in commands:
        assert command[0] == "parity"
        whole_parser().parse(command[1:])


def test_the_copy_holds_all_files_and_no_others(tmp_path: Path) -> None:
    assert main(["demo", str(tmp_path / "new" / "try")]) == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["try"]
    for ours, theirs in (("output/p0stcard_shapes", "jobs/shapes_t2v"), ("models/shapes-t2v", "models/shapes-t2v")):
        found, wanted = tmp_path / "new" / "try" / ours, DEMO / theirs
        names = sorted(path.relative_to(wanted) for path in wanted.rglob("*"))
        assert sorted(path.relative_to(found) for path in found.rglob("*")) == names
        assert all(
            (found / name).read_bytes() == (wanted / name).read_bytes() for name in names if (wanted / name).is_file()
        )


def test_an_empty_folder_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "."]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["models", "output"]


def test_a_folder_with_content_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["demo", str(tmp_path)]) == 2
    assert "is not empty; name a new folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    assert main(["demo", str(tmp_path / "mine.txt")]) == 2
    assert "is a file" in capsys.readouterr().err


def test_what_cannot_be_written_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file where a folder should be stands for every reason of the system: root may write everywhere."""
    (tmp_path / "file").touch()
    assert main(["demo", str(tmp_path / "file" / "try")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_the_jobs_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == JOBS
    assert main(["demo", "--list", "--json"]) == 0
    assert [job["job"] for job in json.loads(capsys.readouterr().out)["jobs"]] == JOBS


@pytest.mark.parametrize(
    ("arguments", "said"),
    [([], "parity demo try"), (["x", "--job", "shapes_t3v"], "did you mean shapes_t2v")],
)
def test_a_mistake_is_one_message(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
