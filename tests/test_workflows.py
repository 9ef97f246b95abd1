"""The workflows for GitHub Actions: every command line they hold is one that wan-parity understands."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from _pytest.config import get_config
from xdist import plugin as xdist

from parity.cli.main import whole_parser
from parity.pytest_plugin import options as plugin
from tests.support.paths import ROOT

WORKFLOWS = ROOT / ".github" / "workflows"
FILES = sorted(WORKFLOWS.glob("parity-*.yml"))
TESTS = WORKFLOWS / "tests.yml"
STUB = """#!/bin/bash
printf '%s\\x1f' "${0##*/}" "$@" >> "$LOG"; printf '\\x1e' >> "$LOG"
"""
VALUES = {
    "PACKAGE": "git+https://example.org/wan-parity",
    "CASES": "my cases",
    "BASELINES": "my baselines",
    "TAG": "two words",
    "WORKERS": "2",
}


def workflow(path: Path) -> dict[Any, Any]:
    data: dict[Any, Any] = yaml.safe_load(path.read_text())
    return data


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in workflow(path)["jobs"].values() for step in job["steps"]]


def commands(path: Path, folder: Path, **values: str) -> list[list[str]]:
    """List what the workflow's scripts call, by running them in bash with a stub for every program."""
    programs = folder / "bin"
    programs.mkdir(parents=True)
    for name in ("pip", "python", "pytest", "parity"):
        (programs / name).write_text(STUB)
        (programs / name).chmod(0o755)
    venv = folder / "temp" / "venv"
    venv.mkdir(parents=True)
    (venv / "bin").symlink_to(programs)
    for run in ("parity-run-t2v", "parity-run-i2v"):
        (folder / "runs" / run).mkdir(parents=True)
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "LOG": str(folder / "log"),
        "RUNNER_TEMP": str(folder / "temp"),
        "GITHUB_PATH": str(folder / "path"),
        "GITHUB_ENV": str(folder / "env"),
        **(VALUES | values),
    }
    for step in steps(path):
        if "run" in step:
            subprocess.run(["bash", "-euo", "pipefail", "-c", step["run"]], cwd=folder, env=environment, check=True)
    return [call.split("\x1f")[:-1] for call in (folder / "log").read_text().split("\x1e")[:-1]]


def pytest_options(arguments: list[str]) -> Any:
    """Parse options like pytest, with ours and xdist's. Fails for an option that does not exist."""
    parser = get_config()._parser
    xdist.pytest_addoption(parser)
    plugin.pytest_addoption(parser)
    known, unknown = parser.parse_known_and_unknown_args(arguments)
    assert not unknown
    return known


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
@pytest.mark.parametrize("baselines", ["my baselines", ""])
def test_every_command_is_understood(path: Path, baselines: str, tmp_path: Path) -> None:
    calls = commands(
        path, tmp_path, BASELINES=baselines, CASES="" if not baselines and "cpu" in path.name else "my cases"
    )
    ours = [call for call in calls if call[0] in ("parity", "pytest")]
    assert {call[0] for call in ours} == {"parity", "pytest"}
    for program, *arguments in ours:
        if program == "parity":
            whole_parser().parse_args(arguments)
            continue
        options = pytest_options(arguments)
        assert options.parity_out == Path(options.xmlpath).parent
        assert options.parity_cases == ([Path("my cases")] if "gpu" in path.name or baselines else None)
        assert options.file_or_dir == ([] if "gpu" in path.name else ["parity"])
        assert options.pyargs == ("cpu" in path.name)
        if "gpu" in path.name:
            assert options.parity_tag == ["two words"]
            assert options.parity_baselines == (Path(baselines) if baselines else None)
    if "gpu" in path.name:
        report = next(call for call in ours if call[1] == "report")
        assert report[2:4] == ["runs/parity-run-i2v/", "runs/parity-run-t2v/"]


@pytest.mark.parametrize("path", [*FILES, TESTS], ids=lambda path: path.name)
def test_the_form_that_github_wants(path: Path) -> None:
    data = workflow(path)
    assert data["permissions"] == {"contents": "read"}
    assert data["concurrency"]["group"]
    for name, job in data["jobs"].items():
        assert job["timeout-minutes"] > 0, name
        assert path == TESTS or any("upload-artifact" in step.get("uses", "") for step in job["steps"]), name
    for step in steps(path):
        assert ("uses" in step) != ("run" in step)
        if "uses" in step:
            assert re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"])
        else:
            assert "${{" not in step["run"]  # a tag or a path must not become part of a script
        if "upload-artifact" in step.get("uses", ""):
            assert step["if"] == "always()"
            assert step["with"]["if-no-files-found"] == "error"


def test_every_python_that_is_supported_runs_what_runs_here() -> None:
    (job,) = workflow(TESTS)["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [line.rpartition(" ")[2] for line in project["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert job["strategy"]["matrix"]["python"] == named
    first, beyond = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", project["requires-python"]).groups()  # type: ignore[union-attr]
    assert named == [f"3.{minor}" for minor in range(int(first), int(beyond))]


def test_pull_requests_do_not_reach_gpus() -> None:
    data = workflow(WORKFLOWS / "parity-gpu.yml")
    triggers: dict[str, Any] = data.get("on", data.get(True, {}))  # YAML 1.1 reads `on` as true
    assert set(triggers) == {"workflow_dispatch", "workflow_call"}
    assert data["jobs"]["run"]["runs-on"] == ["self-hosted", "gpu"]


@pytest.mark.parametrize("wrong", ["--parity-tags x", "--parity-timeout soon", "--parity-offload half"])
def test_a_wrong_option_is_noticed(wrong: str) -> None:
    with pytest.raises((AssertionError, pytest.UsageError, SystemExit)):
        pytest_options(wrong.split())
