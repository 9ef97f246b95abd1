"""Results of several workers: each writes its own file, and the process that started them merges these into one run."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parity.case.load import Case
from parity.comparison.outcome import cut_short, ended_itself
from parity.results import journal
from parity.results.case import CaseResult, Run, now
from parity.results.merge import read_head
from parity.results.next_steps import Place
from parity.results.shard import Shard
from parity.run.ledger import Ledger
from parity.run.outdir import SHARES, OutDir
from parity.run.task import Task
from pipelines.errors import MediaError
from pipelines.files.words import plural


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


class Shares:
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
        part: Shard | None = None,
    ) -> None:
        """`session` is a unique name: workers left over from a killed session may still write their shares.

        `baselines`: the folder of the baselines that the workers check against. `narrowed`: what left cases out.
        `part`: the part of the cases that all workers have together.
        """
        self.out = OutDir(out)
        self._folder = out / SHARES / session
        self._resume = resume
        self._order: tuple[str, ...] = ()
        self._workers: dict[str, _Worker] = {}
        self._environments: dict[str, Mapping[str, Any]] = {}
        self._done: set[str] = set()
        head = Run(
            started=now(),
            finished=None,
            command=tuple(command),
            environment={},
            cases=(),
            narrowed=narrowed,
            baselines=baselines,
            shard=part,
        )
        self._ledger = Ledger(self.out.whole, head)

    @property
    def place(self) -> Place:
        """Where the merged results are."""
        head, page = self._ledger.head, self.out.path / "report.html"
        return Place(results=self.out.whole, command=head.command, baselines=head.baselines, page=page)

    def share(self, worker: str) -> Path:
        """The file for a worker's results."""
        return self._folder / f"{worker}.json"

    @property
    def run(self) -> Run:
        """The run with the cases so far."""
        return self._ledger.run

    def begin(self, order: Sequence[str]) -> Run | None:
        """Lock the folder for these cases (ids). Returns the run that is resumed.

        Raises UsageError as `Session` does.
        """
        self.out.acquire()
        self._order = tuple(order)
        if not self._resume:
            self._ledger.begin()
            return None
        previous = self.out.read_previous(None)
        self.out.refuse_another_part(previous, self._ledger.head.shard)
        self._ledger.begin(previous.cases, previous.started)
        self._ledger.update(previous.environment)
        return previous

    def join(self, worker: str, environment: Mapping[str, Any]) -> None:
        """Merge the environment of a worker into that of the run."""
        self._environments[worker] = environment
        self._ledger.update(common_environment(self._environments))

    def read(self, worker: str) -> None:
        """Add to results.json what a worker has finished since the last time."""
        path = self.share(worker)
        if worker not in self._workers:
            if not path.exists():
                return
            self._workers[worker] = _Worker(read_head(path))
            self.join(worker, self._workers[worker].head.environment)
        known = self._workers[worker]
        try:
            results, known.offset = journal.read(path, known.head.started, known.offset)
        except (OSError, ValueError) as error:
            raise MediaError(f"{journal.journal_of(path)}: the results of {worker} cannot be read: {error}") from None
        for result in results:
            known.done.add(result.id)
            self.keep(result)

    def keep(self, result: CaseResult, *, done: bool = True) -> None:
        """Add a worker's result of a case. `done` False: the case goes on."""
        if done:
            self._done.add(result.id)
        self._ledger.keep(result)

    def died(self, case: Case, worker: str, task: Task) -> CaseResult:
        """The result of the case during which a worker died: the one it wrote last, if there is one for this case.

        If a diagnosis was to follow, it says that this was cut short.
        """
        self.read(worker)
        known = self._workers.get(worker)
        result = self._ledger.case(case.id) if known is not None and case.id in known.done else None
        diagnosing = task.diagnose is not None and not (task.only_drifted and result and result.status != "drifted")
        if result is None or (diagnosing and not ended_itself(result)):
            reason = (
                f"worker {worker} died while running it; if memory ran out, use fewer workers (-n) or --parity-offload"
            )
            result = cut_short(case, result, reason, task.diagnose)
            self.keep(result)
        return result

    def close(self) -> Run:
        """Add everything after the last worker has ended. Closes the run if no case is missing."""
        try:
            for path in sorted(self._folder.glob("*.json")):
                self.read(path.stem)
            run = self._ledger.close(self._order, now() if self._done.issuperset(self._order) else None)
            self.out.clear()
        finally:
            self.out.release()
        return run


@dataclasses.dataclass(slots=True)
class _Worker:
    """What was read of a worker's results."""

    head: Run
    offset: int = 0
    done: set[str] = dataclasses.field(default_factory=set)


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
