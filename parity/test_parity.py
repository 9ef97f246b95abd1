"""`pytest parity/`: one test for each case."""

from __future__ import annotations

import pytest

from parity.case.load import Case
from parity.case.progress import Progress
from parity.pytest_plugin.wording import failure, in_pytests_words, place_of, properties, why_xfail
from parity.run.runner import CaseRunner
from pipelines.errors import ParityError


def test_case(
    case: Case, parity_session: CaseRunner, parity_progress: Progress, request: pytest.FixtureRequest
) -> None:
    try:
        result = parity_session.run_case(case, parity_progress)
    except ParityError as error:  # the results could not be written
        pytest.fail(in_pytests_words(str(error)), pytrace=False)
    place = place_of(parity_session)
    # Not record_property, which warns with the default junit_family that Jenkins' schema has no properties.
    request.node.user_properties += properties(result, place.results.with_name("report.html")).items()
    lines = failure(result, place)
    if lines:
        pytest.fail("\n".join(lines), pytrace=False)
    reason = why_xfail(result)
    if reason is not None:
        pytest.xfail(reason)
