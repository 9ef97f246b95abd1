"""The part of a run that one machine had (`--shard 2/4`), and what is missing of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import UsageError
from pipelines.files.words import plural

MOST_SHARDS = 1000
"""The most parts that a run can be split into."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One of the parts that the cases of a run were split into, and how all of them were split."""

    index: int
    """The number of this part, from 1 on."""
    of: int
    """The number of parts."""
    partition: str
    """Hash of what the cases were split by; parts of one whole have the same."""
    cases: tuple[str, ...]
    """The ids of all cases of the whole, in its order."""
    assigned: tuple[int, ...]
    """The number of the part that each of these cases is in."""

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that no run writes."""
        if not 1 <= self.index <= self.of <= MOST_SHARDS or len(self.assigned) != len(self.cases):
            raise ValueError("not a shard")

    def __str__(self) -> str:
        return f"shard {self.index} of {self.of}"

    def ids(self, index: int | None = None) -> tuple[str, ...]:
        """The ids of the cases in a part, by default in this one."""
        number = self.index if index is None else index
        return tuple(case for case, part in zip(self.cases, self.assigned, strict=True) if part == number)

    @property
    def sentence(self) -> str:
        """What this part is of the whole: `shard 2 of 4: 10 of 40 cases`."""
        return f"{self}: {len(self.ids())} of {plural(len(self.cases), 'case')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardResults:
    """What was read of a part."""

    path: Path
    shard: Shard
    done: frozenset[str]
    """The ids of the cases that it has results of."""


def missing_of(parts: Sequence[ShardResults]) -> tuple[str, ...]:
    """What is missing of the wholes that these parts belong to, one phrase for each part; empty: nothing is.

    Parts of several wholes may be given, if no case is in two of them. Raises UsageError for parts that do not belong
    together, and for a part that is given twice: nothing may count twice.
    """
    wholes: dict[tuple[str, int], dict[int, ShardResults]] = {}
    for part in parts:
        known = wholes.setdefault((part.shard.partition, part.shard.of), {})
        twice = known.setdefault(part.shard.index, part)
        if twice is not part:
            raise UsageError(f"{part.path}: is {part.shard}, and so is {twice.path}; pass one of them")
    _refuse_overlap([next(iter(known.values())) for known in wholes.values()])
    return tuple(phrase for known in wholes.values() for phrase in _missing(known))


def _refuse_overlap(firsts: Sequence[ShardResults]) -> None:
    """Raises UsageError if a case is in two wholes. `firsts`: one part of each."""
    owner: dict[str, ShardResults] = {}
    for part in firsts:
        for case in part.shard.cases:
            other = owner.setdefault(case, part)
            if other is not part:
                raise UsageError(
                    f"{part.path} ({part.shard}) and {other.path} ({other.shard}) do not belong together: the cases "
                    "were split in two ways; run all shards with the same cases, options and --balance"
                )


def _missing(known: dict[int, ShardResults]) -> list[str]:
    """What is missing of one whole, by the numbers of its parts."""
    any_shard = next(iter(known.values())).shard
    phrases = []
    for index in range(1, any_shard.of + 1):
        ids = any_shard.ids(index)
        rest = [case for case in ids if index not in known or case not in known[index].done]
        if not rest:
            continue
        name = f"shard {index} of {any_shard.of}"
        count = plural(len(ids), "case")
        phrases.append(
            f"{name} is missing: {count}" if index not in known else f"{name} lacks {len(rest)} of its {count}"
        )
    return phrases
