"""The session of a worker: results go to the driver, files into a folder of the worker's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from parity.cluster.messages import Work
from parity.results.case import CaseResult
from parity.results.folders import cache_folder
from parity.run.options import Options
from parity.run.session import Session


class WorkerSession(Session):
    """Keeps no results of its own: the driver does, and judges them by the baselines."""

    def __init__(self, work: Work, folder: Path, keep: Callable[[CaseResult], None]) -> None:
        """`keep` is given each result of a case, the last one too, before `run_case` returns."""
        super().__init__(
            Options(
                out=folder,
                task=work.task,
                device=work.device,
                offload=work.offload,
                cache=cache_folder() if work.cached else None,
                timeout=work.timeout,
                share=folder / "share.json",
            )
        )
        self._folders = str(folder), work.out
        self._send = keep

    def _keep(self, result: CaseResult) -> CaseResult:
        error = result.error and result.error.replace(*self._folders)
        result = dataclasses.replace(result, verdict=result.verdict.replace(*self._folders), error=error)
        self._send(result)
        return result
