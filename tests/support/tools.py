"""Linters that are programs, from the packages of the extra [dev]."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def lint(name: str, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a linter. Skips the test where its package has no program for this platform, but never on x86-64 Linux."""
    beside = Path(sys.executable).with_name(name)
    program = str(beside) if beside.exists() else shutil.which(name)
    if program is None and (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip(f"{name} has no package for this platform")
    assert program is not None, f"{name} is missing; pip install -c constraints.txt -e '.[dev]'"
    return subprocess.run([program, *arguments], input=text, capture_output=True, text=True, check=False)
