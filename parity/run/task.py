"""What a run is asked to find out, as against how it is to be run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Thoroughness = Literal["full", "gains", "quick"]
"""full: gains and losses. gains: half the generations. quick: a ranking by latents, for two generations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What to find out about each case."""

    diagnose: Thoroughness | None = None
    """Whether to find out why, and how thoroughly."""
    only_drifted: bool = False
    """Whether to diagnose only cases that drifted; those are generated twice then."""
    search: bool = False
    """Whether to look for the settings that generated the preview."""
    budget: float | None = None
    """Full-generation equivalents a diagnosis or search may spend on a case; None: what its plan says."""
    repeat: int | None = None
    """How often to generate a request, to see whether it repeats (`parity.repeat`); None: once."""
