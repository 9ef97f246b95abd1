"""Every dependency is declared, and the commands start where POSIX's own modules are missing."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from parity.cli.main import main
from parity.run.watchdog import Watchdog
from pipelines.errors import UsageError
from tests.conftest import CaseFiles
from tests.support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS = ("parity", "pipelines", "reports")
EXTRA_OF_FOLDER = {
    "parity/server/": "server",
    "parity/pytest_plugin/": "pytest",
    "parity/test_parity.py": "pytest",
    "parity/cluster/": "cluster",
}
"""The places that may import an extra's packages."""


def names(requirements: list[str]) -> set[str]:
    return {normal(re.split(r"[^\w.-]", requirement, maxsplit=1)[0]) for requirement in requirements}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported() -> Iterator[tuple[str, str]]:
    """Each file of the wheel with each third-party module that it imports anywhere."""
    for folder in OURS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    modules = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    modules = [node.module or ""]
                else:
                    continue
                for module in {module.partition(".")[0] for module in modules}:
                    if module not in sys.stdlib_module_names and module not in OURS:
                        yield path.relative_to(ROOT).as_posix(), module


def test_every_import_is_declared() -> None:
    distributions = packages_distributions()
    core, extras = names(PROJECT["dependencies"]), PROJECT["optional-dependencies"]
    undeclared = []
    found = list(imported())
    for file, module in found:
        extra = next((extra for folder, extra in EXTRA_OF_FOLDER.items() if file.startswith(folder)), None)
        allowed = core | (names(extras[extra]) if extra else set())
        if not {normal(name) for name in distributions.get(module, ())} & allowed:
            undeclared.append(f"{file}: {module}")
    assert undeclared == []
    assert {"torch", "h11", "markupsafe", "pytest"} <= {module for _, module in found}


BLOCKED = """\
import builtins, json, signal, sys

ordinary = builtins.__import__

def blocking(name, globals=None, *rest, **named):
    importer = str((globals or {}).get("__name__")).partition(".")[0]
    if name in ("fcntl", "grp", "pwd", "resource", "termios") and importer in ("parity", "pipelines", "reports"):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return ordinary(name, globals, *rest, **named)

builtins.__import__ = blocking
del signal.SIGALRM, signal.SIGKILL, signal.pthread_kill
from parity.cli.main import main

for arguments in json.loads(sys.argv[1]):
    try:
        code = main(arguments)
    except SystemExit as error:
        code = error.code or 0
    print(f"{arguments[0]}: {code}")
"""
"""Takes away what Windows does not have, then runs command lines. Each ends in a line with its exit code.

Modules are taken from our code alone: what is installed here is built for Linux, and may need them.
"""


@pytest.mark.process
def test_it_runs_without_what_only_posix_has(cases: CaseFiles, tmp_path: Path) -> None:
    quick = cases.request(sample_steps=1, num_frames=1)
    case = str(cases.write(request=quick, expect=["frame_count", "steps"]))
    lines = [["--help"], ["plan", case], ["run", case, "--out", str(tmp_path / "out")]]
    lines.append(["run", case, "--out", str(tmp_path / "out"), "--resume"])
    lines.append(["doctor", "--quick", "--offline"])
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, json.dumps(lines)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "0", "PYTHONIOENCODING": "cp1252"},
        capture_output=True,
        check=False,
    )
    said = done.stdout.decode("cp1252")
    assert done.returncode == 0, said + done.stderr.decode("cp1252")
    for line in ("--help: 0", "plan: 0", "run: 0"):
        assert line in said.splitlines(), said + done.stderr.decode("cp1252")
    assert "1 case: 1 expected_drift" in done.stderr.decode("cp1252")
    assert "this check failed" not in said
    assert "warning  terminal: no terminal, cp1252: cannot print" in said


def test_windows_serves_nothing_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert main(["serve", "--lora-root", str(tmp_path)]) == 2
    assert "does not run on Windows yet" in capsys.readouterr().err


def test_windows_interrupts_nothing_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(UsageError, match="Windows has no alarm"), Watchdog(1, print).watching("loading"):
        pytest.fail("it began")
