"""Several workers, one run: each writes results of its own, the process that started them makes one results.json."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parity.case.load import Case
from parity.comparison.outcome import result_without_output
from parity.results.case import CaseResult, Run, in_order, now, to_json
from parity.results.merge import read_results
from parity.run.outdir import SHARDS, OutDir
from pipelines.errors import MediaError
from pipelines.files.content import write_atomically
from pipelines.files.words import plural


class Devices:
    """Which GPU each worker draws on: one a worker, as long as there are enough."""

    def __init__(self, asked: str, gpus: int) -> None:
        """`asked`: auto and cuda are shared out over this many GPUs; anything else is for all workers."""
        self._asked = asked
        self._taken: list[set[str]] = [set() for _ in range(gpus if asked in ("auto", "cuda") else 0)]

    def take(self, worker: str) -> str:
        """The device of a new worker: the first of those with fewest workers.

        Worker N of the first ones gets GPU N modulo their number; one that replaces a dead worker gets its GPU.
        """
        if not self._taken:
            return self._asked
        number = min(range(len(self._taken)), key=lambda gpu: len(self._taken[gpu]))
        self._taken[number].add(worker)
        return f"cuda:{number}"

    def give_back(self, worker: str) -> None:
        """The worker is dead or done."""
        for workers in self._taken:
            workers.discard(worker)

    def sentence(self, workers: int) -> str:
        """How the workers are spread, for people."""
        gpus = len(self._taken)
        if not gpus:
            shared = "; --parity-device auto gives each its own GPU" if self._asked.startswith("cuda") else ""
            return f"{workers} workers on {'the CPU' if self._asked == 'auto' else self._asked}{shared}"
        if workers > gpus:
            return f"{workers} workers share {plural(gpus, 'GPU')}; -n {gpus} is one GPU a worker"
        return f"{workers} workers, one GPU each"


class Shards:
    """The results of all workers, and the folder they share. Used by the process that started them."""

    def __init__(self, out: Path, session: str, command: Sequence[str], *, resume: bool) -> None:
        """`session`: sets its shards apart from those that orphans of a killed session may still write."""
        self.out = OutDir(out)
        self._folder = out / SHARDS / session
        self._resume = resume
        self._order: tuple[str, ...] = ()
        self._before: tuple[CaseResult, ...] = ()
        self._shards: dict[str, Run] = {}
        self._died: dict[str, CaseResult] = {}
        self.run = Run(started=now(), finished=None, command=tuple(command), environment={}, cases=())

    def shard(self, worker: str) -> Path:
        """Where a worker writes."""
        return self._folder / f"{worker}.json"

    def begin(self, order: Sequence[str]) -> None:
        """Take the folder for these cases (ids). Raises UsageError as `Session` does."""
        self.out.acquire()
        self._order = tuple(order)
        if self._resume:
            previous = self.out.read_previous(None)
            self._before = previous.cases
            self.run = dataclasses.replace(self.run, started=previous.started)
        else:
            self._write()

    def read(self, worker: str) -> None:
        """A worker has finished a case: results.json is whole again."""
        if self._read(self.shard(worker)):
            self._merge()

    def died(self, case: Case, worker: str) -> CaseResult:
        """The result of the case that a worker died of: what it wrote last, if that is the case's."""
        self._read(self.shard(worker))
        known = self._known(worker, case.id)
        if known is None:
            reason = (
                f"worker {worker} died while it ran; if that was for want of memory, run fewer workers (-n), "
                "or --parity-offload"
            )
            known = self._died[case.id] = result_without_output(case, "error", reason)
        self._merge()
        return known

    def close(self) -> Run:
        """After the last worker has gone: everything they wrote, in order. Closes the run if no case is missing."""
        for path in self._folder.glob("*.json"):
            self._read(path)
        done = {result.id for run in self._shards.values() for result in run.cases} | set(self._died)
        if done.issuperset(self._order):
            self.run = dataclasses.replace(self.run, finished=now())
        try:
            self._merge()
            self.out.clear()
        finally:
            self.out.release()
        return self.run

    def _read(self, path: Path) -> bool:
        if not path.exists():
            return False
        self._shards[path.stem] = read_results(path)
        return True

    def _known(self, worker: str, case: str) -> CaseResult | None:
        cases = self._shards[worker].cases if worker in self._shards else ()
        return next((result for result in cases if result.id == case), None)

    def _merge(self) -> None:
        results = {result.id: result for result in self._before} | self._died
        for run in self._shards.values():
            results |= {result.id: result for result in run.cases}
        self.run = dataclasses.replace(
            self.run,
            environment=common_environment({name: run.environment for name, run in self._shards.items()}),
            cases=in_order(list(results.values()), self._order),
        )
        self._write()

    def _write(self) -> None:
        try:
            write_atomically(self.out.whole, to_json(self.run).encode())
        except OSError as error:
            raise MediaError(f"{self.out.whole}: cannot be written: {error.strerror or error}") from None


def common_environment(environments: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The workers' environment: one, if theirs differ in nothing but the number of the GPU.

    Then `workers` says who had which. Workers of different GPUs are different runs, as in a merged report.
    """
    kinds = {name: _but_number(environment) for name, environment in environments.items()}
    if len(set(kinds.values())) > 1:
        return {"runs": [{"worker": name, "environment": dict(value)} for name, value in sorted(environments.items())]}
    names = sorted(environments, key=_number)
    devices = {name: environments[name].get("device") for name in names}
    if len(set(devices.values())) < 2:
        return dict(environments[names[0]]) if names else {}
    return {**environments[names[0]], "device": "cuda", "workers": devices}


def _but_number(environment: Mapping[str, Any]) -> str:
    kind = {**environment, "device": str(environment.get("device")).partition(":")[0]}
    return json.dumps(kind, sort_keys=True, default=str)


def _number(worker: str) -> int:
    """Of a worker's name, `gw10`."""
    digits = re.search(r"\d+$", worker)
    return int(digits[0]) if digits else 0
