"""`pytest parity/`: one test a case."""

from __future__ import annotations

import pytest

from parity.case import Case
from parity.conftest import BaselineGate, Quiet
from parity.runner import Session


def test_case(case: Case, parity_baselines: BaselineGate | None, parity_session: Session) -> None:
    result = parity_session.run_case(case, Quiet())
    lines: list[str] = []
    if result.status not in ("passed", "expected_drift"):
        lines.append(f"{result.status}: {result.verdict}")
        lines += [f"  {f.factor}: {f.preview} -> {f.inference}" for f in result.findings]
    if parity_baselines is not None:
        lines += parity_baselines.failure(result, parity_session)
    if lines:
        report = parity_session.options.out / "report.html"
        pytest.fail("\n".join([*lines, f"  report: {report}"]), pytrace=False)
