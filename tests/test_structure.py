"""Data flows one way, and light commands stay light."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.support.paths import ROOT


def imported(folder: str) -> dict[str, set[str]]:
    """Module file -> modules it imports, anywhere in it."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / folder).rglob("*.py"):
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module)
        found[path.relative_to(ROOT / folder).as_posix()] = names
    assert found
    return found


def test_pipelines_know_nothing_of_cases_or_reports() -> None:
    for name, modules in imported("pipelines").items():
        assert not {module for module in modules if module.split(".")[0] in ("parity", "reports")}, name


def test_reports_know_only_results() -> None:
    for name, modules in imported("reports").items():
        ours = {module for module in modules if module.split(".")[0] in ("parity", "pipelines")}
        assert ours <= {"parity.result", "parity.diagnosis.result"}, name


def test_only_the_pytest_entry_imports_pytest() -> None:
    for folder in ("parity", "pipelines", "reports"):
        for name, modules in imported(folder).items():
            if (folder, name) not in (("parity", "conftest.py"), ("parity", "test_parity.py")):
                assert not {module for module in modules if module.split(".")[0] in ("pytest", "_pytest")}, name


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["plan"], ["models"], ["schema", "case"], ["import", "cases/jobs/t2v_basic", "--dry-run"]],
    ids=" ".join,
)
def test_light_commands_import_no_torch(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from parity.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'torchvision'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_help_imports_no_pydantic_either() -> None:
    code = (
        "import sys, argparse\nfrom parity.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\nsys.exit('pydantic' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False).returncode == 0
