"""A process apart: what it says arrives, how it ended is said, and it never outlives the process that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.apart import Child, how_it_ended
from pipelines.errors import CaseError, HubError, ProcessEndedError
from tests.support.paths import ROOT
from tests.support.serving import lives, until

pytestmark = pytest.mark.process


@pytest.fixture
def child() -> Iterator[Child]:
    with Child("tests.support.apart_child", "the child", stderr=subprocess.PIPE) as child:
        yield child


def test_messages_are_not_mixed_with_what_is_printed(child: Child) -> None:
    large = "x" * (1 << 20)
    for text in ("one", "two\n", large):
        child.send({"echo": text})
        assert child.receive() == {"echo": text}


def test_errors_arrive_as_what_they_are(child: Child) -> None:
    child.send({"fail": "a.yaml: wrong"})
    with pytest.raises(CaseError, match=r"^a\.yaml: wrong$"):
        child.receive()
    child.send({"fail": "hub"})
    with pytest.raises(HubError, match=r"^gated$") as caught:
        child.receive()
    assert caught.value.source == "owner/name"


@pytest.mark.parametrize(
    ("task", "how"),
    [
        ({"die": signal.SIGSEGV}, "was killed by signal 11 (SIGSEGV)"),
        ({"die": signal.SIGABRT}, "was killed by signal 6 (SIGABRT), as a library does that cannot go on"),
        ({"die": signal.SIGKILL}, "was killed by signal 9 (SIGKILL), as the system does when memory runs out"),
        ({"leave": 3}, "ended with exit code 3"),
    ],
    ids=str,
)
def test_how_it_ended_is_said(task: object, how: str, child: Child) -> None:
    child.send(task)
    with pytest.raises(ProcessEndedError) as caught:
        child.receive()
    assert str(caught.value).startswith(f"the child {how}")
    assert not child.alive
    child.send({"echo": "the dead are sent nothing"})


def test_ctrl_c_and_sigterm_are_left_to_the_parent(child: Child) -> None:
    child.send({"echo": "begun"})
    assert child.receive() == {"echo": "begun"}
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(child.pid, number)
        child.send({"echo": "alive"})
        assert child.receive() == {"echo": "alive"}


PARENT = """
import threading
from pipelines.apart import Child
child = Child("tests.support.apart_child", "the child")
child.send({"hold": True})
print(child.receive()["pid"], flush=True)
threading.Event().wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process that holds Python's lock")
def test_it_ends_with_its_parent_whatever_it_does() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = parent.stdout.readline().strip()
        assert Path("/proc", pid).is_dir()
        parent.kill()
    until(lambda: not lives(int(pid)))


def test_unknown_signals_have_a_number() -> None:
    assert how_it_ended(-63) == "was killed by signal 63"
