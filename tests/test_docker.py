"""The Dockerfile: hadolint's rules and ours. It is built nowhere here."""

from __future__ import annotations

import re
import subprocess

from tests.support.paths import ROOT
from tests.support.tools import lint

DOCKERFILE = ROOT / "Dockerfile"


def instructions(text: str) -> list[tuple[str, str]]:
    """Each instruction with its arguments on one line."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines()) if word]


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
    copied = [
        name for word, rest in instructions(DOCKERFILE.read_text()) if word == "COPY" for name in rest.split()[:-1]
    ]
    assert sorted(copied) == sorted(kept)
    for name in copied:
        assert (ROOT / name).exists()


def test_it_copies_all_that_the_wheel_is_built_from() -> None:
    build = (ROOT / "hatch_build.py").read_text()
    copied = [
        name for word, rest in instructions(DOCKERFILE.read_text()) if word == "COPY" for name in rest.split()[:-1]
    ]
    for folder in ("parity", "pipelines", "reports", "cases"):
        assert folder in copied
        assert f'"{folder}"' in build
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        assert name in copied
