"""A new status, level, factor or frame rule needs an entry in every mapping keyed by it."""

from __future__ import annotations

import json
import re
from typing import get_args

import pytest

from parity.comparison.metrics import VARIANTS
from parity.results.case import FAILING, Status
from parity.results.words import METRIC_DIGITS
from reports import view
from tests.support.exhaustive import Keyed, declared, keyed_by_literal
from tests.support.paths import ROOT

PARTIAL = {
    "pipelines.drift.LORA_FACTORS": "the factors of a LoRA alone",
    "parity.factors.comfyui_fixes.FIXES": "the catalogue names the node of the others, or that there is none",
}
"""Mappings that are about some values on purpose, and which."""

FOUND = list(keyed_by_literal())


@pytest.mark.parametrize("mapping", FOUND, ids=lambda mapping: mapping.name)
def test_every_value_has_an_entry(mapping: Keyed) -> None:
    assert bool(mapping.missing) == (mapping.name in PARTIAL), f"no entry for {', '.join(map(str, mapping.missing))}"
    assert mapping.keys <= mapping.possible


def test_the_mappings_are_found() -> None:
    names = {mapping.name for mapping in FOUND}
    assert {"pipelines.drift.FACTORS", "parity.factors.catalogue.CATALOGUE", "pipelines.graph.FRAME_RULES"} <= names
    assert set(PARTIAL) <= names


def test_statuses_are_sorted_and_counted_the_same_everywhere() -> None:
    assert sorted(view.ORDER) == sorted(get_args(Status))
    assert view.ORDER[: len(FAILING)] == FAILING
    script = (ROOT / "reports" / "page" / "overview.js").read_text(encoding="utf-8")
    assert f"const FAILED = {json.dumps(FAILING)};" in script


def test_every_status_has_an_icon() -> None:
    text = (ROOT / "reports" / "page" / "github.md").read_text(encoding="utf-8")
    icons = re.search(r"{% set icons = ({.*}) %}", text)
    assert icons is not None
    assert sorted(json.loads(icons[1])) == sorted(get_args(Status))


def test_every_metric_has_its_decimals() -> None:
    assert list(METRIC_DIGITS) == list(VARIANTS) == [name.key for name in view.METRICS]


def test_a_missing_entry_is_seen() -> None:
    assert Keyed(name="x", keys=frozenset("a"), possible=frozenset("ab")).missing == {"b"}
    assert list(declared("A: dict[Level, str] = {}\nB: dict[str, int] = {}")) == [("A", "Level")]
