"""The figures of the last run of each subset: kept as JSON, and written as the table of docs/performance.md."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.core import ROOT, Row
from parity.results.environment import cpu_name

PAGE = ROOT / "docs" / "performance.md"
KEPT = ROOT / "benchmarks" / "last.json"
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"


def machine() -> str:
    """The machine and its libraries, in a line."""
    memory = psutil.virtual_memory().total / 2**30
    cores = len(os.sched_getaffinity(0))
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "diffusers", "numpy"))
    return f"{cpu_name()}, {cores} cores, {memory:.0f} GiB, Python {platform.python_version()}, {libraries}"


def measured(rows: Sequence[Row], busy: float) -> dict[str, Any]:
    """What is kept of a subset. `busy`: the machine's load before it, in processes."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "busy": round(busy, 1),
        "rows": [dataclasses.asdict(row) for row in rows],
    }


def keep(file: Path, found: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Add subsets to a file of figures, in place of their earlier ones. Returns all it holds."""
    kept: dict[str, dict[str, Any]] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    kept |= found
    file.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return kept


def markdown(subsets: Mapping[str, Mapping[str, Any]]) -> str:
    """The table of the page, and the machine of each subset."""
    lines = ["| subset | what | against | ratio | promised | we | anchor |", "|---|---|---|---|---|---|---|"]
    for name, found in subsets.items():
        for row in found["rows"]:
            cells = [name, row["what"], row["anchor"], ratio(row["ratio"]), row["promise"], row["ours"], row["theirs"]]
            lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    lines.append("")
    machines = dict.fromkeys((found["machine"], found["date"]) for found in subsets.values())
    for where, date in machines:
        names = [name for name, found in subsets.items() if (found["machine"], found["date"]) == (where, date)]
        load = max(subsets[name]["busy"] for name in names)
        lines.append(f"- {', '.join(names)}: {date}, {where}; load before it at most {load:g}.")
    return "\n".join(lines)


def ratio(value: float | None) -> str:
    """A ratio as text: `0.98`, and below a half also as a fraction: `0.083 (1/12)`."""
    if value is None:
        return ""
    if value >= 0.5 or value <= 0:
        return f"{value:.2f}"
    inverse = 1 / value
    return f"{value:.2g} (1/{inverse:.3g})" if inverse < 100 else f"1/{Fraction(round(inverse))}"


def write_page(page: Path, table: str) -> None:
    """Replace the table between the markers of a page. Raises ValueError if it has none."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no lines {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")
