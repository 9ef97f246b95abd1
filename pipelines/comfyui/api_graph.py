"""A graph as ComfyUI runs it: nodes by id, and where each input's value comes from. Every file is taken as hostile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipelines.comfyui.expression import evaluate
from pipelines.comfyui.nodes import IGNORED, LATER, NODES, Scalar
from pipelines.errors import GraphError
from pipelines.files.shown import shown
from pipelines.files.words import listed, shorten

MAX_NODES = 4000
"""The most nodes of a graph; the largest official Wan template (0.1.123) has 102."""

MAX_INPUTS = 100_000
"""The most inputs of all its nodes together, with their widgets' values in a workflow; that template has 404."""

MAX_CHAIN = 50
"""The most nodes through which a single value may come."""

_OPEN = ("ComfyMathExpression", "Reroute")
"""Nodes whose inputs have names of the user's."""


@dataclass(frozen=True, slots=True, eq=False)
class GraphNode:
    """One node of a graph."""

    id: str
    kind: str
    """Its class."""
    title: str
    inputs: Mapping[str, object]
    """Values, and links as `[id, output]`."""

    @property
    def label(self) -> str:
        """Its title in quotes after a space, if that says more than its class."""
        plain = "".join(self.title.split()).lower()
        return f' "{shown(self.title, 40)}"' if plain and plain != self.kind.lower() else ""

    def __str__(self) -> str:
        return f"{shown(self.kind, 60)} {shown(self.id, 30)}{self.label}"


class Output(NamedTuple):
    """One output of a node: what a link leads to."""

    node: GraphNode
    slot: int

    @property
    def type(self) -> str | None:
        """Its type, e.g. MODEL; None if the node is not known, or has no such output."""
        outputs = NODES[self.node.kind].outputs if self.node.kind in NODES else ()
        return outputs[self.slot] if 0 <= self.slot < len(outputs) else None


