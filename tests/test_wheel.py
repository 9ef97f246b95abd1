"""The wheel, installed in an environment of its own, alone and beside a project with packages of our folders' names."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Literal

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from parity.cli.installed import PACKAGES
from parity.results.case import Run, now
from parity.results.json_text import to_json
from tests.conftest import CaseFiles
from tests.support import baseline_samples
from tests.support.paths import ROOT

pytestmark = pytest.mark.process

Place = Literal["on PYTHONPATH", "current folder", "in site-packages"]
PLACES: tuple[Place, ...] = ("on PYTHONPATH", "current folder", "in site-packages")
NAMES = ("pipelines", "reports", "cases")
EACH = """\
import json, sys
from parity.cli.main import main
for line in json.loads(sys.argv[1]):
    try:
        code = main(line)
    except SystemExit as stop:
        code = stop.code
    print(*line[:2], "->", code)
"""
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

    def __call__(self, program: str, *arguments: str | Path, code: int = 0) -> str:
        """Run one of its programs. Returns what it prints; fails unless the exit code is `code`."""
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
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    return next(folder.glob("*.whl"))


def environment_with(wheel: Path, folder: Path) -> Venv:
    """A fresh environment. Its path file adds our dependencies, but not the path files among them: no checkout."""
    made = environment_alone(wheel, folder)
    (made.site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return made


def environment_alone(wheel: Path, folder: Path) -> Venv:
    """A fresh environment with the wheel and nothing else."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    cwd = folder / "somewhere"
    cwd.mkdir()
    made = Venv(folder=folder / "venv", cwd=cwd)
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
    files = {path.name for path in (package / "reports" / "page").iterdir()}
    assert {"template.html", "diagnosis.html", "report.css", "report.js", "github.md"} <= files
    assert (package / "factors" / "explain" / "scheduler.md").is_file()
    assert (package / "factors" / "symptoms" / "lora-does-nothing.md").is_file()
    assert (package / "cases" / "models").is_dir()
    assert not (package / "reports" / "out").exists()
    assert not (package / "cases" / "training").exists()


def test_the_doctor_knows_the_tested_versions(alone: Venv) -> None:
    """One source: the wheel holds the checkout's constraints."""
    assert (alone.site / "parity" / "constraints.txt").read_text() == (ROOT / "constraints.txt").read_text()
    listed = "from parity.doctor.installation import tested_versions; print(tested_versions()['torch'])"
    assert f"torch=={alone('python', '-c', listed).strip()}\n" in (ROOT / "constraints.txt").read_text()


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


@pytest.fixture(scope="module")
def light(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Venv:
    """An environment as the head of requirements-no-torch.txt installs it: what it lists, with what that needs."""
    made = environment_alone(wheel, tmp_path_factory.mktemp("light"))
    for entry in sorted({entry for name in closure(light_requirements()) for entry in top_level(name)}):
        (made.site / entry.name).symlink_to(entry)
    return made


def light_requirements() -> dict[str, Requirement]:
    lines = (ROOT / "requirements-no-torch.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def closure(names: Iterable[str]) -> set[str]:
    """The names of these distributions and of all that they require here."""
    found: set[str] = set()
    left = list(names)
    while left:
        name = canonicalize_name(left.pop())
        if name not in found:
            found.add(name)
            required = [Requirement(line) for line in metadata.requires(name) or ()]
            left += [other.name for other in required if other.marker is None or other.marker.evaluate({"extra": ""})]
    return found


def top_level(name: str) -> set[Path]:
    """The files and folders in site-packages that belong to a distribution."""
    files = metadata.distribution(name).files or ()
    site = Path(sysconfig.get_path("purelib"))
    return {site / path.parts[0] for path in files if path.parts[0] not in ("..", "__pycache__")}


def test_the_list_without_torch_is_what_the_project_requires_but_for_torch() -> None:
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    core = {canonicalize_name(one.name): one for one in map(Requirement, required)}
    assert light_requirements() == {name: one for name, one in core.items() if name not in PACKAGES.values()}
    assert set(PACKAGES.values()) < set(core)


def test_without_torch_everything_works_that_generates_nothing(light: Venv) -> None:
    """Results are handmade; the case, the demo in the wheel."""
    results = light.cwd / "results" / "results.json"
    results.parent.mkdir()
    guitar = baseline_samples.result("t2v-guitar-faithful")
    environment = baseline_samples.ENVIRONMENT
    run = Run(started=now(), finished=now(), command=("parity", "run"), environment=environment, cases=(guitar,))
    results.write_text(to_json(run))
    lines = [
        ("--help",),
        ("plan", "-k", "guitar", "--json"),
        ("explain", "scheduler"),
        ("explain", "--symptom", "the LoRA does nothing"),
        ("demo", "try"),
        ("models",),
        ("schema", "case"),
        ("report", results, "--summary", "summary.md"),
        ("baseline", "accept", "t2v-guitar-faithful", "--results", results),
        ("baseline", "show"),
        ("baseline", "check", "--results", results),
    ]
    said = light("python", "-c", EACH, json.dumps([[str(word) for word in line] for line in lines]))
    assert said.count("-> 0\n") == len(lines), said
    assert "unchanged (bit-identical)" in said
    assert results.with_name("report.html").is_file()
    assert "torch not installed, diffusers not installed" in light("parity", "--version")


def test_without_torch_the_doctor_says_what_works(light: Venv) -> None:
    said = light("parity", "doctor", "--offline", code=1).splitlines()
    torch, ffmpeg = [line for line in said if line.startswith("problem")]
    assert "torch: not installed: report, baseline, plan" in torch
    assert "imageio-ffmpeg is not installed" in ffmpeg
    assert sum("needs torch" in line for line in said) == 3


def test_without_torch_what_generates_says_what_to_install(light: Venv) -> None:
    said = light("parity", "run", "-k", "guitar", code=2)
    (message,) = [line for line in said.splitlines() if line.startswith("parity: ")]
    assert "torch is not installed" in message
    assert "pip install wan-parity" in message
    assert "Traceback" not in said
