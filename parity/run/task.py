"""What a run is to find out about each case (`Options` in session.py says how it is run)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Thoroughness = Literal["full", "gains", "quick"]
"""full: each factor fixed alone (gain) and broken alone (loss). gains: only the gains, half the generations.
quick: a ranking by latents, for two generations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What to find out about each case."""

    diagnose: Thoroughness | None = None
    """Whether to find out why the videos differ, and how thoroughly."""
    only_drifted: bool = False
    """Whether to diagnose only cases that drifted; those are generated twice then."""
    search: bool = False
    """Whether to search for the settings that generated the preview."""
    budget: float | None = None
    """Full-generation equivalents a diagnosis or search may spend on a case; None: as many as planned."""
    repeat: int | None = None
    """How often to generate a request, to see whether it repeats (`parity.repeat`); None: once."""
