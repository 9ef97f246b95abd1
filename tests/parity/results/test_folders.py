"""Folders of results: git ignores those that are made here, and no folder that was there before."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from parity.results.folders import default_out, make_out
from parity.run.outdir import OutDir
from pipelines.files.content import make_ignored


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository, which is the current folder."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def untracked(repository: Path) -> list[str]:
    """What git would offer to commit."""
    command = ["git", "-C", str(repository), "status", "--porcelain", "--untracked-files=all"]
    return [line[3:] for line in subprocess.check_output(command, text=True).splitlines()]


@pytest.mark.parametrize("given", [None, Path("results"), Path("build/deep/results")], ids=str)
def test_git_ignores_a_new_folder_of_results(given: Path | None, repository: Path) -> None:
    out = given or default_out()
    holder = OutDir(out)
    holder.acquire()
    (out / "results.json").write_text("{}")
    (out / "artifacts").mkdir()
    (out / "artifacts" / "video.webp").touch()
    holder.release()
    assert untracked(repository) == []


def test_git_ignores_the_servers_new_folder(repository: Path) -> None:
    make_ignored(repository / "parity-serve", mode=0o700)
    (repository / "parity-serve" / "queue.sqlite").touch()
    assert untracked(repository) == []
    assert (repository / "parity-serve").stat().st_mode & 0o777 in (0o700, 0o777)  # 777: Windows


def test_a_folder_that_was_there_stays_as_it_is(repository: Path) -> None:
    (repository / "mine").mkdir()
    (repository / "mine" / "notes.txt").touch()
    make_out(Path("mine"))
    make_out(Path())
    assert untracked(repository) == ["mine/notes.txt"]
    assert list((repository / "mine").iterdir()) == [repository / "mine" / "notes.txt"]


def test_a_gitignore_that_is_there_is_kept(repository: Path) -> None:
    folder = repository / "reports" / "out"
    folder.mkdir(parents=True)
    (folder / ".gitignore").write_text("!*\n")
    make_out(default_out())
    assert (folder / ".gitignore").read_text() == "!*\n"
