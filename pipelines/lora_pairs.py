"""Which LoRA of one recipe is compared with which of another: equal files first, the rest in order."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.recipe import LoraFile

Lora = tuple[LoraFile, float]
"""A file and its scale."""
Pair = tuple[Lora | None, Lora | None]
"""One LoRA of each side; None: that side has no counterpart."""


def pairs(ours: Sequence[Lora], theirs: Sequence[Lora]) -> list[Pair]:
    """Pair the LoRAs of one transformer, in our order, then what only they have."""
    left = list(theirs)
    found: list[Lora | None] = [_pop_equal(left, file) for file, _ in ours]
    found = [other or (left.pop(0) if left else None) for other in found]
    return [*zip(ours, found, strict=True), *((None, other) for other in left)]


def _pop_equal(loras: list[Lora], file: LoraFile) -> Lora | None:
    place = next((number for number, (other, _) in enumerate(loras) if other == file), None)
    return None if place is None else loras.pop(place)


def without_file(ours: Sequence[Lora], theirs: Sequence[Lora]) -> bool:
    """True if only one side has LoRAs: then the file is what differs, and neither scale nor number is compared."""
    return bool(ours) != bool(theirs)


def files_differ(ours: Sequence[Lora], theirs: Sequence[Lora]) -> bool:
    """True if a LoRA has another file for a counterpart, or if only one side has LoRAs."""
    return without_file(ours, theirs) or any(one[0] != other[0] for one, other in _matched(ours, theirs))


def scales_differ(ours: Sequence[Lora], theirs: Sequence[Lora]) -> bool:
    """True if a LoRA has another scale than its counterpart."""
    return any(one[1] != other[1] for one, other in _matched(ours, theirs))


def extras_differ(ours: Sequence[Lora], theirs: Sequence[Lora]) -> bool:
    """True if both sides have LoRAs, and one has more."""
    return not without_file(ours, theirs) and len(ours) != len(theirs)


def _matched(ours: Sequence[Lora], theirs: Sequence[Lora]) -> list[tuple[Lora, Lora]]:
    return [(one, other) for one, other in pairs(ours, theirs) if one is not None and other is not None]


def take_files(ours: Sequence[Lora], theirs: Sequence[Lora]) -> tuple[Lora, ...]:
    """Our LoRAs with their files; a file comes with its scale only where we have no LoRA at all, or they have none."""
    if without_file(ours, theirs):
        return tuple(theirs)
    return _in_order([(other or one)[:1] + one[1:] for one, other in pairs(ours, theirs) if one], theirs)


def take_scales(ours: Sequence[Lora], theirs: Sequence[Lora]) -> tuple[Lora, ...]:
    """Our LoRAs at their counterparts' scales."""
    return _in_order([one[:1] + (other or one)[1:] for one, other in pairs(ours, theirs) if one], theirs)


def take_extras(ours: Sequence[Lora], theirs: Sequence[Lora]) -> tuple[Lora, ...]:
    """Our LoRAs without those that they lack, and with those that we lack."""
    if without_file(ours, theirs):
        return tuple(ours)
    kept = [one or other for one, other in pairs(ours, theirs) if other is not None]
    return _in_order([lora for lora in kept if lora is not None], theirs)


def _in_order(taken: Sequence[Lora], theirs: Sequence[Lora]) -> tuple[Lora, ...]:
    """The LoRAs, in the other side's order where they are the same ones: another order rounds differently."""
    left = list(taken)
    for lora in theirs:
        if lora in left:
            left.remove(lora)
    return tuple(theirs) if not left and len(taken) == len(theirs) else tuple(taken)
