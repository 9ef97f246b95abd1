"""Malformed ComfyUI graphs: of its API, and workflows of its browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.malformed.inputs import Input, Outcome, Target, bytes_of, cuts, instead, no_file, no_text, scattered_bits
from tests.malformed.texts import json_bombs
from tests.malformed.values import Place, Raw, edit, load, places, remove, replaced, set_to, wrong_values

GRAPH = Target(kind="ComfyUI graph", path="graph.json", command=("plan", "--output", "graph.json", "plain.yaml"))
WORKFLOW = Target(
    kind="ComfyUI workflow", path="workflow.json", command=("plan", "--output", "workflow.json", "plain.yaml")
)

_READ = (
    "cfg",
    "class_type",
    "denoise",
    "length",
    "sampler_name",
    "scheduler",
    "seed",
    "shift",
    "steps",
    "text",
    "width",
)
"""Inputs of the nodes on which the pixels depend, and the class of any node."""


def graph_inputs(folder: Path) -> Iterator[Input]:
    for target in (GRAPH, WORKFLOW):
        yield from no_file(target)
        yield from no_text(target)
        yield from cuts(target, 1, 40, 97)
        yield from scattered_bits(target, 10)
        yield from json_bombs(target)
        yield target.input("a thousand graphs in one text", bytes_of(lambda data: data * 1000))
    sampler, model = ("3", "inputs"), ("3", "inputs", "model")
    yield GRAPH.input("a node of another program", set_to(("3", "class_type"), "Magic"), says="Magic 3")
    yield GRAPH.input("a class of 100,000 letters", set_to(("3", "class_type"), "x" * 100_000), says="xxx")
    yield GRAPH.input("a class that writes over the line", set_to(("3", "class_type"), "a\rb\x1b[2Kc"), says="3")
    yield GRAPH.input("a model from nowhere", set_to(model, ["no", 0]), says="no")
    yield GRAPH.input("a model from itself", set_to(model, ["3", 0]), says="model")
    yield GRAPH.input("a link of 100,000 letters", set_to(model, ["n" * 100_000, 0]), says="model")
    yield GRAPH.input("a slot of 40 digits", set_to(model, ["37", Raw("9" * 40)]), says="model")
    yield GRAPH.input("nodes without inputs", instead(b'{"1": {"class_type": "KSampler"}}'))
    yield GRAPH.input("every link leads to its own node", edit(_looped))
    lora = bytes_of(lambda text: text.replace(b"p0stcard", b"../../../p0"))
    yield GRAPH.input("a LoRA from elsewhere", lora, "clean")
    yield GRAPH.input("no model", remove(model), says="model")
    yield GRAPH.input("steps of 40 digits", set_to((*sampler, "steps"), Raw("9" * 40)), says="steps")
    yield GRAPH.input("a seed below zero", set_to((*sampler, "seed"), -1), says="seed")
    yield GRAPH.input("steps that depend on themselves", edit(_circle), says="depends on itself")
    yield GRAPH.input("an expression that takes long", edit(lambda data: _expression(data, "9 ** 9 ** 9 ** 9")))
    yield GRAPH.input("an expression with code", edit(lambda data: _expression(data, "__import__('os')")))
    yield GRAPH.input("60,000 nodes", edit(lambda data: data | {f"n{n}": data["3"] for n in range(60_000)}), says="MiB")
    yield GRAPH.input("3000 nodes in a row", edit(_row), says="more than 50")
    yield GRAPH.input("200,000 inputs of one node", edit(_rerouted(200_000)), says="100000")
    yield GRAPH.input("90,000 values through a reroute of 9,000 inputs", edit(_rerouted(9000)), says="b0")
    yield WORKFLOW.input("a subgraph in itself", edit(_within_itself), says="subgraph")
    yield WORKFLOW.input("a million nodes by subgraphs", edit(_doubled), says="4000")
    yield WORKFLOW.input("20,000 links past 40 bypassed nodes of 2,000 inputs", edit(_bypassed), says="not there")
    yield WORKFLOW.input("400,000 inputs by subgraphs", edit(_multiplied), says="100000")
    yield WORKFLOW.input("no links", set_to(("links",), []), says="not connected")
    yield WORKFLOW.input("nodes that are numbers", set_to(("nodes",), [1, 2, 3]), says="nodes")
    yield WORKFLOW.input("links that are text", set_to(("links",), "all"), says="not connected")
    yield WORKFLOW.input("text instead of a graph", instead(b'"nodes"'))
    yield from wrong_values(GRAPH, load(folder / "graph.json"), keys=_must)
    data = load(folder / "workflow.json")
    yield from wrong_values(WORKFLOW, data, keys=lambda at: "clean" if at[0] in ("nodes", "links") else None)
    for at, _ in list(places(data)):
        if at[0] == "nodes" and len(at) > 1:
            yield WORKFLOW.input(f"without {'.'.join(map(str, at))}", remove(at), "clean")


def _must(at: Place) -> Outcome:
    return "refused" if at[-1] in _READ or len(at) == 1 else "clean"


def _looped(data: Any) -> Any:
    def inputs_of(key: str) -> dict[str, Any]:
        return {name: [key, 0] if isinstance(value, list) else value for name, value in data[key]["inputs"].items()}

    return {key: node | {"inputs": inputs_of(key)} for key, node in data.items()}


def _circle(data: Any) -> Any:
    return _expression(data, "a + 1") | {"m": _node("a + 1", {"values.a": ["m", 1]})}


def _expression(data: Any, text: str) -> Any:
    return replaced(data, ("3", "inputs", "steps"), ["m", 1]) | {"m": _node(text, {})}


def _node(text: str, values: dict[str, Any]) -> dict[str, Any]:
    return {"class_type": "ComfyMathExpression", "inputs": {"expression": text} | values}


def _row(data: Any) -> Any:
    chain = {f"m{n}": _node("a", {"values.a": [f"m{n + 1}", 1]}) for n in range(3000)}
    return replaced(data, ("3", "inputs", "steps"), ["m0", 1]) | chain | {"m3000": _node("1", {})}


def _rerouted(count: int) -> Callable[[Any], Any]:
    """Values of an expression that all come through one reroute, whose inputs are looked at for the connected one."""

    def changed(data: Any) -> Any:
        values = {f"values.a{n}": ["r", 0] for n in range(90_000)}
        reroute = {"class_type": "Reroute", "inputs": {f"i{n}": n for n in range(count)} | {"": ["e", 1]}}
        nodes = {"m": _node("b0", values), "r": reroute, "e": _node("1", {})}
        return replaced(data, ("3", "inputs", "steps"), ["m", 1]) | nodes

    return changed


def _bypassed(_: Any) -> Any:
    widgets = [{"type": "A", "widget": {}}] * 2000
    nodes = [
        {"id": n, "mode": 4, "inputs": [*widgets, {"type": "A", "link": n}], "outputs": [{"type": "A"}]}
        for n in range(1000, 1040)
    ]
    saved = {"id": 1, "type": "SaveWEBM", "inputs": [{"name": f"i{n}", "link": 0} for n in range(20_000 - 100)]}
    links = [[0, 1000, 0, 1, 0], *([n, n + 1, 0, n, 0] for n in range(1000, 1040))]
    return {"nodes": [*nodes, saved], "links": links}


def _multiplied(data: Any) -> Any:
    wide = {"id": "s1", "nodes": [{"id": 1, "type": "X", "inputs": [{"name": "a"}] * 1000}]}
    return _with(data, [{"id": "s0", "nodes": [{"id": n, "type": "s1"} for n in range(400)]}, wide])


def _within_itself(data: Any) -> Any:
    return _with(data, [{"id": "s0", "nodes": [{"id": 1, "type": "s0"}], "links": []}])


def _doubled(data: Any) -> Any:
    graphs = [{"id": f"s{n}", "nodes": [{"id": m, "type": f"s{n + 1}"} for m in range(10)]} for n in range(6)]
    return _with(data, [*graphs, {"id": "s6", "nodes": [{"id": 1, "type": "Note"}]}])


def _with(data: Any, subgraphs: list[Any]) -> Any:
    nodes = [*data["nodes"], {"id": 900, "type": "s0"}]
    return data | {"nodes": nodes, "definitions": {"subgraphs": subgraphs}}
