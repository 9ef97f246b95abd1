"""Marks that say what a test costs, set from its fixtures, and a guard that fails a test which lacks one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine import checkpoint
from pipelines.engine.engine import Engine

MARK_OF_FIXTURE = {
    "engine": "draws",
    "drawn": "draws",
    "chromium": "browser",
}
"""A test that uses one of these fixtures, directly or through another fixture, gets the mark."""
TESTS = Path(__file__).parents[1]
PYTHONS = ("python", "python3", "parity", "pytest", "schemathesis")
"""Programs whose start takes seconds once they import torch."""


class Guard:
    """Fails a test that loads a checkpoint without the mark `draws`, or starts Python without the mark `process`."""

    def __init__(self) -> None:
        self._patch = pytest.MonkeyPatch()
        self._running: pytest.Item | None = None
        self._wrap(Engine, "load", lambda *_: "draws")
        self._wrap(checkpoint, "load_pipeline", lambda *_: "draws")
        self._wrap(subprocess.Popen, "__init__", _process)

    def pytest_unconfigure(self) -> None:
        self._patch.undo()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[Any]:
        self._running = item if TESTS in item.path.parents else None  # `pytest --parity-cases` runs cases here, too
        try:
            return (yield)
        finally:
            self._running = None

    def _wrap(self, owner: Any, name: str, needed: Callable[..., str | None]) -> None:
        original = getattr(owner, name)

        def guarded(*arguments: Any, **named: Any) -> Any:
            mark = needed(*arguments)
            if mark and self._running and not self._running.get_closest_marker(mark):
                pytest.fail(f"{owner.__name__}.{name} in a test that lacks the mark `{mark}`: tests/support/marks.py")
            return original(*arguments, **named)

        self._patch.setattr(owner, name, guarded)


def _process(_: Any, command: Any, *__: Any) -> str | None:
    program = str(command[0] if isinstance(command, list | tuple) else command)
    return "process" if program == sys.executable or Path(program).name in PYTHONS else None


def mark(items: list[pytest.Item]) -> None:
    """Give each test the marks of the fixtures it uses."""
    for item in items:
        for name in getattr(item, "fixturenames", ()):
            if name in MARK_OF_FIXTURE:
                item.add_marker(MARK_OF_FIXTURE[name])
