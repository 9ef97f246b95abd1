"""Workflows, the form of a graph that ComfyUI's browser saves, into API graphs, the form that runs.

A workflow has nodes with their widgets' values by position, links between them, and definitions of subgraphs. What the
browser alone knows is resolved as it does before it queues a graph: muted nodes (mode 2) and what only shows something
are left out, bypassed ones (mode 4) pass on their input of the same type, reroutes and primitives become what they
lead to, and a node within a subgraph gets the ids of both, `128:81`. Known from the official templates
(`comfyui-workflow-templates-json` 0.1.123) and from graphs that ComfyUI saved beside their workflows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pipelines.comfyui.api_graph import MAX_CHAIN, MAX_NODES
from pipelines.comfyui.nodes import CONTROLS, LATER, NODES
from pipelines.errors import GraphError

MAX_LINKS = 20_000
"""The most links of a workflow or a subgraph."""

_MAX_DEPTH = 8
"""The most subgraphs within each other."""

_MUTED, _BYPASSED = 2, 4
_INPUTS, _OUTPUTS = -10, -20
"""The ids by which the links of a subgraph name its inputs and outputs."""

_SHOWN = ("MarkdownNote", "Note", "PrimitiveNode", "Reroute")
"""Nodes that exist in the browser alone."""

Json = Mapping[str, object]


class Link(NamedTuple):
    """Where a link comes from and where it leads: ids of nodes, positions of their outputs and inputs."""

    origin: str
    slot: int
    target: str
    target_slot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Flat:
    """An API graph made of a workflow."""

    nodes: Mapping[str, object]
    controls: Mapping[str, str]
    """How the browser changes the seed of a node after each run, by the node's id, where it does not leave it."""


def is_workflow(data: Json) -> bool:
    """Whether this is the browser's form, not the API's."""
    return isinstance(data.get("nodes"), list)


def flatten(data: Json, where: str) -> Flat:
    """Make the API graph of a workflow. Raises GraphError for one that is damaged."""
    flattening = _Flattening(data, where)
    return Flat(nodes=flattening.nodes, controls=flattening.controls)


@dataclass(frozen=True, slots=True)
class _Sheet:
    """The nodes and links of a workflow or of a subgraph's definition."""

    nodes: Mapping[str, Json]
    links: Mapping[str, Link]
    inputs: tuple[str, ...]
    """The names of a subgraph's inputs."""
    widgets: tuple[str, ...]
    """Those that become widgets of its node, in the order of its `widgets_values`."""
    entrance: str
    """The id by which its links name its inputs."""
    exits: Mapping[int, Link]
    """What feeds its outputs."""

    @classmethod
    def of(cls, graph: Json, where: str) -> _Sheet:
        raw = graph.get("links")
        if isinstance(raw, list) and len(raw) > MAX_LINKS:
            raise GraphError(f"{where}: has {len(raw)} links, more than {MAX_LINKS}")
        links = dict(filter(None, map(_link, raw if isinstance(raw, list) else [])))
        nodes = {str(node.get("id")): node for node in _objects(graph, "nodes")}
        entrance, exit_ = _side(graph, "inputNode", _INPUTS), _side(graph, "outputNode", _OUTPUTS)
        inputs = tuple(str(entry.get("name")) for entry in _objects(graph, "inputs"))
        fed = {link.slot for link in links.values() if link.origin == entrance and _is_widget(nodes, link)}
        widgets = tuple(name for slot, name in enumerate(inputs) if slot in fed)
        exits = {link.target_slot: link for link in links.values() if link.target == exit_}
        return cls(nodes, links, inputs, widgets, entrance, exits)


@dataclass(frozen=True, slots=True)
class _Scope:
    """A workflow, or a subgraph as one node of another scope."""

    sheet: _Sheet
    prefix: str = ""
    """What the ids of its nodes begin with."""
    depth: int = 0
    parent: _Scope | None = None
    instance: Json = field(default_factory=dict)
    """The node of `parent` that this is."""


