"""A process ends with all that it owes, whatever still runs in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.leaving import leave
from tests.support.paths import ROOT

LEAVING = """
import atexit, gc, sys, tempfile, threading
from pipelines.leaving import leave_quickly
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


ABANDONING = """
import atexit, sys, tempfile, threading, time
from pipelines.leaving import abandon, leave
folder = tempfile.TemporaryDirectory()
atexit.register(print, "registered")
endless = threading.Event()
thread = threading.Thread(target=endless.wait)
thread.start()
abandon([thread])
print("said", file=sys.stderr)
leave(130)
"""


@pytest.mark.process
def test_a_process_leaves_threads_that_never_end(tmp_path: Path) -> None:
    """With `sys.exit` it would wait for the thread for ever."""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", ABANDONING]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "registered\n", "said\n")
    assert not list(tmp_path.iterdir())


def test_without_such_threads_it_is_an_ordinary_exit() -> None:
    with pytest.raises(SystemExit) as left:
        leave(3)
    assert left.value.code == 3
