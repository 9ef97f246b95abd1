"""What is installed is complete: the demo and the report's files travel in the wheel."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.paths import ROOT

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel, as it would lie in site-packages."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"


def test_the_demo_is_planned_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from parity.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-P", "-c", code, str(installed), "plan", "--tag", "smoke"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert str(installed / "parity" / "cases") in done.stdout


def test_its_tests_are_collected_in_a_repository_of_ones_own(installed: Path, tmp_path: Path) -> None:
    code = (
        "import sys; site = sys.argv.pop(1); sys.path.insert(0, site); import pytest; code = pytest.main(); "
        "import parity; assert parity.__file__.startswith(site), parity; sys.exit(code)"
    )
    asked = [
        f"{installed}/parity",
        "--collect-only",
        "-q",
        "--strict-markers",
        "--parity-tag",
        "smoke",
        "-m",
        "not i2v",
    ]
    command = [sys.executable, "-P", "-c", code, str(installed), *asked]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_case[t2v-guitar-reference]" in done.stdout
    assert "i2v-waving" not in done.stdout


def test_the_wheel_holds_the_reports_files_and_no_output(installed: Path) -> None:
    files = {path.name for path in (installed / "parity" / "reports").iterdir()}
    assert {"template.html", "diagnosis.html", "report.css", "report.js", "github.md"} <= files
    assert (installed / "parity" / "factors" / "explain" / "scheduler.md").is_file()
    assert not (installed / "parity" / "reports" / "out").exists()
    assert not (installed / "tests").exists()
    assert not (installed / "benchmarks").exists()
