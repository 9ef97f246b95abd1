"""Workflows, the form of a graph that ComfyUI's browser saves, into API graphs, the form that runs.

A workflow has nodes with their widgets' values by position, links between them, and definitions of subgraphs. What the
browser alone knows is resolved as it does before it queues a graph: muted nodes (mode 2) and what only shows something
are left out, bypassed ones (mode 4) pass on their input of the same type, reroutes and primitives become what they
lead to, and a node within a subgraph gets the ids of both, `128:81`. Known from the official templates
(`comfyui-workflow-templates-json` 0.1.123) and from graphs that ComfyUI saved beside their workflows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipelines.comfyui.api_graph import MAX_CHAIN, MAX_INPUTS, MAX_NODES
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
class _Node:
    """A node as the browser saves it."""

    kind: str
    mode: object
    title: object
    inputs: Sequence[Json]
    outputs: Sequence[Json]
    values: object
    """Those of its widgets: by position, or by name."""
    named: Mapping[str, Json]
    """Its inputs by name."""
    passed_on: Mapping[str | None, Sequence[Json]]
    """Its inputs that are not widgets, by type."""

    @classmethod
    def of(cls, node: Json) -> _Node:
        inputs = _objects(node, "inputs")
        passed_on: dict[str | None, list[Json]] = {}
        for entry in inputs:
            if "widget" not in entry:
                passed_on.setdefault(_type(entry), []).append(entry)
        return cls(
            kind=str(node.get("type")),
            mode=node.get("mode"),
            title=node.get("title"),
            inputs=inputs,
            outputs=_objects(node, "outputs"),
            values=node.get("widgets_values"),
            named={str(entry.get("name")): entry for entry in reversed(inputs)},
            passed_on=passed_on,
        )

    def size(self) -> int:
        """How much there is to read in it."""
        return len(self.inputs) + (len(self.values) if isinstance(self.values, list | Mapping) else 0)

    def passing(self, slot: int) -> Sequence[Json]:
        """The inputs that this node, bypassed or a reroute, may pass on to one of its outputs."""
        if self.kind == "Reroute":
            return self.inputs[:1]
        wanted = _type(self.outputs[slot]) if 0 <= slot < len(self.outputs) else None
        return self.passed_on.get(wanted, ())


@dataclass(frozen=True, slots=True)
class _Sheet:
    """The nodes and links of a workflow or of a subgraph's definition."""

    nodes: Mapping[str, _Node]
    links: Mapping[str, Link]
    inputs: tuple[str, ...]
    """The names of a subgraph's inputs."""
    widgets: Mapping[str, int]
    """Those that become widgets of its node, with their places in its `widgets_values`."""
    width: int
    """How many values that has."""
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
        nodes = {str(node.get("id")): _Node.of(node) for node in _objects(graph, "nodes")}
        entrance, exit_ = _side(graph, "inputNode", _INPUTS), _side(graph, "outputNode", _OUTPUTS)
        inputs = tuple(str(entry.get("name")) for entry in _objects(graph, "inputs"))
        fed = {link.slot for link in links.values() if link.origin == entrance and _is_widget(nodes, link)}
        widgets = [name for slot, name in enumerate(inputs) if slot in fed]
        places = {name: place for place, name in reversed([*enumerate(widgets)])}
        exits = {link.target_slot: link for link in links.values() if link.target == exit_}
        return cls(nodes, links, inputs, places, len(widgets), entrance, exits)


