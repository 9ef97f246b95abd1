"""The table of nodes against what ComfyUI 0.3.64 said of itself, and the arithmetic of its expressions."""

from __future__ import annotations

import json
import re

import pytest

from pipelines.comfyui.expression import evaluate
from pipelines.comfyui.nodes import NODES
from tests.support.paths import DATA, ROOT

RECORDED = json.loads((DATA / "comfyui" / "nodes.json").read_text(encoding="utf-8"))
SCALARS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}


@pytest.mark.parametrize("name", sorted(set(NODES) & set(RECORDED)))
def test_inputs_outputs_and_ranges_are_those_of_comfyui(name: str) -> None:
    node, recorded = NODES[name], RECORDED[name]
    assert node.outputs == tuple(recorded["outputs"])
    assert [entry.name for entry in node.inputs] == list(recorded["inputs"])
    for entry in node.inputs:
        said = recorded["inputs"][entry.name]
        assert entry.kind == (said["type"] if said["type"] in SCALARS else "LINK")
        if entry.kind in ("INT", "FLOAT"):
            assert (entry.default, entry.least, entry.most) == (said["default"], said["min"], said["max"]), entry.name
        if entry.options and entry.name != "type":  # of the encoders only Wan's is understood
            assert list(entry.options) == said["options"], entry.name


def test_most_nodes_of_the_table_are_recorded() -> None:
    unrecorded = {"CheckpointLoaderSimple", "ComfyMathExpression", "ComfySwitchNode", "PreviewImage", "Reroute"}
    assert {name for name in set(NODES) - set(RECORDED) if not name.startswith("Primitive")} == unrecorded | {
        "VHS_VideoCombine"
    }


def test_the_documentation_names_every_node_that_is_understood() -> None:
    text = (ROOT / "docs" / "comfyui.md").read_text(encoding="utf-8").partition("## Which graphs are read")[2]
    assert [name for name in NODES if not re.search(rf"\b{name}\b", text)] == []


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("floor(a * b) + 1", 81),
        ("floor (a * b + 1)", 81),
        ("(a // 2) * 2", 4),
        ("ceil(a / 3)", 2),
        ("min(a, b, 3) - max(a, b)", -13),
        ("-a + +b", 11),
        ("b % a ** 2", 16),
        ("round(a / b)", 0),
        ("1.5 * .5", 0.75),
        ("abs(-a)", 5),
    ],
)
def test_an_expression_is_computed(expression: str, result: float) -> None:
    assert evaluate(expression, {"a": 5, "b": 16}) == result


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "a +",
        "c",
        "a / 0",
        "0 ** -1",
        "(0 - 8) ** .5",
        "9 ** 99",
        "9 ** 9 ** 9",
        "2 ** 64 * 2",
        "__import__('os')",
        "a.real",
        "a[0]",
        "lambda: 1",
        "exit()",
        "floor()",
        "floor(1, 2)",
        "a & ~1",
        "1 if a else 2",
        "a\n+ b; 1",
        "1_000",
        "0x10",
        "1e999",
        "min(*a)",
        "a" * 301,
        "(" * 150 + "1" + ")" * 149,
        "-" * 299 + "1" + "x",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!",
    ],
)
def test_anything_else_is_refused(expression: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        evaluate(expression, {"a": 5, "b": 16})
