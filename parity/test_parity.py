"""`pytest parity/`: one test a case."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from parity.as_tests import BaselineGate, expected_drift, failure, in_pytests_words, properties
from parity.case import Case
from parity.progress import Quiet
from parity.runner import Session
from pipelines.errors import ParityError


def test_case(
    case: Case,
    parity_baselines: BaselineGate | None,
    parity_session: Session,
    record_property: Callable[[str, object], None],
) -> None:
    try:
        result = parity_session.run_case(case, Quiet())
    except ParityError as error:  # the results could not be written
        pytest.fail(in_pytests_words(str(error)), pytrace=False)
    report = parity_session.options.out / "report.html"
    check = parity_baselines.check(result, parity_session) if parity_baselines is not None else None
    for name, value in properties(result, report, check).items():
        record_property(name, value)
    lines = failure(result)
    if parity_baselines is not None and check is not None:
        lines += parity_baselines.failure(check, parity_session.out.whole)
    if lines:
        pytest.fail("\n".join([*lines, f"report: {report}"]), pytrace=False)
    reason = expected_drift(result)
    if reason is not None:
        pytest.xfail(reason)