@dataclass(frozen=True, slots=True)
class _Scope:
    """A workflow, or a subgraph as one node of another scope."""

    sheet: _Sheet
    prefix: str = ""
    """What the ids of its nodes begin with."""
    depth: int = 0
    parent: _Scope | None = None
    instance: _Node | None = None
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
        self._visited = self._read = 0
        self._add(_Scope(_Sheet.of(data, where)))

    def _error(self, message: str) -> GraphError:
        return GraphError(f"{self._where}: {message}")

    def _child(self, scope: _Scope, key: str, node: _Node) -> _Scope:
        """The subgraph that a node is, as a scope of its own."""
        prefix = f"{scope.prefix}{key}:"
        if prefix not in self._children:
            if scope.depth >= _MAX_DEPTH:
                raise self._error(f"has more than {_MAX_DEPTH} subgraphs within each other")
            self._children[prefix] = _Scope(self._sheets[node.kind], prefix, scope.depth + 1, scope, node)
        return self._children[prefix]

    def _add(self, scope: _Scope) -> None:
        """Add the nodes of a scope and of the subgraphs in it."""
        for key, node in scope.sheet.nodes.items():
            self._visited += 1
            if self._visited > MAX_NODES:
                raise self._error(f"has more than {MAX_NODES} nodes")
            self._read += node.size()
            if self._read > MAX_INPUTS:
                raise self._error(f"its nodes have more than {MAX_INPUTS} inputs and values")
            if node.mode in (_MUTED, _BYPASSED) or node.kind in _SHOWN:
                continue
            if node.kind in self._sheets:
                self._add(self._child(scope, key, node))
                continue
            inputs = self._widgets(f"{scope.prefix}{key}", node.kind, node.values)
            for entry in node.inputs:
                if entry.get("link") is not None:
                    found = self._follow(scope, scope.sheet.links.get(str(entry["link"])))
                    if found is not None:
                        inputs[str(entry.get("name"))] = found
            meta = {"title": node.title}
            self.nodes[f"{scope.prefix}{key}"] = {"class_type": node.kind, "inputs": inputs, "_meta": meta}

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
            parent, instance = scope.parent, scope.instance
            if parent is not None and instance is not None and link.origin == scope.sheet.entrance:
                name = scope.sheet.inputs[link.slot] if 0 <= link.slot < len(scope.sheet.inputs) else ""
                outer = instance.named.get(name, {})
                if outer.get("link") is None:
                    return self._value(scope, instance, name)
                scope, link = parent, parent.sheet.links.get(str(outer["link"]))
                continue
            node = scope.sheet.nodes.get(link.origin)
            if node is None or not (
                node.mode in (_MUTED, _BYPASSED)
                or node.kind in self._sheets
                or node.kind in ("Reroute", "PrimitiveNode")
            ):
                return [f"{scope.prefix}{link.origin}", link.slot]
            if node.mode == _MUTED:
                return None
            if node.mode == _BYPASSED or node.kind == "Reroute":
                fits = node.passing(link.slot)
                if len(fits) > 1:
                    return self._obstacle(f"{scope.prefix}{link.origin}", f"{node.kind} (bypassed, several inputs)")
                link = scope.sheet.links.get(str(fits[0].get("link"))) if fits else None
            elif node.kind == "PrimitiveNode":
                return node.values[0] if isinstance(node.values, list) and node.values else None
            else:
                scope = self._child(scope, link.origin, node)
                link = scope.sheet.exits.get(link.slot)
        raise self._error(f"has a link that passes more than {MAX_CHAIN} reroutes and subgraphs")

    def _value(self, scope: _Scope, instance: _Node, name: str) -> object:
        """The value of a widget of a subgraph's node; None: it has none of its own, the inner node's holds."""
        values, sheet = instance.values, scope.sheet
        if not isinstance(values, list) or not values or name not in sheet.widgets:
            return None
        if len(values) != sheet.width:
            return self._obstacle(scope.prefix, f"values of a subgraph: {len(values)} for {sheet.width} widgets")
        return values[sheet.widgets[name]]

    def _obstacle(self, key: str, name: str) -> list[object]:
        """A link to a node that nobody understands: it is refused only where it matters."""
        self.nodes[key] = {"class_type": name, "inputs": {}}
        return [key, 0]


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


def _is_widget(nodes: Mapping[str, _Node], link: Link) -> bool:
    inputs = nodes[link.target].inputs if link.target in nodes else ()
    return 0 <= link.target_slot < len(inputs) and "widget" in inputs[link.target_slot]


def _type(entry: Json) -> str | None:
    """The type of an input or output, as text."""
    found = entry.get("type")
    return None if found is None else str(found)


def _side(graph: Json, name: str, usual: int) -> str:
    node = graph.get(name)
    return str(node.get("id", usual)) if isinstance(node, Mapping) else str(usual)


def _objects(data: Json, name: str) -> list[Json]:
    found = data.get(name)
    return [entry for entry in found if isinstance(entry, Mapping)] if isinstance(found, list) else []
