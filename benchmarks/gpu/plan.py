"""The sections of the kit, those that are worth most first. Imports nothing heavy."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipelines.errors import UsageError
from pipelines.files.words import did_you_mean


@dataclass(frozen=True, slots=True)
class Section:
    """One section: a function that yields rows."""

    name: str
    title: str
    seconds: float
    """The most it may take; then it is stopped, and the next begins."""
    least: float
    """It does not begin with less time left than this, in seconds."""
    function: str
    """`module:function` below this package."""


SECTIONS: tuple[Section, ...] = (
    Section("machine", "Machine", 40, 10, "machine:machine"),
    Section("repeat", "The same recipe in two fresh processes", 80, 20, "demo:repeat"),
    Section("cpu", "The same recipe on CPU and GPU", 60, 10, "demo:against_cpu"),
    Section("offload", "Offload modes, on the demo", 30, 10, "modes:offload"),
    Section("noise", "Noise from the GPU's generator", 20, 5, "modes:noise"),
    Section("real-1.3b", "Wan 2.1 1.3B at its real size", 120, 30, "real:small_model"),
    Section("real-14b", "Wan 2.1 14B at its real size", 150, 80, "real:large_model"),
    Section("server", "The server, and a process of it that is killed", 70, 20, "server:serve"),
    Section("quantized", "Quantized weights", 60, 15, "modes:quantized"),
    Section("demo", "The whole demo", 70, 20, "demo:whole"),
    Section("switch", "Changing the LoRA", 40, 10, "modes:switch"),
    Section("compiled", "Compiled transformers", 110, 30, "modes:compiled"),
    Section("real-a14b", "Wan 2.2 A14B, two experts, at its real size", 160, 100, "real:experts"),
)
"""In the order in which they run; a section's number is its place here."""


def chosen(only: str | None) -> list[int]:
    """The numbers of the sections that `--only` names, by number or name. Raises UsageError for another."""
    if only is None:
        return list(range(len(SECTIONS)))
    names = [section.name for section in SECTIONS]
    found = []
    for word in filter(None, re.split(r"[,\s]+", only)):
        if word in names:
            found.append(names.index(word))
        elif word.isdigit() and int(word) < len(SECTIONS):
            found.append(int(word))
        else:
            raise UsageError(f"--only {word}: no such section{did_you_mean(word, names)}; --list shows them")
    return sorted(set(found))


def listing() -> str:
    """The sections as text."""
    lines = [f"{number:3}  {section.name:10} {section.title}" for number, section in enumerate(SECTIONS)]
    return "\n".join(lines)
