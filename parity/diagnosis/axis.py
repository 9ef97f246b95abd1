"""One setting of a search, and the values that are tried for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.drift import Factor
from pipelines.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One value of a setting."""

    label: str
    changes: Mapping[str, Any]
    """Recipe fields."""
    number: float | None = None
    """The value of a numeric setting; it allows values between options to be tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One setting and how to vary it."""

    factor: Factor
    """`shift` is that of any schedule, whose family is an axis of its own."""
    options: Callable[[Recipe], Iterable[Option]]
    between: Callable[[Recipe, float], Option] | None = None
    """Makes an option from a number between others."""
    grain: tuple[float, ...] = ()
    """The steps to which such a number is rounded, likeliest first: people write 0.8, not 0.7931."""
    only_rounds: bool = False
    """True if the options differ by rounding only, in half precision."""
    screened: bool = False
    """True if short runs already separate the options, so that only promising ones are generated in full."""
