"""The parts of the page that belong to one case, and how many bytes they take: each is rendered once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from parity.results.case import CaseResult, Run
from parity.results.json_text import around_cases, case_to_json
from reports.baseline_view import approval_data
from reports.case_view import CaseView, Details
from reports.room import Level

# What could end a script element early, or end a line in old JavaScript.
_UNSAFE = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


class Pieces:
    """The pieces of all cases. `levels` says, by their places in the run, what the page holds of them."""

    def __init__(
        self, run: Run, environment: Environment, context: Mapping[str, Any], levels: dict[int, Level]
    ) -> None:
        self.levels = levels
        self._run = run
        self._context = context
        self._templates = {name: environment.get_template(f"{name}.html") for name in ("row", "section", "brief")}
        self._kept: dict[tuple[str, int], Markup] = {}
        self._sizes: dict[tuple[int, Level], int] = {}

    def of(self, one: CaseView, level: Level) -> int:
        """The bytes of a case at a level, while it has no stills in the page."""
        if level is Level.COUNTED:
            return 0
        if (one.index, level) not in self._sizes:
            section, data = self._section(one, level), self._data(one.index, one.case, level)
            parts = (section, data, self.row(one), self._approval(one))
            self._sizes[one.index, level] = sum(map(size_of, parts))
        return self._sizes[one.index, level]

    def listed(self, cases: Sequence[CaseView]) -> list[CaseView]:
        """Those that have a row."""
        return [one for one in cases if self.levels[one.index] is not Level.COUNTED]

    def row(self, one: CaseView) -> Markup:
        """A case in the overview."""
        return self._rendered("row", one)

    def section(self, one: CaseView) -> Markup:
        """A case by itself, with all details or without."""
        return self._section(one, self.levels[one.index])

    def run_data(self) -> Iterator[Markup]:
        """The run for the page's script: results.json, of cases without details what the filter looks at."""
        head, tail = around_cases(self._run)
        yield data(head.decode())
        for index, case in enumerate(self._run.cases):
            if index:
                yield Markup(",\n")
            yield self._data(index, case, self.levels[index])
        yield data(tail.decode())

    def approvals(self, cases: Sequence[CaseView]) -> Markup:
        """What the page's script shows of the cases that can be approved."""
        return Markup("{%s}") % Markup(",").join(filter(None, map(self._approval, cases)))

    def _section(self, one: CaseView, level: Level) -> Markup:
        return self._rendered("section" if level is Level.WHOLE else "brief", one)

    def _rendered(self, name: str, one: CaseView) -> Markup:
        kept = None if one.stills.images else self._kept.get((name, one.index))
        if kept is None:
            shown = Details.of(one, self._run.environment) if name == "section" else one
            kept = Markup(self._templates[name].render(self._context, view=shown)).strip()
            if not one.stills.images:
                self._kept[name, one.index] = kept
        return kept

    def _data(self, index: int, case: CaseResult, level: Level) -> Markup:
        if level is Level.COUNTED:
            return Markup("null")
        key = ("whole" if level is Level.WHOLE else "filtered", index)
        if key not in self._kept:
            text = case_to_json(case).decode() if level is Level.WHOLE else json.dumps(_filtered(case))
            self._kept[key] = data(text)
        return self._kept[key]

    def _approval(self, one: CaseView) -> Markup:
        if ("approval", one.index) not in self._kept:
            found = approval_data([(one.index, one.case)])
            self._kept["approval", one.index] = data(json.dumps(found)[1:-1])
        return self._kept["approval", one.index]


def _filtered(case: CaseResult) -> dict[str, Any]:
    """What the filter and approvals look at, in the form of results.json."""
    prompts = {side: {"prompt": recipe.get("prompt")} for side, recipe in case.recipes.items()}
    if prompts.get("preview") == prompts.get("inference"):
        prompts.pop("inference", None)
    output = case.output
    return {
        "id": case.id,
        "status": case.status,
        "model": case.model,
        "verdict": case.verdict,
        "case_file": case.case_file,
        "error": case.error,
        "tags": case.tags,
        "findings": [{"factor": finding.factor} for finding in case.findings],
        "recipes": prompts,
        "output": None if output is None else {"sha256": output.sha256, "raw_sha256": output.raw_sha256},
    }


def data(text: str) -> Markup:
    """JSON that is inert inside a script element: outside strings JSON has none of the escaped characters."""
    return Markup(text.translate(_UNSAFE))


def size_of(text: str) -> int:
    """The bytes that a text takes in the page."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
