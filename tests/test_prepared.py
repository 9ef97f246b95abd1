"""A prepared process does what Python does: what it is given, prints, exits with, and how it is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.prepared import python

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is Python itself"),
]

SCRIPTS = {
    "what it is given": "import os, sys; print(sys.argv, os.getcwd(), os.environ['TOLD'], repr(input())); sys.exit(3)",
    "a message": "import sys; print('out'); sys.exit('why')",
    "a signal": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "an end in order": (
        "import atexit, threading, time\natexit.register(print, 'at exit')\n"
        "threading.Thread(target=lambda: (time.sleep(0.05), print('thread'))).start()\nprint('main')"
    ),
    "a folder of its own": "import own; print(own.VALUE)",
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_it_ends_as_python_does(script: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("VALUE = 'found'\n")
    one, other = (
        subprocess.run(
            [*command, "-c", script, "argument"],
            input="a line\n",
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ | {"TOLD": "so"},
            check=False,
        )
        for command in (python(), [sys.executable])
    )
    assert (one.returncode, one.stdout, one.stderr) == (other.returncode, other.stdout, other.stderr)


def test_a_traceback_is_an_exit_code_of_1() -> None:
    done = subprocess.run([*python(), "-c", "1 / 0"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"


def test_it_hears_ctrl_c_and_dies_with_its_launcher() -> None:
    code = (
        "import os, time\n"
        "try:\n print(os.getpid(), flush=True)\n time.sleep(60)\n"
        "except KeyboardInterrupt:\n print('heard', flush=True)\n time.sleep(60)"
    )
    with subprocess.Popen([*python(), "-c", code], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert int(running.stdout.readline()) != running.pid
        running.send_signal(signal.SIGINT)
        assert running.stdout.readline() == "heard\n"
        running.kill()
        assert running.stdout.read() == ""  # nobody is left who could write
    assert running.returncode == -signal.SIGKILL


def test_torch_is_there_at_once() -> None:
    code = "import sys; sys.exit(not {'torch', 'diffusers', 'transformers'} <= set(sys.modules))"
    assert subprocess.run([*python(), "-c", code], check=False).returncode == 0
