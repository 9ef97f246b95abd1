"""Options of a session in one call, for tests that pass keywords on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from parity.run.options import Options
from parity.run.task import Task

_OF_TASK = {field.name for field in dataclasses.fields(Task)}


def options(out: Path, **given: Any) -> Options:
    """`Options` whose task takes the keywords that are its own."""
    task = Task(**{name: value for name, value in given.items() if name in _OF_TASK})
    return Options(out=out, task=task, **{name: value for name, value in given.items() if name not in _OF_TASK})
