"""Results of several workers: each writes its own file, and the process that started them merges these into one run."""

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
from parity.results.next_steps import Place
from parity.run.outdir import SHARDS, OutDir
from pipelines.errors import MediaError
from pipelines.files.content import write_atomically
from pipelines.files.words import cannot_write, plural


class Devices:
    """The assignment of GPUs to workers: one per worker, as long as there are enough."""

    def __init__(self, device: str, gpus: int) -> None:
        """With `device` auto or cuda the workers are spread over this many GPUs; any other device serves them all."""
        self._device = device
        self._taken: list[set[str]] = [set() for _ in range(gpus if device in ("auto", "cuda") else 0)]

    def take(self, worker: str) -> str:
        """Assign a device to a new worker: the first of those with the fewest workers.

        The first workers get the GPUs in turn; a worker that replaces a dead one gets its GPU.
        """
        if not self._taken:
            return self._device
        number = min(range(len(self._taken)), key=lambda gpu: len(self._taken[gpu]))
        self._taken[number].add(worker)
        return f"cuda:{number}"

    def give_back(self, worker: str) -> None:
        """Free the device of a worker that died or is done."""
        for workers in self._taken:
            workers.discard(worker)

    def sentence(self, workers: int) -> str:
        """One sentence on how the workers are spread."""
        gpus = len(self._taken)
        if not gpus:
            shared = "; --parity-device auto gives each worker a GPU" if self._device.startswith("cuda") else ""
            return f"{workers} workers on {'the CPU' if self._device == 'auto' else self._device}{shared}"
        if workers > gpus:
            return f"{workers} workers share {plural(gpus, 'GPU')}; -n {gpus} gives each worker a GPU"
        return f"{workers} workers, one GPU each"


class Shards:
    """The results of all workers and the folder they share. Used by the process that started them."""

    def __init__(
        self,
        out: Path,
        session: str,
        command: Sequence[str],
        *,
        resume: bool,
        baselines: str | None = None,
        narrowed: str | None = None,
    ) -> None:
        """`session` is a unique name: workers left over from a killed session may still write their shards.

        `baselines`: the folder of the baselines that the workers check against. `narrowed`: what left cases out.
        """
        self.out = OutDir(out)
        self._folder = out / SHARDS / session
        self._resume = resume
        self._order: tuple[str, ...] = ()
        self._before: tuple[CaseResult, ...] = ()
        self._shards: dict[str, Run] = {}
        self._died: dict[str, CaseResult] = {}
        self.run = Run(
            started=now(),
            finished=None,
            command=tuple(command),
            environment={},
            cases=(),
            narrowed=narrowed,
            baselines=baselines,
        )

    @property
    def place(self) -> Place:
        """Where the merged results are."""
        page = self.out.path / "report.html"
        return Place(results=self.out.whole, command=self.run.command, baselines=self.run.baselines, page=page)

    def shard(self, worker: str) -> Path:
        """The file for a worker's results."""
        return self._folder / f"{worker}.json"

    def begin(self, order: Sequence[str]) -> None:
        """Lock the folder for these cases (ids). Raises UsageError as `Session` does."""
        self.out.acquire()
        self._order = tuple(order)
        if self._resume:
            previous = self.out.read_previous(None)
            self._before = previous.cases
            self.run = dataclasses.replace(self.run, started=previous.started)
        else:
            self._write()

    def read(self, worker: str) -> None:
        """Merge a worker's results into results.json, after it has finished a case."""
        if self._read(self.shard(worker)):
            self._merge()

    def died(self, case: Case, worker: str) -> CaseResult:
        """The result of the case during which a worker died: the one it wrote last, if there is one for this case."""
        self._read(self.shard(worker))
        known = self._known(worker, case.id)
        if known is None:
            reason = (
                f"worker {worker} died while running it; if memory ran out, use fewer workers (-n) or --parity-offload"
            )
            known = self._died[case.id] = result_without_output(case, "error", reason)
        self._merge()
        return known

    def close(self) -> Run:
        """Merge everything after the last worker has ended. Closes the run if no case is missing."""
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
            raise MediaError(cannot_write(self.out.whole, error)) from None


def common_environment(environments: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The workers' environments, merged into one if they differ in nothing but the number of the GPU.

    Then `workers` lists their devices. Workers with different kinds of GPU are different runs, as in a merged report.
    """
    kinds = {name: _without_number(environment) for name, environment in environments.items()}
    if len(set(kinds.values())) > 1:
        return {"runs": [{"worker": name, "environment": dict(value)} for name, value in sorted(environments.items())]}
    names = sorted(environments, key=_number)
    devices = {name: environments[name].get("device") for name in names}
    if len(set(devices.values())) < 2:
        return dict(environments[names[0]]) if names else {}
    return {**environments[names[0]], "device": "cuda", "workers": devices}


def _without_number(environment: Mapping[str, Any]) -> str:
    kind = {**environment, "device": str(environment.get("device")).partition(":")[0]}
    return json.dumps(kind, sort_keys=True, default=str)


def _number(worker: str) -> int:
    """The number in a worker's name, 10 for `gw10`."""
    digits = re.search(r"\d+$", worker)
    return int(digits[0]) if digits else 0
