"""The task of a run: what to find out about each case. `Options` in session.py says how to run it."""

from __future__ import annotations

from dataclasses import dataclass

from parity.results.diagnosis import Thoroughness

STILLS = 5
"""Frames of every video of a diagnosis that are kept by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The questions that a run is to answer about each case."""

    diagnose: Thoroughness | None = None
    """The thoroughness of the diagnosis; None: no diagnosis."""
    only_drifted: bool = False
    """True to diagnose only cases that drifted; those are generated twice then."""
    search: bool = False
    """True to search for the settings that generated the preview."""
    budget: float | None = None
    """Full-generation equivalents a diagnosis or search may spend on a case; None: as many as planned."""
    stills: int = STILLS
    """Frames to keep of every video that a diagnosis generates; 0: none."""
    repeat: int | None = None
    """How often to generate a request, to see whether it repeats (`parity.repeat`); None: once."""

    blocks: tuple[int, ...] = ()
    """Transformer blocks of a smoke run, which compares nothing with the preview; none: a whole generation."""

    @property
    def begins_with_the_request(self) -> bool:
        """True if the first generation of a case is its request, whole and in this process."""
        return not self.blocks and self.repeat is None and not self.search and self.diagnose != "quick"
