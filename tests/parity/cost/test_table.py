"""docs/hardware.md has the figures that are computed, and those agree with what the Hub shows."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from parity.cost.downloads import needs_of, published_bytes
from parity.cost.memory import held
from parity.cost.table import PRECISIONS, gpu_table, recipe_of, weights_table
from pipelines.catalog import MODELS
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "hardware.md"


@pytest.mark.parametrize("table", [weights_table, gpu_table])
def test_the_page_has_the_computed_tables(table: object) -> None:
    """If not: `python -m parity.cost.table` prints both."""
    assert callable(table)
    assert f"\n{table()}\n" in PAGE.read_text(encoding="utf-8")


PUBLISHED = {"wan21_14b": 80.4e9, "wan21_i2v_14b480p": 90.1e9}
"""The sizes of whole repositories on the Hub: the files of the first, a copy of the second (2025)."""


@pytest.mark.parametrize("model", PUBLISHED)
def test_downloads_are_as_large_as_on_the_hub(model: str) -> None:
    [need] = needs_of([(recipe_of(MODELS[model]), None)])
    assert math.isclose(published_bytes(need), PUBLISHED[model], rel_tol=0.005)


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.id)
def test_fewer_bits_take_less(model: object) -> None:
    from pipelines.catalog import Model

    assert isinstance(model, Model)
    totals = [held(recipe_of(model, quantization)).total for quantization in PRECISIONS.values()]
    assert totals == sorted(totals, reverse=True)


def test_the_page_names_commands_that_exist() -> None:
    from parity.cli.main import whole_parser

    commands = whole_parser().commands
    for line in Path(PAGE).read_text(encoding="utf-8").splitlines():
        if line.startswith("    parity "):
            assert line.split()[1] in commands
