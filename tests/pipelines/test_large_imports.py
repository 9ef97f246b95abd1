"""The collector rests while libraries are imported, and only then; a process ends with all that it owes."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.large_imports import uncollected
from tests.support.paths import ROOT


def test_the_collector_rests_during_imports_and_then_goes_on() -> None:
    def failing() -> None:
        with uncollected():
            seen.append(gc.isenabled())
            raise ImportError

    seen: list[bool] = []
    with pytest.raises(ImportError):
        failing()
    assert [*seen, gc.isenabled()] == [False, True]


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


LEAVING = """
import atexit, gc, sys, tempfile, threading
from pipelines.large_imports import leave_quickly
atexit.register(lambda: print("frozen", gc.get_freeze_count() > 0))
leave_quickly()
leave_quickly()
atexit.register(print, "registered later")
threading.Thread(target=lambda: print("thread")).start()
folder = tempfile.TemporaryDirectory()
sys.exit(3)
"""


@pytest.mark.process
def test_a_process_that_leaves_quickly_does_what_it_registered(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LEAVING]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stdout.splitlines() == ["thread", "registered later", "frozen True"]
    assert not list(tmp_path.iterdir())
