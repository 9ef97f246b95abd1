"""A log gets a line now and then, also while the main thread computes, and none after the end."""

from __future__ import annotations

import threading
import time

import pytest

from parity.terminal.heartbeat import Heartbeat


def wait_for(lines: list[str], count: int) -> None:
    end = time.monotonic() + 20
    while len(lines) < count and time.monotonic() < end:
        time.sleep(0.005)
    assert len(lines) >= count


def heartbeats() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "heartbeat"]


def test_there_is_a_line_while_the_main_thread_computes() -> None:
    torch = pytest.importorskip("torch")
    lines: list[str] = []
    matrix = torch.ones(600, 600)
    with Heartbeat(lambda: "decoding", lines.append, 0.02):
        end = time.monotonic() + 20
        while not lines and time.monotonic() < end:
            torch.linalg.svd(matrix)  # one long call into C
    assert lines
    assert set(lines) == {"decoding"}


def test_nothing_is_written_after_the_end_and_no_thread_is_left() -> None:
    lines: list[str] = []
    heartbeat = Heartbeat(lambda: "working", lines.append, 0.01)
    with heartbeat:
        wait_for(lines, 3)
        assert len(heartbeats()) == 1
    count = len(lines)
    assert heartbeats() == []
    time.sleep(0.05)
    assert len(lines) == count
    heartbeat.stop()  # a second time


def test_other_output_puts_the_line_off() -> None:
    lines: list[str] = []
    with Heartbeat(lambda: "working", lines.append, 3600) as heartbeat:
        heartbeat.spoken()
    assert lines == []


def test_there_is_no_line_while_there_is_nothing_to_say() -> None:
    lines: list[str] = []
    asked = threading.Event()

    def line() -> None:
        asked.set()

    with Heartbeat(line, lines.append, 0.01):
        assert asked.wait(20)
    assert lines == []


@pytest.mark.parametrize("error", [BrokenPipeError(), ValueError("I/O operation on closed file"), OSError(5, "EIO")])
def test_a_reader_that_went_away_ends_the_thread_alone(error: Exception) -> None:
    tried = threading.Event()

    def write(_: str) -> None:
        tried.set()
        raise error

    with Heartbeat(lambda: "working", write, 0.01):
        assert tried.wait(20)
        end = time.monotonic() + 20
        while heartbeats() and time.monotonic() < end:
            time.sleep(0.005)
        assert heartbeats() == []
