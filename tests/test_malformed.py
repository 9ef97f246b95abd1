"""Malformed inputs: some of each kind; all of them by `python -m tests.malformed`."""

from __future__ import annotations

import pytest

from tests.malformed.fakes import COMMANDS
from tests.support.printing import printed

pytestmark = pytest.mark.process


def test_malformed_inputs_end_in_one_message_and_leave_nothing_behind() -> None:
    outcomes = printed("tests.malformed", "--few", "--json", "--jobs", "1")
    assert [(outcome["name"], outcome["problems"]) for outcome in outcomes if outcome["problems"]] == []
    assert len(outcomes) >= 60
    assert sum(bool(outcome["said"]) for outcome in outcomes) >= 45


@pytest.fixture(scope="module")
def faults() -> dict[str, list[str]]:
    """The problems found with each fake command."""
    found: dict[str, list[str]] = printed("tests.malformed.fakes")
    return found


FOUND = {
    "well_behaved": None,
    "whole_results": None,
    "traceback": "traceback: RuntimeError: our own mistake",
    "traceback_beside_a_message": "traceback",
    "passes": "exit code 0 instead of 2 or 3",
    "drifts": "exit code 1 instead of 2 or 3",
    "silent": "0 messages",
    "says_it_twice": "2 messages",
    "names_no_file": "does not name request.json",
    "warns": "a warning beside the message",
    "half_a_result": "left out/results.json: the file ends too early",
    "unfinished_result": "left out/results.json: of a run that did not finish",
    "temporary_file": "left .report.html.77",
    "report_although_it_failed": "left report.html: written although the command failed",
    "changes_an_input": "plain.yaml was changed",
    "removes_an_input": "plain.yaml is gone",
    "hangs": "hung: still at work after 2 s",
    "hangs_in_another_process": "hung: still at work after 2 s",
    "dies": "exit code 139 instead of 2 or 3",
    "takes_memory": "took 1",
}


@pytest.mark.parametrize("command", [command.__name__ for command in COMMANDS])
def test_a_bad_end_is_found(faults: dict[str, list[str]], command: str) -> None:
    said = FOUND[command]
    if said is None:
        assert faults[command] == []
    else:
        assert said in "\n".join(faults[command])