class ApiGraph:
    """The nodes of a graph. Everything that is asked of it raises GraphError, one message, where it is damaged."""

    def __init__(self, nodes: Mapping[str, GraphNode], where: str, controls: Mapping[str, str]) -> None:
        self.nodes = nodes
        self.controls = controls
        """Of a workflow: how the browser changes the seed of a node after each run."""
        self._where = where
        self._values: dict[tuple[str, str], Scalar] = {}
        self._unfinished: list[tuple[str, str]] = []
        self._rerouted: dict[str, str] = {}
        """The one input of a reroute that is connected, by the node's id."""

    @classmethod
    def of(cls, data: Mapping[str, object], where: str, controls: Mapping[str, str] | None = None) -> ApiGraph:
        """Read the flat form: id -> class_type, inputs and perhaps _meta."""
        if len(data) > MAX_NODES:
            raise GraphError(f"{where}: has {len(data)} nodes, more than {MAX_NODES}")
        if not data:
            raise GraphError(f"{where}: has no nodes")
        nodes = {key: _node(key, value, where) for key, value in data.items()}
        inputs = sum(len(node.inputs) for node in nodes.values())
        if inputs > MAX_INPUTS:
            raise GraphError(f"{where}: its nodes have {inputs} inputs, more than {MAX_INPUTS}")
        return cls(nodes, where, controls or {})

    def error(self, message: str) -> GraphError:
        """An error that begins with where the graph is from."""
        return GraphError(f"{self._where}: {message}")

    def source(self, node: GraphNode, name: str) -> Output | None:
        """The output that feeds an input, past reroutes and switches; None if the input is a value or not connected."""
        found = self._resolve(node, name)
        return found if isinstance(found, Output) else None

    def required(self, node: GraphNode, name: str, *types: str) -> Output:
        """The output that feeds an input, which must be of one of these types."""
        found = self.source(node, name)
        if found is None:
            raise self.error(f"{node}: its input {name} is not connected")
        if found.type not in types:
            given = f"gives {found.type}" if found.type else "has no such output"
            raise self.error(
                f"{node}: its input {name} leads to output {found.slot} of {found.node}, which {given}, "
                f"not {' or '.join(types)}"
            )
        return found

    def value(self, node: GraphNode, name: str) -> Scalar:
        """The value of a widget, of its type and within its range, wherever it comes from."""
        return self._once(node, name, lambda: self._checked(node, name))

    def number(self, node: GraphNode, name: str) -> float:
        """The value of a widget that holds a number."""
        return float(self.value(node, name))

    def whole(self, node: GraphNode, name: str) -> int:
        """The value of a widget that holds a whole number."""
        return int(self.value(node, name))

    def text(self, node: GraphNode, name: str) -> str:
        """The value of a widget that holds text or a choice."""
        return str(self.value(node, name))

    def needed(self, start: GraphNode) -> list[GraphNode]:
        """The nodes on which `start` depends, itself first; of a switch only the side it is set to."""
        found, seen = [start], {start.id}
        for node in found:  # grows on the way
            for name in self._followed(node):
                link = _link(node.inputs[name])
                if link and link[0] not in seen:
                    seen.add(link[0])
                    found.append(self._target(node, name, link).node)
        return found

    def unknown_inputs(self, nodes: Sequence[GraphNode], *, linked: bool) -> list[str]:
        """The inputs of known nodes that are not known and may reach the pixels: those with links, or the others."""
        found = []
        for node in nodes:
            for name in self._followed(node) if node.kind in NODES else ():
                value, plain = node.inputs[name], LATER.get(node.kind, {}).get(name, ())
                known = node.kind in _OPEN or NODES[node.kind].input(name) or value in plain
                if not known and (_link(value) is not None) == linked:
                    found.append(f"{shown(name, 40)} of {node}")
        return found

    def _followed(self, node: GraphNode) -> list[str]:
        if node.kind == "ComfySwitchNode":
            try:
                return [name for name in ("switch", _side(self.value(node, "switch"))) if name in node.inputs]
            except GraphError:
                pass  # its nodes are looked at first: one that is not understood explains more
        return [name for name in node.inputs if name not in IGNORED.get(node.kind, ())]

    def _target(self, node: GraphNode, name: str, link: tuple[str, int]) -> Output:
        if link[0] not in self.nodes:
            raise self.error(f"{node}: its input {name} leads to node {shown(link[0], 30)}, which is not there")
        return Output(self.nodes[link[0]], link[1])

    def _resolve(self, node: GraphNode, name: str) -> Output | object:
        at, input_name = node, name
        for _ in range(MAX_CHAIN):
            raw = at.inputs.get(input_name)
            link = _link(raw)
            if link is None:
                return raw
            found = self._target(at, input_name, link)
            if found.node.kind == "Reroute":
                at, input_name = found.node, self._input_of_reroute(found.node)
            elif found.node.kind == "ComfySwitchNode":
                at, input_name = found.node, _side(self.value(found.node, "switch"))
                if input_name not in at.inputs:
                    raise self.error(f"{at}: is set to {input_name}, which is not connected")
            else:
                return found
        raise self.error(f"{node}: its input {name} comes through more than {MAX_CHAIN} reroutes and switches")

    def _input_of_reroute(self, node: GraphNode) -> str:
        if node.id not in self._rerouted:
            links = [entry for entry in node.inputs if _link(node.inputs[entry])]
            if len(links) != 1:
                raise self.error(f"{node}: nothing is connected to it")
            self._rerouted[node.id] = links[0]
        return self._rerouted[node.id]

    def _once(self, node: GraphNode, name: str, compute: Callable[[], Scalar]) -> Scalar:
        """Compute a value once, and refuse one that depends on itself or on too many others."""
        key = (node.id, name)
        if key not in self._values:
            if key in self._unfinished:
                raise self.error(f"{node}: the value of {name} depends on itself")
            if len(self._unfinished) >= MAX_CHAIN:
                raise self.error(f"{node}: the value of {name} comes through more than {MAX_CHAIN} nodes")
            self._unfinished.append(key)
            try:
                self._values[key] = compute()
            finally:
                self._unfinished.pop()
        return self._values[key]

    def _checked(self, node: GraphNode, name: str) -> Scalar:
        entry = NODES[node.kind].input(name)
        assert entry is not None, (node.kind, name)
        found = self._resolve(node, name)
        if found is None and entry.optional and entry.default is not None:
            return entry.default
        if found is None:
            raise self.error(f"{node}: has no {name}")
        value = self._computed(node, name, found) if isinstance(found, Output) else found
        try:
            return entry.check(value)
        except ValueError as error:
            raise self.error(f"{node}: {name} must be {error}, is {_described(value)}") from None

    def _computed(self, node: GraphNode, name: str, found: Output) -> object:
        if found.node.kind.startswith("Primitive") and found.node.kind in NODES:
            return self.value(found.node, "value")
        if found.node.kind == "ComfyMathExpression":
            return self._once(found.node, f"output {found.slot}", lambda: self._expression(found))
        raise self.error(f"{node}: {name} comes from {found.node}, where it cannot be read")

    def _expression(self, found: Output) -> Scalar:
        node = found.node
        names = {}
        for name in node.inputs:
            if name.startswith("values."):
                value = self._resolve(node, name)
                value = self._computed(node, name, value) if isinstance(value, Output) else value
                if isinstance(value, (bool, int, float)):
                    names[name.removeprefix("values.")] = value
        expression = self.text(node, "expression")
        try:
            result = evaluate(expression, names)
        except ValueError as error:
            raise self.error(f'{node}: its expression "{shown(expression, 60)}" {error}') from None
        if found.type == "BOOLEAN":
            return bool(result)
        if found.type == "INT" and result != int(result):  # whether ComfyUI rounds or cuts is not known
            raise self.error(f'{node}: its expression "{shown(expression, 60)}" gives {result:g}, no whole number')
        return result


def names_of(nodes: Sequence[GraphNode]) -> str:
    """The nodes for a message, each once, by class: `LoadVideo 1, 4 "Pose"; Canny 7`."""
    kinds: dict[str, list[str]] = {}
    for node in dict.fromkeys(nodes):
        kinds.setdefault(shown(node.kind, 60), []).append(f"{shown(node.id, 30)}{node.label}")
    return shorten("; ".join(f"{kind} {listed(ids, 5)}" for kind, ids in kinds.items()), 1200)


def _side(switch: Scalar) -> str:
    return "on_true" if switch else "on_false"


def _link(value: object) -> tuple[str, int] | None:
    match value:
        case [str() | int() as node, int() as slot] if not isinstance(node, bool) and not isinstance(slot, bool):
            return str(node), slot
    return None


def _node(key: str, value: object, where: str) -> GraphNode:
    if isinstance(value, Mapping):
        kind, inputs, meta = value.get("class_type"), value.get("inputs", {}), value.get("_meta")
        title = meta.get("title") if isinstance(meta, Mapping) else None
        if isinstance(kind, str) and isinstance(inputs, Mapping):
            return GraphNode(str(key), kind, title if isinstance(title, str) else "", inputs)
    raise GraphError(f"{where}: node {shown(str(key), 30)} has no class_type with inputs; is this a ComfyUI graph?")


def _described(value: object) -> str:
    if isinstance(value, str):
        return f'"{shown(value, 60)}"'
    return shown(str(value).lower(), 60) if isinstance(value, (bool, int, float)) else "a list or an object"
