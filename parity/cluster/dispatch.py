"""Which case goes to which worker: the checkpoint that a worker has loaded first, then the LoRA merged into it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from parity.case.load import Case
from pipelines.engine.engine import Engine
from pipelines.limits import within_limits


@dataclass(frozen=True, slots=True)
class Held:
    """What a worker needs in memory for a case."""

    checkpoint: Hashable
    """Cases with equal ones share a loaded checkpoint."""
    lora: Hashable
    """Cases with equal ones share the LoRA fitted to it, and how it is applied."""


def held_for(case: Case) -> Held:
    """What a worker holds once it has generated a case's request."""
    recipe = within_limits(case.inference)
    lora = (recipe.lora_files, recipe.lora_scales, recipe.lora_application, recipe.earlier_merges)
    return Held(Engine.load_key(recipe), lora)


class Waiting:
    """The cases that no worker has yet."""

    def __init__(self, cases: Iterable[tuple[Case, Held]]) -> None:
        """Groups of equal checkpoint and LoRA come in the order of their first case, cases in the order given."""
        self._groups: dict[Hashable, dict[Hashable, deque[Case]]] = {}
        for case, held in cases:
            self._groups.setdefault(held.checkpoint, {}).setdefault(held.lora, deque()).append(case)

    def __len__(self) -> int:
        return sum(len(cases) for group in self._groups.values() for cases in group.values())

    def take(self, held: Held | None, others: Sequence[Held]) -> Case | None:
        """The next case for a worker that holds this, while the other workers hold `others`. None: none is left.

        A worker stays with its checkpoint, and with its LoRA, while cases of them wait. Then it goes where most cases
        wait for each worker that is there already.
        """
        if not self._groups:
            return None
        checkpoints = Counter(other.checkpoint for other in others)
        checkpoint = held.checkpoint if held is not None and held.checkpoint in self._groups else None
        if checkpoint is None:
            sizes = {key: sum(map(len, group.values())) for key, group in self._groups.items()}
            checkpoint = max(sizes, key=lambda key: sizes[key] / (1 + checkpoints[key]))
        group = self._groups[checkpoint]
        loras = Counter(other.lora for other in others if other.checkpoint == checkpoint)
        lora = held.lora if held == Held(checkpoint, held and held.lora) and held.lora in group else None
        if lora is None:
            lora = max(group, key=lambda key: len(group[key]) / (1 + loras[key]))
        case = group[lora].popleft()
        if not group[lora]:
            del group[lora]
        if not group:
            del self._groups[checkpoint]
        return case

    def put_back(self, case: Case, held: Held) -> None:
        """Let another worker run a case, before all others of its checkpoint and LoRA."""
        self._groups.setdefault(held.checkpoint, {}).setdefault(held.lora, deque()).appendleft(case)
