"""The result of a check: one line, with what to do unless all is well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, get_args

Status = Literal["ok", "warning", "problem", "skipped"]
"""`skipped` is what an option left out, or what needs something that does not work; the line says which."""
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the doctor's."""

    name: str
    status: Status
    found: str
    to_do: str | None = None
    """The command or setting that helps; None: nothing is to be done."""

    @property
    def text(self) -> str:
        """What was found and what to do, as one line."""
        return self.found if self.to_do is None else f"{self.found}; to do: {self.to_do}"


class Waiting(Protocol):
    """Takes note of what a slow check waits for."""

    def __call__(self, what: str, detail: str = "") -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the doctor was asked."""

    device: str = "auto"
    """`auto` for the CPU and every CUDA device, or the one device that counts."""
    quick: bool = False
    """Leave out what takes longer than a few seconds."""
    offline: bool = False
    """Ask nothing of the network."""
    out: Path | None = None
    """The folder that runs write to, if it is not the default."""
    environ: Mapping[str, str] = field(default_factory=dict)
    """The environment variables as the command found them: the engine sets some of them."""
    waiting: Waiting = lambda what, detail="": None  # noqa: ARG005
    """Called with what a slow check waits for, and with a detail that changes often."""


def ok(name: str, found: str) -> Check:
    """A check that found nothing wrong."""
    return Check(name=name, status="ok", found=found)


def warning(name: str, found: str, to_do: str) -> Check:
    """A check that found what limits or slows down, or changes bits."""
    return Check(name=name, status="warning", found=found, to_do=to_do)


def problem(name: str, found: str, to_do: str) -> Check:
    """A check that found what makes commands fail or their results wrong."""
    return Check(name=name, status="problem", found=found, to_do=to_do)


def skipped(name: str, found: str, to_do: str | None = None) -> Check:
    """A check that was not made, and why."""
    return Check(name=name, status="skipped", found=found, to_do=to_do)
