"""Marks follow fixtures, and a test without a mark cannot do what the mark stands for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from parity.case.load import DEMO, load_case
from pipelines.engine.checkpoint import load_pipeline
from pipelines.engine.engine import Engine


def test_a_fixture_that_needs_a_model_marks_the_test(engine: Engine, request: pytest.FixtureRequest) -> None:
    assert engine.device.type == "cpu"
    assert request.node.get_closest_marker("draws")


def test_without_the_mark_no_checkpoint_is_loaded() -> None:
    recipe = load_case(DEMO / "t2v-guitar-faithful.yaml").preview
    with pytest.raises(pytest.fail.Exception, match="lacks the mark `draws`"):
        Engine("cpu").load(recipe)
    with pytest.raises(pytest.fail.Exception, match="lacks the mark `draws`"):
        load_pipeline(recipe)


@pytest.mark.parametrize("command", [[sys.executable, "-V"], ["python3", "-V"], ["parity", "--help"]], ids=" ".join)
def test_without_the_mark_no_python_is_started(command: list[str]) -> None:
    with pytest.raises(pytest.fail.Exception, match="lacks the mark `process`"):
        subprocess.run(command, check=True)


def test_without_the_mark_other_programs_are_started() -> None:
    assert subprocess.run(["true"], check=True).returncode == 0