class _Flattening:
    """One workflow on its way."""

    def __init__(self, data: Json, where: str) -> None:
        self.nodes: dict[str, object] = {}
        self.controls: dict[str, str] = {}
        self._where = where
        definitions = data.get("definitions")
        subgraphs = _objects(definitions, "subgraphs") if isinstance(definitions, Mapping) else []
        self._sheets = {str(entry.get("id")): _Sheet.of(entry, where) for entry in subgraphs}
        self._children: dict[str, _Scope] = {}
        self._visited = 0
        self._add(_Scope(_Sheet.of(data, where)))

    def _error(self, message: str) -> GraphError:
        return GraphError(f"{self._where}: {message}")

    def _child(self, scope: _Scope, key: str, node: Json) -> _Scope:
        """The subgraph that a node is, as a scope of its own."""
        prefix = f"{scope.prefix}{key}:"
        if prefix not in self._children:
            if scope.depth >= _MAX_DEPTH:
                raise self._error(f"has more than {_MAX_DEPTH} subgraphs within each other")
            sheet = self._sheets[str(node.get("type"))]
            self._children[prefix] = _Scope(sheet, prefix, scope.depth + 1, scope, node)
        return self._children[prefix]

    def _add(self, scope: _Scope) -> None:
        """Add the nodes of a scope and of the subgraphs in it."""
        for key, node in scope.sheet.nodes.items():
            self._visited += 1
            if self._visited > MAX_NODES:
                raise self._error(f"has more than {MAX_NODES} nodes")
            kind = str(node.get("type"))
            if node.get("mode") in (_MUTED, _BYPASSED) or kind in _SHOWN:
                continue
            if kind in self._sheets:
                self._add(self._child(scope, key, node))
                continue
            inputs = self._widgets(f"{scope.prefix}{key}", kind, node.get("widgets_values"))
            for entry in _objects(node, "inputs"):
                if entry.get("link") is not None:
                    found = self._follow(scope, scope.sheet.links.get(str(entry["link"])))
                    if found is not None:
                        inputs[str(entry.get("name"))] = found
            meta = {"title": node.get("title")}
            self.nodes[f"{scope.prefix}{key}"] = {"class_type": kind, "inputs": inputs, "_meta": meta}

    def _widgets(self, key: str, kind: str, values: object) -> dict[str, object]:
        """The values of a node's widgets by name; of a class that is not understood only if they have names."""
        if isinstance(values, Mapping):
            return {str(name): value for name, value in values.items()}
        found: dict[str, object] = {}
        if kind not in NODES or not isinstance(values, list):
            return found
        rest = list(reversed(values))
        for entry in NODES[kind].widgets:
            if not rest:
                break
            found[entry.name] = rest.pop()
            if entry.controlled and rest and rest[-1] in CONTROLS:
                control = str(rest.pop())
                if control != "fixed":
                    self.controls[key] = control
        return found | dict(zip(LATER.get(kind, ()), reversed(rest), strict=False))

    def _follow(self, scope: _Scope, link: Link | None) -> object:
        """What a link comes from: `[id, output]`, the value of a widget, or None if nothing is there."""
        for _ in range(MAX_CHAIN):
            if link is None:
                return None
            parent = scope.parent
            if parent is not None and link.origin == scope.sheet.entrance:
                name = scope.sheet.inputs[link.slot] if 0 <= link.slot < len(scope.sheet.inputs) else ""
                outer = next((entry for entry in _objects(scope.instance, "inputs") if entry.get("name") == name), {})
                if outer.get("link") is None:
                    return self._value(scope, name)
                scope, link = parent, parent.sheet.links.get(str(outer["link"]))
                continue
            node = scope.sheet.nodes.get(link.origin)
            kind, mode = ("", None) if node is None else (str(node.get("type")), node.get("mode"))
            if node is None or (
                mode not in (_MUTED, _BYPASSED) and kind not in (*self._sheets, "Reroute", "PrimitiveNode")
            ):
                return [f"{scope.prefix}{link.origin}", link.slot]
            if mode == _MUTED:
                return None
            if mode == _BYPASSED or kind == "Reroute":
                fits = _passing(node, link.slot, kind)
                if len(fits) > 1:
                    return self._obstacle(f"{scope.prefix}{link.origin}", f"{kind} (bypassed, several inputs)")
                link = scope.sheet.links.get(str(fits[0].get("link"))) if fits else None
            elif kind == "PrimitiveNode":
                values = node.get("widgets_values")
                return values[0] if isinstance(values, list) and values else None
            else:
                scope = self._child(scope, link.origin, node)
                link = scope.sheet.exits.get(link.slot)
        raise self._error(f"has a link that passes more than {MAX_CHAIN} reroutes and subgraphs")

    def _value(self, scope: _Scope, name: str) -> object:
        """The value of a widget of a subgraph's node; None: it has none of its own, the inner node's holds."""
        values, widgets = scope.instance.get("widgets_values"), scope.sheet.widgets
        if not isinstance(values, list) or not values or name not in widgets:
            return None
        if len(values) != len(widgets):
            return self._obstacle(scope.prefix, f"values of a subgraph: {len(values)} for {len(widgets)} widgets")
        return values[widgets.index(name)]

    def _obstacle(self, key: str, name: str) -> list[object]:
        """A link to a node that nobody understands: it is refused only where it matters."""
        self.nodes[key] = {"class_type": name, "inputs": {}}
        return [key, 0]


def _passing(node: Json, slot: int, kind: str) -> list[Json]:
    """The inputs that a bypassed node, or a reroute, may pass on to one of its outputs."""
    inputs, outputs = _objects(node, "inputs"), _objects(node, "outputs")
    if kind == "Reroute":
        return inputs[:1]
    wanted = outputs[slot].get("type") if 0 <= slot < len(outputs) else None
    return [entry for entry in inputs if entry.get("type") == wanted and "widget" not in entry]


def _link(value: object) -> tuple[str, Link] | None:
    """Read one link, in the form of a workflow or in that of a subgraph."""
    if isinstance(value, Mapping):
        parts = [value.get(name) for name in ("id", "origin_id", "origin_slot", "target_id", "target_slot")]
    elif isinstance(value, list):
        parts = value[:5]
    else:
        return None
    match parts:
        case [key, origin, int() as slot, target, int() as target_slot]:
            return str(key), Link(str(origin), slot, str(target), target_slot)
    return None


def _is_widget(nodes: Mapping[str, Json], link: Link) -> bool:
    inputs = _objects(nodes.get(link.target, {}), "inputs")
    return 0 <= link.target_slot < len(inputs) and "widget" in inputs[link.target_slot]


def _side(graph: Json, name: str, usual: int) -> str:
    node = graph.get(name)
    return str(node.get("id", usual)) if isinstance(node, Mapping) else str(usual)


def _objects(data: Json, name: str) -> list[Json]:
    found = data.get(name)
    return [entry for entry in found if isinstance(entry, Mapping)] if isinstance(found, list) else []
