"""What the kit measured: kept as JSON, shown as a table. Written whole after every figure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu.plan import SECTIONS
from pipelines.files.content import write_atomically

RESULTS, TABLE = "results.json", "table.md"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    what: str
    """What was measured, e.g. "merged, 3 steps"."""
    figure: str
    """What came out, for people."""
    note: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    """The same as plain numbers and words, for programs."""


@dataclass(slots=True)
class Outcome:
    """What became of one section."""

    name: str
    status: str
    """running, done, failed, stopped (at its limit), or left out."""
    reason: str = ""
    seconds: float | None = None
    rows: list[Row] = field(default_factory=list)


class Record:
    """The outcomes of all sections so far, those of earlier calls with the same folder included."""

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self._folder = folder
        self._about = dict(about)
        self._outcomes: dict[str, Outcome] = {}
        before = folder / RESULTS
        if before.is_file():
            document = json.loads(before.read_text(encoding="utf-8"))
            kept = ("device", "small")
            if all(document["about"].get(key) == self._about.get(key) for key in kept):
                self._outcomes = {outcome.name: outcome for outcome in _outcomes(document)}

    def done(self, name: str) -> bool:
        """True if a section was measured to its end."""
        return name in self._outcomes and self._outcomes[name].status == "done"

    def begin(self, name: str) -> Outcome:
        """Start a section anew."""
        self._outcomes[name] = Outcome(name, "running")
        self.write()
        return self._outcomes[name]

    def leave_out(self, name: str, reason: str) -> None:
        """Say why a section was not measured, unless an earlier call measured it."""
        if name not in self._outcomes or not self._outcomes[name].rows:
            self._outcomes[name] = Outcome(name, "left out", reason)
            self.write()

    def write(self) -> None:
        """Write both files."""
        self._folder.mkdir(parents=True, exist_ok=True)
        ordered = [self._outcomes[section.name] for section in SECTIONS if section.name in self._outcomes]
        document = {
            "schema_version": 1,
            "about": self._about,
            "sections": [dataclasses.asdict(outcome) for outcome in ordered],
        }
        write_atomically(self._folder / RESULTS, (json.dumps(document, indent=1) + "\n").encode())
        write_atomically(self._folder / TABLE, table(document).encode())


def _outcomes(document: Mapping[str, Any]) -> Iterable[Outcome]:
    for section in document["sections"]:
        yield Outcome(**section | {"rows": [Row(**row) for row in section["rows"]]})


def merged(documents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One document from those of several calls: of each section the last that has figures, else the last."""
    found: dict[str, Any] = {}
    about: dict[str, Any] = {}
    for document in documents:
        about |= document["about"]
        for section in document["sections"]:
            if section["rows"] or not found.get(section["name"], {}).get("rows"):
                found[section["name"]] = section
    ordered = [found[section.name] for section in SECTIONS if section.name in found]
    return {"schema_version": 1, "about": about, "sections": ordered}


def table(document: Mapping[str, Any]) -> str:
    """A document of results.json as Markdown."""
    titles = {section.name: section.title for section in SECTIONS}
    about = document["about"]
    lines = [f"Measured on {about.get('machine') or about['device']}, {about['started'][:10]}{_in_small(about)}.", ""]
    lines += ["| what | figure | remarks |", "|---|---|---|"]
    for section in document["sections"]:
        took = "" if section["seconds"] is None else f"{section['seconds']:.0f} s"
        status = "" if section["status"] == "done" else section["status"]
        said = ": ".join(filter(None, (status, section["reason"])))
        lines.append(f"| **{titles[section['name']]}** | {took} | {_cell(said)} |")
        lines += [
            f"| {_cell(row['what'])} | {_cell(row['figure'])} | {_cell(row['note'])} |" for row in section["rows"]
        ]
    missing = [section.title for section in SECTIONS if section.name not in {s["name"] for s in document["sections"]}]
    if missing:
        lines += ["", f"Not measured: {'; '.join(missing)}."]
    return "\n".join(lines) + "\n"


def _in_small(about: Mapping[str, Any]) -> str:
    return ", in small: the figures mean nothing" if about.get("small") else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


BEGIN, END = "<!-- gpu: benchmarks/gpu fills this -->", "<!-- /gpu -->"


def filled(page: str, content: str) -> str:
    """A page with the table between its two markers replaced. Raises ValueError if it has none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks {BEGIN} … {END}")
    return f"{before}{BEGIN}\n{content.strip()}\n{END}{after}"
