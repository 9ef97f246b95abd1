"""One run on many workers: hands cases out, takes results in, replaces workers that die."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from parity.case.load import Case
from parity.cluster.dispatch import Held, Waiting, held_for
from parity.cluster.mailbox import Mailbox
from parity.cluster.messages import Doing, Message, Planned, Work, Worker
from parity.cluster.ray_cluster import Share
from parity.cluster.results import Results
from parity.cluster.worker import Runner
from parity.comparison.outcome import cut_short, ended_itself
from parity.results.case import CaseResult
from pipelines.errors import DeviceError, ParityError, UnexpectedError
from pipelines.files.words import sentence

POLL_S = 0.5
"""Seconds between looks into the mailbox."""
STOPPING_S = 20.0
"""Seconds that workers have after Ctrl-C to hand in what they have found out."""
CLOSING_S = 5.0
"""Seconds that workers have to close at the end of a run."""
_OUT_OF_MEMORY = "running low on memory"
"""Part of what Ray 2.60 says of a process that its memory monitor killed (95 % of the machine's memory)."""
STARTS = 3
"""Workers that may die in a row before one is ready."""


class Watcher(Protocol):
    """A listener for a run on several workers. `worker` is as in `Worker.__str__`."""

    def joined(self, worker: Worker) -> None: ...

    def waiting_for_workers(self, seconds: float) -> None:
        """No worker is ready yet, since so many seconds."""

    def lost(self, worker: str, why: str) -> None: ...

    def case_started(self, worker: Worker, case: Case) -> None: ...

    def doing(self, worker: Worker, case: Case, words: str) -> None: ...

    def planned(self, worker: Worker, case: Case, plan: str, generations: float | None) -> None: ...

    def case_finished(self, worker: Worker | None, result: CaseResult) -> None:
        """`worker` None: a result of a case that no worker could finish."""

    def stopping(self, workers: int) -> None:
        """The run is being stopped; so many workers hand in what they have."""


@dataclass(slots=True)
class _Hand:
    """A worker, as the driver sees it."""

    number: int
    actor: Any
    worker: Worker | None = None
    """None: it is starting."""
    case: Case | None = None
    """None: it is idle."""
    held: Held | None = None
    result: CaseResult | None = None
    """The newest of its case."""
    is_kept: bool = True
    """True if the folder has that result."""

    @property
    def name(self) -> str:
        return str(self.worker or f"worker {self.number}")


class Driver:
    """Runs cases on the workers of a Ray cluster. Use it as a context manager, so that no worker is left behind."""

    def __init__(self, ray: Any, share: Share, work: Work, results: Results, watcher: Watcher) -> None:
        self._ray, self._share, self._work = ray, share, work
        self._results, self._watcher = results, watcher
        self._runner = ray.remote(Runner).options(num_cpus=share.cpus, num_gpus=share.gpus, max_restarts=0)
        self._mailbox = ray.remote(Mailbox).options(num_cpus=0).remote()
        self._hands: dict[Any, _Hand] = {}
        """By the reference that Ray gives for what they do now."""
        self._idle: list[_Hand] = []
        self._started = self._failed = 0
        self._deaths: dict[str, list[str]] = {}
        """The workers that died over a case, by its id."""
        self._hosts: set[str] = set()
        self._mail: deque[Message] = deque()
        self._at_once = False
        self._why = ""
        """Ray's words on the last worker that died before it was ready."""
        self._waiting = Waiting(())
        self._began = time.monotonic()

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *_: object) -> None:
        """Let idle workers delete their folders, if there is time, and end all."""
        hands = [*self._idle, *self._hands.values()]
        closing = [] if self._at_once else [hand.actor.close.remote() for hand in self._idle]
        try:
            if closing:
                self._ray.wait(closing, num_returns=len(closing), timeout=CLOSING_S)
        finally:
            for actor in (*(hand.actor for hand in hands), self._mailbox):
                self._ray.kill(actor)

    def run(self, cases: Sequence[Case]) -> None:
        """Run cases. Results are kept as they come, in any order.

        A KeyboardInterrupt lets the workers hand in what they have and is raised again; a second one is raised at once.
        """
        self._waiting = Waiting([(case, held_for(case)) for case in cases])
        for _ in range(min(self._share.workers, len(cases))):
            self._start()
        try:
            while self._waiting or any(hand.case is not None for hand in self._hands.values()):
                ready, _ = self._ray.wait(list(self._hands), num_returns=1, timeout=POLL_S)
                self._read_mail()
                for reference in ready:
                    self._settle(reference)
                for hand in self._hands.values():
                    self._keep_partial(hand)
                self._hand_out()
                if self._waiting and not self._hands:
                    raise DeviceError(f"--on ray: no worker is left, and the last {STARTS} died at once: {self._why}")
                if all(hand.worker is None for hand in (*self._idle, *self._hands.values())):
                    self._watcher.waiting_for_workers(time.monotonic() - self._began)
        except KeyboardInterrupt:
            self._at_once = True  # another one while the workers hand in what they have
            self._stop()
            self._at_once = False
            raise

    def _start(self) -> None:
        self._started += 1
        hand = _Hand(self._started, self._runner.remote(self._started, self._work, self._mailbox))
        self._hands[hand.actor.start.remote()] = hand

    def _hand_out(self) -> None:
        """Give each idle worker a case, and replace those that died while cases wait."""
        for hand in tuple(self._idle):
            others = [other.held for other in (*self._hands.values(), *self._idle) if other.held and other is not hand]
            case = self._waiting.take(hand.held, others)
            if case is None:
                return
            assert hand.worker is not None
            self._idle.remove(hand)
            hand.case, hand.held, hand.result = case, held_for(case), None
            self._hands[hand.actor.run.remote(case)] = hand
            self._watcher.case_started(hand.worker, case)
        starting = sum(hand.worker is None for hand in self._hands.values())
        if len(self._hands) < self._share.workers and starting < len(self._waiting) and self._failed < STARTS:
            self._start()

    def _settle(self, reference: Any) -> None:
        """A worker is ready, has finished its case, or has died."""
        hand = self._hands.pop(reference)
        try:
            answer = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause
            raise cause if isinstance(cause, ParityError) else UnexpectedError(f"{hand.name}: {cause}", cause) from None
        except self._ray.exceptions.RayError as error:
            self._lose(hand, error)
            return
        if hand.worker is None:
            self._join(hand, answer)
        else:
            assert hand.case is not None
            assert hand.result is not None
            self._finish(hand, hand.result)
        self._idle.append(hand)

    def _join(self, hand: _Hand, worker: Worker) -> None:
        self._failed = 0
        hand.worker = worker
        self._hosts.add(worker.host)
        self._results.joined(worker)
        self._watcher.joined(worker)

    def _finish(self, hand: _Hand, result: CaseResult) -> None:
        """Keep the last result of a worker's case."""
        deaths = self._deaths.get(result.id)
        if deaths:
            result = _noted(result, f"{deaths[0]} died while running it; {hand.name} ran it again")
        if result.status == "error" and len(self._hosts) > 1:
            result = _noted(result, f"it was run by {hand.name}")
        result = self._results.keep(result, hand.worker)
        hand.case = None
        self._watcher.case_finished(hand.worker, result)

    def _keep_partial(self, hand: _Hand) -> None:
        """Keep the newest result of a case that goes on, or that was stopped: of a diagnosis, for instance."""
        if hand.result is not None and not hand.is_kept:
            self._results.keep(hand.result, hand.worker, done=False)
            hand.is_kept = True

    def _lose(self, hand: _Hand, error: Exception) -> None:
        """A worker died. Its case is run once more by another."""
        died = "was ended by Ray, because its machine ran low on memory" if _OUT_OF_MEMORY in str(error) else "died"
        case = hand.case
        if hand.worker is None or case is None:
            self._failed, self._why = self._failed + 1, sentence(error, 300)
            self._watcher.lost(hand.name, f"{died} before it was ready")
            return
        if hand.result is not None and ended_itself(hand.result):
            self._watcher.lost(hand.name, "ended itself")
            self._finish(hand, hand.result)
            return
        deaths = self._deaths.setdefault(case.id, [])
        deaths.append(hand.name)
        if len(deaths) < 2:
            self._watcher.lost(hand.name, f"{died} while running {case.id}, which another worker runs again")
            self._waiting.put_back(case, held_for(case))
        else:
            self._watcher.lost(hand.name, f"{died} while running {case.id}, as one did before")
            self._give_up(hand, case, deaths)

    def _give_up(self, hand: _Hand, case: Case, deaths: Sequence[str]) -> None:
        """Two workers died over a case: what is known of it is its result, else an error is."""
        reason = f"worker died twice while running it: {deaths[0]}, then {deaths[1]}; did memory run out (--offload)?"
        result = cut_short(case, hand.result, reason, self._work.task.diagnose)
        self._watcher.case_finished(None, self._results.keep(result, hand.worker))

    def _read_mail(self) -> None:
        try:
            self._mail += self._ray.get(self._mailbox.take.remote())
        except self._ray.exceptions.RayError as error:
            raise DeviceError(
                f"the Ray cluster is gone ({sentence(error, 200)}); results so far are kept: --resume"
            ) from None
        hands = {hand.number: hand for hand in self._hands.values()}
        while self._mail:  # Ctrl-C in between leaves the rest to the next call
            message = self._mail.popleft()
            hand = hands.get(message.worker)
            if hand is None or hand.worker is None or hand.case is None or message.case != hand.case.id:
                continue
            if isinstance(message, Doing):
                self._watcher.doing(hand.worker, hand.case, message.words)
            elif isinstance(message, Planned):
                self._watcher.planned(hand.worker, hand.case, message.plan, message.generations)
            else:
                self._results.place(message, first=hand.result is None)
                hand.result, hand.is_kept = message.result, False

    def _stop(self) -> None:
        """Let the workers hand in what they have found out, and keep it."""
        busy = [reference for reference, hand in self._hands.items() if hand.case is not None]
        self._watcher.stopping(len(busy))
        self._ray.get(self._mailbox.stop.remote())
        deadline = time.monotonic() + STOPPING_S
        while busy and time.monotonic() < deadline:
            ready, busy = self._ray.wait(busy, num_returns=1, timeout=POLL_S)
            self._read_mail()
            for reference in ready:
                self._hand_in(self._hands.pop(reference), reference)
        for hand in self._hands.values():  # those that did not stop in time
            self._keep_partial(hand)

    def _hand_in(self, hand: _Hand, reference: Any) -> None:
        """A worker has stopped, or has finished its case just before."""
        try:
            whole = self._ray.get(reference)
        except self._ray.exceptions.RayError:
            self._keep_partial(hand)
            return
        if whole and hand.result is not None:
            self._finish(hand, hand.result)
        else:
            self._keep_partial(hand)
        self._idle.append(hand)


def _noted(result: CaseResult, note: str) -> CaseResult:
    return dataclasses.replace(result, notes=(*result.notes, note))
