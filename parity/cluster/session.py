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

    def _store(self, result: CaseResult) -> CaseResult:
        known = result.diagnosis
        if known is not None and known.error:
            known = dataclasses.replace(known, sentence=self._there(known.sentence), error=self._there(known.error))
        error = result.error and self._there(result.error)
        result = dataclasses.replace(result, verdict=self._there(result.verdict), error=error, diagnosis=known)
        self._send(result)
        return result

    def _there(self, words: str) -> str:
        """Words about a file of this worker's, which names it where the driver puts it."""
        return words.replace(*self._folders)
