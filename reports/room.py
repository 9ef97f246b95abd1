"""What the page holds of each case: everything, a row with a short section, or no more than that it is counted.

A page has a limit, and ten thousand cases do not fit into it with everything. What passed gives up its details first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Protocol

from reports.case_view import CaseView

_IN_VAIN = 20
"""Cases in a row whose details do not fit, after which no more are rendered to see whether theirs do."""

SLACK = 512
"""Bytes that are set aside for what the stills of a case bring along: thumbnails, the sentence about those left out."""


class Level(IntEnum):
    """What the page holds of a case."""

    COUNTED = 0
    """Nothing: it is in the numbers alone."""
    BRIEF = 1
    """Its row, and a section that says what happened and where the rest is."""
    WHOLE = 2
    """Its row, and a section with all details."""


class Sizes(Protocol):
    """How many bytes a case takes, without its stills."""

    def of(self, one: CaseView, level: Level, /) -> int:
        """The bytes of a case at a level."""


def share(cases: Sequence[CaseView], sizes: Sizes, room: int) -> tuple[dict[int, Level], int]:
    """Share `room` (bytes) among cases, which are in the order of the page. Returns their levels, by their places in
    the run, and the room that is left for stills.

    First come the rows of the cases that failed, then as many others as half of what is left holds; then the details
    of those that failed, which set aside what the stills of their worst frame take; then the other rows, and last the
    other details.
    """
    levels = dict.fromkeys((one.index for one in cases), Level.COUNTED)
    failed = [one for one in cases if one.case.failed]
    others = [one for one in cases if not one.case.failed]
    room = _listed(failed, sizes, room, levels)
    half = room // 2
    room -= half - _listed(others, sizes, half, levels)
    reserved = {one.index: one.stills.pair_size for one in failed}
    room = _with_details(failed, sizes, room, levels, reserved)
    room = _listed(others, sizes, room, levels)
    room = _with_details(others, sizes, room, levels, {})
    return levels, room + sum(reserved[one.index] for one in failed if levels[one.index] is Level.WHOLE)


def _listed(cases: Iterable[CaseView], sizes: Sizes, room: int, levels: dict[int, Level]) -> int:
    """Give rows to the first cases that have none, until one does not fit. Returns the room that is left."""
    for one in cases:
        if levels[one.index] is not Level.COUNTED:
            continue
        size = sizes.of(one, Level.BRIEF)
        if size > room:
            break
        levels[one.index] = Level.BRIEF
        room -= size
    return room


def _with_details(
    cases: Iterable[CaseView], sizes: Sizes, room: int, levels: dict[int, Level], reserved: Mapping[int, int]
) -> int:
    """Give details to the cases that have a row, as many as fit. Returns the room that is left."""
    in_vain = 0
    for one in (one for one in cases if levels[one.index] is Level.BRIEF):
        more = sizes.of(one, Level.WHOLE) - sizes.of(one, Level.BRIEF) + reserved.get(one.index, 0)
        more += SLACK if one.stills.found else 0
        if more <= room:
            levels[one.index] = Level.WHOLE
            room -= more
            in_vain = 0
        else:
            in_vain += 1
            if in_vain == _IN_VAIN:
                break
    return room
