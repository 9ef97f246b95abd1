"""pytest options and fixtures of `pytest parity/`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from parity.case import Case, find_case_files, load_cases
from parity.result import CaseResult
from parity.runner import Options, Session, default_out, in_loading_order
from pipelines.errors import ParityError


class Quiet:
    """Progress that leaves the terminal to pytest."""

    def case_started(self, case: Case) -> None: ...

    def planned(self, plan: str) -> None: ...

    def trial_started(self, label: str, steps: int) -> None: ...

    def step_done(self, done: int, steps: int) -> None: ...

    def case_finished(self, result: CaseResult) -> None: ...


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("parity", "wan-parity")
    group.addoption(
        "--parity-cases", action="append", type=Path, metavar="PATH", help="case file or folder; repeatable"
    )
    group.addoption("--parity-out", type=Path, metavar="DIR", help="default: reports/out/<start time>")
    group.addoption("--parity-device", default="auto", help="auto, cpu, cuda or cuda:n")
    group.addoption("--parity-offload", default="none", choices=("none", "model", "sequential"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" not in metafunc.fixturenames:
        return
    try:
        cases = in_loading_order(load_cases(find_case_files(metafunc.config.getoption("--parity-cases") or [])))
    except ParityError as error:
        raise pytest.UsageError(str(error)) from None
    metafunc.parametrize("case", cases, ids=[case.id for case in cases])


@pytest.fixture(scope="session")
def parity_session(pytestconfig: pytest.Config) -> Iterator[Session]:
    """One engine and one results.json for all cases; the report is written at the end."""
    out = pytestconfig.getoption("--parity-out") or default_out()
    options = Options(
        out=out,
        device=pytestconfig.getoption("--parity-device"),
        offload=pytestconfig.getoption("--parity-offload"),
        command=("pytest", *sys.argv[1:]),
    )
    try:
        session = Session(options)
    except ParityError as error:
        pytest.exit(str(error), returncode=error.exit_code)
    with session:
        yield session
        run = session.finish([result.id for result in session.run.cases])
    from reports.render import write_report

    write_report(run, out, out / "report.html")
