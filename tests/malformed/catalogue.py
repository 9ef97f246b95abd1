"""The list of all malformed inputs, and the selection that CI tries."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.malformed import graph_texts, graphs, pictures, records, texts, weights
from tests.malformed.inputs import Input

_MAKERS = (
    texts.case_inputs,
    texts.request_inputs,
    texts.config_inputs,
    texts.project_inputs,
    pictures.control_inputs,
    weights.lora_inputs,
    records.baseline_inputs,
    records.approval_inputs,
    records.results_inputs,
    graphs.made_inputs,
    graph_texts.graph_inputs,
    pictures.webp_inputs,
    pictures.mp4_inputs,
    pictures.frame_inputs,
    weights.checkpoint_inputs,
)

_FEW = 6
"""The number of inputs of each kind for CI."""


def all_inputs(folder: Path) -> list[Input]:
    """Every one, in a fixed order, those that need torch last. `folder`: a whole workplace."""
    inputs = [item for make in _MAKERS for item in make(folder)]
    twice = [name for name, count in Counter(item.name for item in inputs).items() if count > 1]
    assert not twice, twice
    return sorted(inputs, key=lambda item: item.torch)


def few(folder: Path) -> list[Input]:
    """A few of each kind, for CI."""
    inputs = all_inputs(folder)
    chosen: list[Input] = []
    for kind in dict.fromkeys(item.kind for item in inputs):
        alike = [item for item in inputs if item.kind == kind]
        chosen += alike[:: -(-len(alike) // _FEW)]
    return chosen
