"""`pytest parity/`: one test for each case."""

from __future__ import annotations

import pytest

from parity.case.load import Case
from parity.case.progress import Quiet
from parity.pytest_plugin.wording import BaselineGate, expected_drift, failure, in_pytests_words, properties
from parity.run.session import Session
from pipelines.errors import ParityError


def test_case(
    case: Case,
    parity_baselines: BaselineGate | None,
    parity_session: Session,
    request: pytest.FixtureRequest,
) -> None:
    try:
        result = parity_session.run_case(case, Quiet())
    except ParityError as error:  # the results could not be written
        pytest.fail(in_pytests_words(str(error)), pytrace=False)
    report = parity_session.options.out / "report.html"
    check = parity_baselines.check(result, parity_session) if parity_baselines is not None else None
    # Not record_property, which warns with the default junit_family that Jenkins' schema has no properties.
    request.node.user_properties += properties(result, report, check).items()
    lines = failure(result)
    if parity_baselines is not None and check is not None:
        lines += parity_baselines.failure(check, parity_session.out.whole)
    if lines:
        pytest.fail("\n".join([*lines, f"report: {report}"]), pytrace=False)
    reason = expected_drift(result)
    if reason is not None:
        pytest.xfail(reason)
