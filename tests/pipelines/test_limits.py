"""Numbers beyond what can be generated are refused before anything is loaded or allocated for them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pipelines.engine.engine import _refuse
from pipelines.errors import UnreproducibleError
from pipelines.limits import MAX_STEPS, why_beyond_bounds
from pipelines.recipe import Asked
from tests.support.oracle import sample_recipe

RECIPE = sample_recipe("t2v_basic", 0)


def same(number: int) -> Asked:
    return Asked(number, number)


@pytest.mark.parametrize(
    ("fits", "beyond", "words"),
    [
        ({"seed": 2**64 - 1}, {"seed": 2**64}, "64 bits"),
        ({"seed": -(2**63)}, {"seed": -(10**4000)}, "64 bits"),
        ({"steps": MAX_STEPS}, {"steps": MAX_STEPS + 1}, "more than 10000"),
        ({"steps": MAX_STEPS}, {"steps": 10**30}, "more than 10000"),
        ({"steps": 1}, {"steps": 0}, "nothing to generate"),
        (
            {"width": same(4096), "height": same(4096), "num_frames": same(16)},
            {"width": same(4096), "height": same(4096), "num_frames": same(17)},
            "17 frames of 4096x4096 need 3.4 GB",
        ),
        ({}, {"num_frames": same(10**9)}, "need 73,728.0 GB"),
        ({}, {"width": same(16 * 10**28)}, "GB once decoded"),
        ({}, {"width": same(-96)}, "nothing to generate"),
    ],
)
def test_bounds(fits: dict[str, Any], beyond: dict[str, Any], words: str) -> None:
    assert why_beyond_bounds(dataclasses.replace(RECIPE, **fits)) is None
    refused = dataclasses.replace(RECIPE, **beyond)
    assert words in (why_beyond_bounds(refused) or "")
    with pytest.raises(UnreproducibleError, match=words):
        _refuse(refused)
