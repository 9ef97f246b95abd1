"""Planted drift: found exactly, within the promised cost. CI runs a part; `parity selftest` runs all."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from parity.case.load import load_case
from parity.case.progress import Quiet
from parity.factors.catalogue import CATALOGUE
from parity.selftest.matrix import Row, matrix, run_matrix, verdict
from parity.selftest.planted import KINDS, PLANTS, Kind, combinations, singles
from parity.selftest.workshop import Workshop
from pipelines.drift import differing_factors
from pipelines.engine.engine import Engine


@pytest.mark.parametrize("kind", KINDS)
def test_every_plant_is_one_finding_and_combinations_are_their_sum(engine: Engine, tmp_path: Path, kind: Kind) -> None:
    workshop = Workshop(tmp_path, engine)
    for number, plants in enumerate((*singles(kind), *combinations(kind, 20))):
        case = load_case(workshop.case(kind, plants, f"{number}"))
        assert set(differing_factors(case.preview, case.inference)) == {plant.factor for plant in plants}


def test_every_factor_is_planted() -> None:
    assert {plant.factor for plant in PLANTS} == set(CATALOGUE) - {"compilation"}
    found = [*combinations("t2v", 20), *combinations("i2v", 20)]
    assert {len(plants) for plants in found} == {2, 3, 4, 5}
    assert len(set(map(repr, found))) == 40


def test_a_part_of_the_matrix(engine: Engine, tmp_path: Path) -> None:
    chosen = [*matrix(["t2v"], 2)[-1:], *matrix(["i2v"], 2)[-1:], *matrix(["wan22-i2v"], 2)[-1:]]
    # 5B: an image on one side only, in each direction.
    wan22_5b = matrix(["wan22-5b", "wan22-5b-i2v"], 0)
    chosen += [row for row in wan22_5b if row[1][0].value in ("absent", "given")]
    chosen += [row for row in matrix(["t2v"], 0) if row[1][0].value == "LoKr at 0.5"]
    rows = list(run_matrix(chosen, tmp_path, Quiet(), engine))
    assert [(row.factors, row.findings, row.diagnosed) for row in rows] == [
        (frozenset(plant.factor for plant in plants),) * 3 for _, plants in chosen
    ]
    held, lines = verdict(rows)
    assert held, "\n".join(lines)
    assert any("precision 1.000, recall 1.000" in line for line in lines)


def test_what_is_missed_or_too_dear_fails() -> None:
    right = Row(
        kind="t2v",
        planted=("seed (43)",),
        factors=frozenset({"seed"}),
        findings=frozenset({"seed"}),
        diagnosed=frozenset({"seed"}),
        explained=True,
        first="seed",
        first_quick="seed",
        spent=2,
        steps=12,
        expected_steps=12,
        spent_gains=2,
        spent_quick=2,
        seconds=1,
    )
    assert verdict([right])[0]
    wrongs: list[dict[str, Any]] = [
        {"findings": frozenset()},
        {"diagnosed": frozenset({"seed", "prompt"})},
        {"explained": False},
        {"first_quick": "prompt"},
        {"spent": 5},
        {"steps": 18},
        {"spent_gains": 4},
        {"spent_quick": 2.5},
    ]
    for wrong in wrongs:
        assert not verdict([dataclasses.replace(right, **wrong)])[0], wrong
    assert verdict([dataclasses.replace(right, kind="wan22-t2v", first_quick="prompt")])[0]
    assert not verdict([dataclasses.replace(right, kind="wan22-t2v", explained=False)])[0]
