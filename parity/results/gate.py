"""What decides over results in place of the cases' own rules: the baselines of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from parity.results.case import CaseResult


class Gate(Protocol):
    """Baselines that decide over results."""

    @property
    def folder(self) -> Path:
        """The folder of the baselines."""

    def __call__(self, result: CaseResult, environment: Mapping[str, Any], out: Path) -> CaseResult:
        """The result, generated in this environment, with status and verdict by the baselines.

        Stills of what was accepted are copied into the case's artifacts in `out`, the folder of its results.json.
        """
