"""Nothing is written past the guard but what `tests/ways_out.py` allows."""

from __future__ import annotations

import pytest

from tests.ways_out import sources, violations


def test_nothing_is_written_past_the_guard() -> None:
    assert violations(sources()) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("from pipelines.files.shown import raw, shown", "raw writes what acts on its reader"),
        ("import sys\ndef f():\n    print('x', file=sys.__stderr__)", "sys.__stderr__ is not guarded"),
        ("import sys\ndef f():\n    sys.stdout.buffer.write(b'x')", "sys.stdout.buffer is below the guard"),
        ("import sys\ndef f(stream=sys.stderr):\n    print('x', file=stream)", "taken before it is guarded"),
        ("import sys\nout = sys.stdout", "sys.stdout is taken before it is guarded"),
        ("import os\ndef f():\n    os.write(2, b'x')", "os.write writes past every stream"),
        ("import subprocess\nsubprocess.run(['ls'])", "neither caught nor guarded"),
        ("import subprocess\nsubprocess.Popen(['ls'], stdout=subprocess.PIPE)", "neither caught nor guarded"),
        ("import logging\nlogging.basicConfig()", "may hold a stream"),
        ("from rich.console import Console\nconsole = Console(stderr=True)", "rich strips no escape sequences"),
        ("file = open('/dev/tty', 'w')", "a terminal"),
        ("if __name__ == '__main__':\n    print('x')", "a program that does not guard its streams"),
    ],
)
def test_each_way_is_found(text: str, says: str) -> None:
    (wrong,) = violations({"parity/cli/plan.py": text})
    assert wrong.startswith("parity/cli/plan.py:")
    assert says in wrong


def test_what_is_guarded_or_caught_is_no_violation() -> None:
    text = """
import subprocess, sys
from pipelines.files.shown import guard_streams, shown
def f():
    print("x", file=sys.stderr)
    sys.stdout.write("x")
    subprocess.run(["ls"], capture_output=True)
    subprocess.run(["ls"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
if __name__ == "__main__":
    guard_streams()
"""
    assert violations({"parity/cli/plan.py": text}) == []


def test_a_permission_that_nobody_needs_is_named() -> None:
    assert violations({"parity/cli/completion.py": ""}) == ["parity/cli/completion.py: needs no permission for raw"]
