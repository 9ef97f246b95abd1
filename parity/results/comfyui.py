"""What to set in ComfyUI for a preview, as results.json holds it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ComfySetting:
    """One value to set in ComfyUI."""

    node: str
    """The node: its title, or its class, id and title in the case's own graph."""
    kind: str
    """The node's class, e.g. `KSampler`."""
    name: str
    """The widget, e.g. `scheduler`."""
    value: str
    """What gives the preview."""
    now: str | None = None
    """What the case's own graph says; null: the case has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComfyAdvice:
    """What to set in ComfyUI for a preview, and what cannot be had there."""

    answer: str
    """What can be had, in one sentence."""
    settings: tuple[ComfySetting, ...] = ()
    """Every value to set, node by node; empty: nothing there gives the preview."""
    changes: tuple[ComfySetting, ...] = ()
    """What to change in the case's own graph; empty: nothing, or the case has none."""
    missing: tuple[str, ...] = ()
    """What differs all the same, in more than rounding, and why."""
    first: tuple[str, ...] = ()
    """What no node does: how to start ComfyUI, which files it needs."""
    rounding: tuple[str, ...] = ()
    """What rounds in another way."""
