"""The ComfyUI graphs that two files hold: where they are, and in which settings they differ."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from parity.results.pair import SettingDifference
from pipelines.comfyui.changes import changes
from pipelines.comfyui.graph import read_graph
from pipelines.comfyui.metadata import FoundGraph, find_graph
from pipelines.comfyui.settings import Settings
from pipelines.errors import GraphError, MediaError
from pipelines.files.shown import shown

_LONGEST = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphOf:
    """What one file says about how it was made."""

    path: Path
    found: FoundGraph | None
    """None: its metadata cannot be read."""
    settings: Settings | None
    """None: it holds no graph, or one that is not supported yet."""
    problem: str | None = None
    """Why its metadata or its graph cannot be read; None: they can, or there is no graph."""

    @property
    def where(self) -> str | None:
        """Where the graph was found; None: there is none."""
        return None if self.found is None else self.found.where


def graph_of(path: Path) -> GraphOf:
    """Look for a graph and read it. Nothing about it is an error: two videos can be compared without."""
    try:
        found = find_graph(path)
    except MediaError as error:
        return GraphOf(path=path, found=None, settings=None, problem=f"its metadata: {error}")
    if found.graph is None:
        return GraphOf(path=path, found=found, settings=None)
    try:
        return GraphOf(path=path, found=found, settings=read_graph(found.graph, filename=path.name, where=path.name))
    except GraphError as error:
        return GraphOf(path=path, found=found, settings=None, problem=str(error))


def differences(a: GraphOf, b: GraphOf) -> tuple[SettingDifference, ...] | None:
    """The settings in which two graphs differ; None: not both were read."""
    if a.settings is None or b.settings is None:
        return None
    return tuple(
        SettingDifference(
            node=_in_a_line(change.node),
            name=change.name,
            a=_in_a_line(change.value),
            b=_in_a_line("" if change.now is None else change.now),
        )
        for change in changes(b.settings, a.settings)
    )


def _in_a_line(text: str) -> str:
    """A text out of a file as part of a line: shortened, and without what a terminal would obey."""
    return shown(text, _LONGEST)


def notes(a: GraphOf, b: GraphOf) -> Iterator[str]:
    """What the files say about how they were made."""
    for name, side in (("A", a), ("B", b)):
        if side.problem is not None:
            yield f"{name}: {_in_a_line(side.problem)}"
        elif side.found is not None and side.found.where is None and side.found.made_by is not None:
            yield f"{name} names {_in_a_line(side.found.made_by)} as its program"


def next_steps(a: GraphOf, b: GraphOf) -> Iterator[str]:
    """The command that compares a graph, B's if there are two, with what a preview was made with."""
    for name, side in (("B", b), ("A", a)):
        if side.where is not None:
            command = shlex.join(["parity", "plan", "--output", str(side.path)])
            yield f"{command} CASE.yaml (or the job's folder): {name}'s ComfyUI graph against a preview's settings"
            return
