"""The wheel, installed in an environment of its own, alone and beside a project with packages of our folders' names."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from tests.conftest import CaseFiles
from tests.support.paths import ROOT

pytestmark = pytest.mark.process

Place = Literal["on PYTHONPATH", "current folder", "in site-packages"]
PLACES: tuple[Place, ...] = ("on PYTHONPATH", "current folder", "in site-packages")
NAMES = ("pipelines", "reports", "cases")
OWN_TEST = """\
import cases, pipelines, reports

def test_own_packages():
    assert [package.OWNER for package in (cases, pipelines, reports)] == ["neighbour"] * 3
"""
BOTH = """\
import json, sys
from parity.cli.main import main
run, tests = json.loads(sys.argv[1])
assert main(run) == 0
import pytest
sys.exit(pytest.main(tests))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Venv:
    """An environment with the wheel in it, and the dependencies of the one that runs the tests."""

    folder: Path
    cwd: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def site(self) -> Path:
        return next((self.folder / "lib").iterdir()) / "site-packages"

    def __call__(self, program: str, *arguments: str | Path) -> str:
        """Run one of its programs. Returns what it prints; fails unless the exit code is 0."""
        command = [str(self.folder / "bin" / program), *map(str, arguments)]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            command,
            cwd=self.cwd,
            env={**environment, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    return next(folder.glob("*.whl"))


def environment_with(wheel: Path, folder: Path) -> Venv:
    """A fresh environment. Its path file adds our dependencies, but not the path files among them: no checkout."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    cwd = folder / "somewhere"
    cwd.mkdir()
    made = Venv(folder=folder / "venv", cwd=cwd)
    (made.site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = str(made.folder / "bin" / "python")
    script = made.folder / "bin" / "pytest"
    script.write_text(f"#!{python}\nimport sys, pytest\nsys.exit(pytest.main())\n")
    script.chmod(0o755)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "--disable-pip-version-check",
        "install",
        "-q",
        "--no-index",
    ]
    subprocess.run([*pip, "--no-deps", "--no-compile", "--ignore-installed", str(wheel)], check=True)
    return made


@pytest.fixture(scope="module")
def alone(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Venv:
    return environment_with(wheel, tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module", params=PLACES)
def beside(wheel: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Venv:
    """The environment, its neighbour in one of three places, and the neighbour's folder of cases below `cwd`."""
    place: Place = request.param
    folder = tmp_path_factory.mktemp("beside")
    made = environment_with(wheel, folder)
    homes: dict[Place, Path] = {
        "on PYTHONPATH": folder / "neighbour",
        "current folder": made.cwd,
        "in site-packages": made.site,
    }
    for name in NAMES:
        (homes[place] / name).mkdir(parents=True)
        (homes[place] / name / "__init__.py").write_text('OWNER = "neighbour"\n')
    (made.cwd / "tests").mkdir()
    (made.cwd / "tests" / "test_own.py").write_text(OWN_TEST)
    (made.cwd / "my_cases").mkdir()
    files = CaseFiles(made.cwd / "my_cases")
    files.write("small", request=files.request(sample_steps=1, num_frames=1), expect=["frame_count", "steps"])
    environment = {"PYTHONPATH": str(homes[place])} if place == "on PYTHONPATH" else {}
    return Venv(folder=made.folder, cwd=made.cwd, environment=environment)


def test_the_demo_is_planned_from_the_wheel(alone: Venv) -> None:
    said = alone("parity", "plan", "--tag", "smoke")
    assert str(alone.site / "parity" / "cases") in said


def test_its_metadata(alone: Venv) -> None:
    (folder,) = alone.site.glob("wan_parity-*.dist-info")
    assert "Apache License" in (folder / "licenses" / "LICENSE").read_text()
    assert "License-Expression: Apache-2.0\n" in (folder / "METADATA").read_text()
    assert (alone.site / "parity" / "py.typed").is_file()


def test_it_contains_the_reports_files_and_no_output(alone: Venv) -> None:
    package = alone.site / "parity"
    assert {path.name for path in alone.site.iterdir() if path.suffix == ""} == {"parity"}
    files = {path.name for path in (package / "reports").iterdir()}
    assert {"template.html", "diagnosis.html", "report.css", "report.js", "github.md"} <= files
    assert (package / "factors" / "explain" / "scheduler.md").is_file()
    assert (package / "cases" / "models").is_dir()
    assert not (package / "reports" / "out").exists()
    assert not (package / "cases" / "training").exists()


def test_no_module_in_it_names_a_neighbours_package(alone: Venv) -> None:
    named = []
    for path in (alone.site / "parity").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, path
                modules = [node.module or ""]
            else:
                continue
            named += [f"{path}: {module}" for module in modules if module.partition(".")[0] in (*NAMES, "tests")]
    assert named == []


def test_pytest_parity_in_a_clone_tests_what_is_installed(alone: Venv) -> None:
    """The clone's `parity/` is another copy of the tests, whose names would begin with that folder."""
    clone = Venv(folder=alone.folder, cwd=ROOT)
    asked = ("--collect-only", "-q", "-p", "no:cacheprovider", "--parity-tag", "smoke", "-m", "not i2v")
    said = clone("pytest", "parity/", *asked)
    assert "test_parity.py::test_case[t2v-guitar-reference]" in said.splitlines()
    assert "i2v-waving" not in said


def test_commands_beside_a_neighbour(beside: Venv) -> None:
    assert "frame_count" in beside("python", "-m", "parity", "plan", "my_cases")
    assert "frame_count" in beside("parity", "plan", "my_cases")


def test_a_run_and_a_pytest_session_beside_a_neighbour(beside: Venv) -> None:
    """In one process, which loads torch once; a second generation by `python -m parity.repeat.fresh` in another one.

    The pytest session runs the case and the neighbour's own tests, its cases named in both ways.
    """
    run = ["run", "my_cases", "--out", "out", "--repeat", "2"]
    tests = ["tests", *(("--pyargs", "parity") if beside.environment else ())]
    tests += ["-p", "no:cacheprovider", "--strict-markers", "--parity-cases", "my_cases", "--parity-out", "out-tests"]
    said = beside("python", "-c", BOTH, json.dumps([run, tests]))
    (case,) = json.loads((beside.cwd / "out" / "results.json").read_text())["cases"]
    assert case["status"] == "expected_drift"
    assert case["repeat"]["identical"] is True
    assert (beside.cwd / "out" / "report.html").is_file()
    assert "1 passed, 1 xfailed" in said
    assert "wan-parity: 1 case: 1 expected_drift" in said
