"""The Dockerfile: hadolint's rules and ours. It is built nowhere here."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.tools import lint

DOCKERFILE = ROOT / "Dockerfile"


def instructions(text: str) -> list[tuple[str, str]]:
    """Each instruction with its arguments on one line."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines()) if word]


def copied() -> list[str]:
    """What it takes from the folder it is built in."""
    return [name for word, rest in instructions(DOCKERFILE.read_text()) if word == "COPY" for name in rest.split()[:-1]]


def hadolint(text: str) -> subprocess.CompletedProcess[str]:
    return lint("hadolint", "--no-color", "-", text=text)


def test_hadolint_has_nothing_to_say() -> None:
    done = hadolint(DOCKERFILE.read_text())
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_would_say_something() -> None:
    assert "DL3007" in hadolint(re.sub("FROM .*", "FROM python:latest", DOCKERFILE.read_text())).stdout


def test_its_base_is_pinned_it_runs_as_nobody_special_and_starts_parity() -> None:
    found = instructions(DOCKERFILE.read_text())
    values = dict(found)
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", values["FROM"])
    assert values["USER"] == "1000:1000"
    assert [word for word, _ in found].index("USER") < [word for word, _ in found].index("ENTRYPOINT")
    assert values["ENTRYPOINT"] == '["parity"]'
    assert values["HEALTHCHECK"] == "NONE"
    runs = " ".join(rest for word, rest in found if word == "RUN")
    assert runs.count("-c constraints.txt") == runs.count("pip install") == 2
    for folder in ("/models", "/cache"):
        assert f'"{folder}"' in values["VOLUME"]
        assert f"={folder}" in values["ENV"]


def test_what_it_copies_exists_and_is_sent_to_the_builder() -> None:
    patterns = (ROOT / ".dockerignore").read_text().splitlines()
    kept = [line[1:] for line in patterns if line.startswith("!")]
    assert "*" in patterns
    assert sorted(copied()) == sorted(kept)
    for name in copied():
        assert (ROOT / name).exists()


@pytest.mark.process
def test_what_it_copies_is_enough_to_build_the_wheel(tmp_path: Path) -> None:
    for name in copied():
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "out"))
        else:
            shutil.copy(source, tmp_path)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=tmp_path, capture_output=True, check=True)
    (wheel,) = (tmp_path / "dist").iterdir()
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"parity/cli/main.py", "parity/pipelines/recipe.py", "parity/reports/page/template.html"} <= names
    assert any(name.startswith("parity/cases/models/") for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
