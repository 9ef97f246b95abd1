"""pytest options and fixtures of `pytest parity/`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from parity.baselines.arguments import add_noise
from parity.baselines.check import check_case
from parity.baselines.file import Baseline
from parity.baselines.gate import accept_command
from parity.baselines.noise import Noise
from parity.baselines.store import Store
from parity.case import Case, find_case_files, load_cases
from parity.outdir import default_out
from parity.result import CaseResult
from parity.runner import Options, Session, in_loading_order
from parity.terminal.baselines import check_lines
from pipelines.errors import ParityError, UsageError


class Quiet:
    """Progress that leaves the terminal to pytest."""

    def case_started(self, case: Case) -> None: ...

    def case_kept(self, result: CaseResult) -> None: ...

    def planned(self, plan: str) -> None: ...

    def trial_started(self, label: str, steps: int) -> None: ...

    def step_done(self, done: int, steps: int) -> None: ...

    def case_finished(self, result: CaseResult) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineGate:
    """Baselines as a second gate beside tolerance and `expect`."""

    folder: Path
    baselines: Mapping[str, Baseline]
    noise: Noise

    def failure(self, result: CaseResult, session: Session) -> list[str]:
        """Why a result fails, and how to accept it; nothing if it does not."""
        check = check_case(result, session.run.environment, self.baselines.get(result.id), self.noise)
        if not check.failed:
            return []
        lines = ["against its baseline:", *check_lines(check, with_environment=True)]
        if check.acceptable:
            lines.append(f"  if it is right so: {accept_command([result.id], session.results_path, self.folder)}")
        return lines


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("parity", "wan-parity")
    group.addoption(
        "--parity-cases", action="append", type=Path, metavar="PATH", help="case file or folder; repeatable"
    )
    group.addoption("--parity-out", type=Path, metavar="DIR", help="default: reports/out/<start time>")
    group.addoption("--parity-device", default="auto", help="auto, cpu, cuda or cuda:n")
    group.addoption("--parity-offload", default="none", choices=("none", "model", "sequential"))
    group.addoption("--parity-baselines", type=Path, metavar="DIR", help="also fail what `parity baseline check` fails")
    add_noise(group.addoption, "--parity-noise")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" not in metafunc.fixturenames:
        return
    try:
        cases = in_loading_order(load_cases(find_case_files(metafunc.config.getoption("--parity-cases") or [])))
    except ParityError as error:
        raise pytest.UsageError(str(error)) from None
    metafunc.parametrize("case", cases, ids=[case.id for case in cases])


@pytest.fixture(scope="session")
def parity_baselines(pytestconfig: pytest.Config) -> BaselineGate | None:
    """The gate on baselines; None where --parity-baselines is not given."""
    folder = pytestconfig.getoption("--parity-baselines")
    if folder is None:
        return None
    noise = Noise(
        psnr=pytestconfig.getoption("--parity-noise-psnr"), ssim=pytestconfig.getoption("--parity-noise-ssim")
    )
    try:
        if not Store(folder).exists():
            raise UsageError(f"--parity-baselines {folder}: no such folder; `parity baseline accept` makes one")
        return BaselineGate(folder=folder, baselines=Store(folder).read_all(), noise=noise)
    except ParityError as error:
        pytest.exit(str(error), returncode=error.exit_code)


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
