"""The collector rests while libraries are imported, and only then."""

from __future__ import annotations

import gc

import pytest

from pipelines.large_imports import uncollected


def test_the_collector_rests_during_imports_and_then_goes_on() -> None:
    def failing() -> None:
        with uncollected():
            seen.append(gc.isenabled())
            raise ImportError

    seen: list[bool] = []
    with pytest.raises(ImportError):
        failing()
    assert [*seen, gc.isenabled()] == [False, True]


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
