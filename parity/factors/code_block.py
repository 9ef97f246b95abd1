"""What to change, as Python: the value that the modules of code for one factor or another make."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.drift import Factor


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Lines of Python that belong together."""

    factors: frozenset[Factor]
    """The factors that they change."""
    place: str
    """The sentence above them, which says where they go."""
    lines: tuple[str, ...]
    imports: tuple[str, ...] = ()
    """Each `module`, or `module:name`."""
    helpers: tuple[str, ...] = ()
    """Functions that the lines call, defined once for all blocks."""
