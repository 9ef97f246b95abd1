"""`pytest parity/`: one test a case."""

from __future__ import annotations

import pytest

from parity.case import Case
from parity.conftest import Quiet
from parity.runner import Session


def test_case(case: Case, parity_session: Session) -> None:
    result = parity_session.run_case(case, Quiet())
    if result.status not in ("passed", "expected_drift"):
        factors = "\n".join(f"  {f.factor}: {f.preview} -> {f.inference}" for f in result.findings)
        report = parity_session.options.out / "report.html"
        pytest.fail(f"{result.status}: {result.verdict}\n{factors}\n  report: {report}", pytrace=False)
