"""What a module of the tests prints, run in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tests.support.paths import ROOT


def printed(*arguments: str) -> Any:
    """Return what a module prints as JSON, in a process of its own: it forks, and must have imported nothing before."""
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)
