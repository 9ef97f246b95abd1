"""A new status, level, factor or frame rule needs an entry in every mapping keyed by it."""

from __future__ import annotations

import pytest

from tests.support.exhaustive import Keyed, declared, keyed_by_literal

PARTIAL = {
    "pipelines.drift.LORA_FACTORS": "the factors of a LoRA alone",
}
"""Mappings that are about some values on purpose, and which."""

FOUND = list(keyed_by_literal())


@pytest.mark.parametrize("mapping", FOUND, ids=lambda mapping: mapping.name)
def test_every_value_has_an_entry(mapping: Keyed) -> None:
    assert bool(mapping.missing) == (mapping.name in PARTIAL), f"no entry for {', '.join(sorted(mapping.missing))}"
    assert mapping.keys <= mapping.possible


def test_the_mappings_are_found() -> None:
    names = {mapping.name for mapping in FOUND}
    assert {"pipelines.drift.FACTORS", "parity.factors.catalogue.CATALOGUE", "pipelines.graph.FRAME_RULES"} <= names
    assert set(PARTIAL) <= names


def test_a_missing_entry_is_seen() -> None:
    assert Keyed(name="x", keys=frozenset("a"), possible=frozenset("ab")).missing == {"b"}
    assert list(declared("A: dict[Level, str] = {}\nB: dict[str, int] = {}")) == [("A", "Level")]
