"""Fixtures and hooks of a pytest session that tests cases, in one process or several workers (pytest-xdist)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from parity.baselines.in_run import RunGate
from parity.baselines.noise import Noise
from parity.case.load import Case, find_case_files, load_cases
from parity.case.progress import Progress
from parity.cli.options import given_target
from parity.cli.selection import in_part, part_of
from parity.pytest_plugin.wording import conclude, failure, in_pytests_words, marker_name
from parity.results.case import Run
from parity.results.folders import cache_folder, default_out
from parity.results.last_run import last_results
from parity.results.merge import refuse_folder_of_another
from parity.results.shard import Shard
from parity.run.cache import open_cache
from parity.run.options import Options
from parity.run.outlook import Outlook
from parity.run.runner import CaseRunner, started
from parity.run.session import in_loading_order
from parity.run.task import Task
from parity.run.workers import Devices, Shares
from parity.terminal import heartbeat
from parity.terminal.tracker import Tracker
from pipelines.engine.engine import Engine
from pipelines.errors import ParityError, UsageError
from pipelines.files.shown import shown, visible
from pipelines.leaving import leave_quickly

_CASES = pytest.StashKey[list[Case]]()
_PART = pytest.StashKey[Shard | None]()
"""The part of the cases that this session has (`--parity-shard`)."""
_RUN = pytest.StashKey[tuple[Run, Path]]()
"""The run and its folder: set when the last case is done."""
_STDERR = pytest.StashKey[int]()
"""Our copy of the real stderr."""
_LINES = pytest.StashKey[list[str]]()
"""Lines for the end of pytest's summary."""
_CONTROLLER = "parity-controller"


def pytest_configure(config: pytest.Config) -> None:
    with suppress(OSError):  # there may be no stderr
        config.stash[_STDERR] = os.dup(2)  # before pytest captures it: a worker's is that of the main process
    distributed = getattr(config.option, "dist", "no") != "no" and not config.option.collectonly
    if distributed and not _is_worker(config):
        config.pluginmanager.register(Controller(config), _CONTROLLER)


def pytest_unconfigure(config: pytest.Config) -> None:
    if _STDERR in config.stash:
        os.close(config.stash[_STDERR])
        del config.stash[_STDERR]


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Load the cases before collection, where an error would be shown with pytest's internals."""
    _selected(session.config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" not in metafunc.fixturenames:
        return
    cases = _selected(metafunc.config)
    for tag in dict.fromkeys(tag for case in cases for tag in case.tags):
        metafunc.config.addinivalue_line("markers", f"{marker_name(tag)}: cases tagged {shown(tag)}")
    parameters = [
        pytest.param(
            case, id=visible(case.id), marks=[getattr(pytest.mark, name) for name in map(marker_name, case.tags)]
        )
        for case in cases
    ]
    metafunc.parametrize("case", parameters)


@pytest.fixture(scope="session")
def parity_session(request: pytest.FixtureRequest) -> Iterator[CaseRunner]:
    """The session that runs all cases of this process. Its results are results.json, or a worker's share of it."""
    config = request.config
    leave_quickly()
    with ExitStack() as stack:
        with _stopping(request.session):
            session = stack.enter_context(started(_options(config)))
        if session.warning is not None and _STDERR in config.stash:
            os.write(config.stash[_STDERR], f"\nparity: {in_pytests_words(shown(session.warning))}\n".encode())
        yield session
        if _is_worker(config):
            return
        with _stopping(request.session):
            run = session.finish([case.id for case in _collected(request.session)])
        config.stash[_RUN] = run, session.options.out


@pytest.fixture(scope="session")
def parity_progress(request: pytest.FixtureRequest, parity_session: CaseRunner) -> Iterator[Progress]:
    """The listener that writes a line every half minute of a case to the real stderr, whatever pytest captures."""
    config, tracker = request.config, Tracker()
    tracker.prepare([] if _is_worker(config) else _collected(request.session), Outlook(parity_session))
    spoken_of = 0

    def write(line: str) -> None:
        nonlocal spoken_of
        begin = "\n" if tracker.number != spoken_of else ""  # pytest's own line is not finished
        spoken_of = tracker.number
        os.write(config.stash[_STDERR], f"{begin}{shown(line)}\n".encode())

    every = heartbeat.EVERY_S if _STDERR in config.stash else None
    with heartbeat.Heartbeat(tracker.line, write, every):
        yield tracker


def _collected(session: pytest.Session) -> list[Case]:
    """The cases that this session runs."""
    specs = [getattr(item, "callspec", None) for item in session.items]
    cases = [spec.params.get("case") for spec in specs if spec is not None]
    return [case for case in cases if isinstance(case, Case)]


@pytest.hookimpl(trylast=True)  # xdist ends its workers first
def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    lines = config.stash[_LINES] = []
    try:
        controller = config.pluginmanager.getplugin(_CONTROLLER)
        if controller is not None:
            controller.close()
        if _RUN in config.stash:
            lines += conclude(*config.stash[_RUN], config.getoption("--parity-max-size"))
    except ParityError as error:
        lines.append(f"parity: {in_pytests_words(str(error))}")
        session.exitstatus = error.exit_code


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(_LINES, []):
        terminalreporter.write_line(line)


class Controller:
    """The process that hands cases to workers. It holds the folder and merges their results into one run."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._devices = Devices("auto", 0)
        self._cases: dict[str, Case] = {}
        self._shares: Shares | None = None
        self._begun = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Check the command line once, before a worker starts."""
        import torch

        config = self._config
        with _stopping(None):
            if config.getoption("dist") == "each":
                raise UsageError("--dist each would run every case once per worker into the same folder; use -n alone")
            self._cases = {visible(case.id).encode("unicode_escape").decode(): case for case in _selected(config)}
            device = config.getoption("--parity-device")
            self._devices = Devices(device, torch.cuda.device_count())
            Engine(device, config.getoption("--parity-offload")).close()
            open_cache(_cache(config))
            gate = _gate(config)
            out = _out(config)
            resume = config.getoption("--parity-resume")
            folder = None if gate is None else str(gate.folder)
            self._shares = Shares(
                out,
                uuid4().hex[:12],
                _command(config),
                resume=resume,
                baselines=folder,
                narrowed=_narrowing(config),
                part=config.stash[_PART],
            )

    def pytest_report_header(self) -> str:
        """The number of workers and their devices."""
        from xdist.workermanage import parse_tx_spec_config

        isolated = "; --parity-isolate adds nothing: each is a process apart, and replaced if it dies"
        sentence = self._devices.sentence(len(parse_tx_spec_config(self._config)))
        return f"wan-parity: {sentence}{isolated if self._config.getoption('--parity-isolate') else ''}"

    def pytest_configure_node(self, node: Any) -> None:
        assert self._shares is not None
        name = node.gateway.id
        node.workerinput["parity"] = {
            "out": str(self._shares.out.path),
            "share": str(self._shares.share(name)),
            "device": self._devices.take(name),
        }

    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        found = [case for case in map(self._case, ids) if case is not None]
        if found and not self._begun and self._shares is not None:
            with _stopping(None):
                self._shares.begin([case.id for case in found])
            self._begun = True

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "teardown" and self._case(report.nodeid) is not None and self._shares is not None:
            with _stopping(None):
                self._shares.read(report.node.gateway.id)

    def pytest_handlecrashitem(self, crashitem: str, report: Any) -> None:
        case = self._case(crashitem)
        if case is not None and self._shares is not None:
            name = report.node.gateway.id
            with _stopping(None):
                result = self._shares.died(case, name, _task(self._config))
            report.longrepr = "\n".join(failure(result, self._shares.place) or [f"worker {name} died"])
            report.when, report.location = "call", (*report.location[:2], f"test_case[{visible(case.id)}]")

    def pytest_testnodedown(self, node: Any) -> None:
        self._devices.give_back(node.gateway.id)

    def close(self) -> None:
        """Merge the results, after the workers have ended."""
        if self._begun and self._shares is not None:
            self._config.stash[_RUN] = self._shares.close(), self._shares.out.path

    def _case(self, nodeid: str) -> Case | None:
        found = re.search(r"(?:^|test_parity\.py)::test_case\[(.*)\]", nodeid)
        return self._cases.get(found[1]) if found else None


@contextmanager
def _stopping(session: pytest.Session | None) -> Iterator[None]:
    """End the session with one message for a user's mistake. `session` is given if this may be a worker."""
    try:
        yield
    except ParityError as error:
        text = in_pytests_words(str(error))
        if session is not None and _is_worker(session.config):
            session.shouldstop = text  # pytest.exit would look like a crash, and the worker would be replaced
            pytest.fail(text, pytrace=False)
        pytest.exit(text, returncode=error.exit_code)


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _selected(config: pytest.Config) -> list[Case]:
    """The selected cases. Raises pytest.UsageError for bad case files, and if no case has the requested tag."""
    if _CASES in config.stash:
        return config.stash[_CASES]
    try:
        given = given_target(lambda name: config.getoption(f"--parity-{name.replace('_', '-')}"))
        files = find_case_files(config.getoption("--parity-cases") or [])
        cases = load_cases(files, given, tags=config.getoption("--parity-tag"))
        part = config.stash[_PART] = _part(config, cases)
        config.stash[_CASES] = in_loading_order(in_part(cases, part))
        return config.stash[_CASES]
    except ParityError as error:
        raise pytest.UsageError(in_pytests_words(str(error))) from None


def _part(config: pytest.Config, cases: Sequence[Case]) -> Shard | None:
    """The shard of `--parity-shard`; None: there is none. Raises UsageError where pytest itself selects among cases."""
    shard = config.getoption("--parity-shard")
    if shard is not None and (
        config.option.keyword or config.option.markexpr or any("::" in arg for arg in config.args)
    ):
        raise UsageError(
            "--shard: pytest's -k, -m and :: select after cases are split, and what they leave out would look lost; "
            "use --tag"
        )
    return part_of(cases, shard, config.getoption("--parity-balance"), _task(config))


def _task(config: pytest.Config) -> Task:
    diagnose = config.getoption("--parity-diagnose")
    return Task(
        diagnose="full" if diagnose else None,
        only_drifted=diagnose == "on-failure",
        stills=config.getoption("--parity-stills"),
        repeat=config.getoption("--parity-repeat"),
    )


def _options(config: pytest.Config) -> Options:
    given = getattr(config, "workerinput", {}).get("parity", {})
    return Options(
        out=Path(given["out"]) if given else _out(config),
        task=_task(config),
        device=given["device"] if given else config.getoption("--parity-device"),
        offload=config.getoption("--parity-offload"),
        command=_command(config),
        cache=_cache(config),
        resume=config.getoption("--parity-resume"),
        timeout=config.getoption("--parity-timeout"),
        isolate=config.getoption("--parity-isolate"),
        share=Path(given["share"]) if given else None,
        workers=int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1)),
        gate=_gate(config),
        narrowed=_narrowing(config),
        part=config.stash[_PART],
    )


def _narrowing(config: pytest.Config) -> str | None:
    """What of the command line leaves cases out; None: nothing does."""
    given = {"-k": config.option.keyword, "-m": config.option.markexpr}
    parts = [f"{name} {value}" for name, value in given.items() if value]
    parts += [f"--parity-tag {tag}" for tag in config.getoption("--parity-tag")]
    parts += [str(path) for path in config.getoption("--parity-cases") or () if not path.is_dir()]
    parts += [argument for argument in config.args if "::" in argument]
    return " ".join(parts) or None


def _out(config: pytest.Config) -> Path:
    """The folder of the run. Raises UsageError if there is no run to resume, or another shard's results are in it."""
    given: Path | None = config.getoption("--parity-out")
    if config.getoption("--parity-resume"):
        return given or last_results().parent
    part = config.stash[_PART]
    if given is not None and part is not None:
        refuse_folder_of_another(given, part)
    return given or default_out(part)


def _cache(config: pytest.Config) -> Path | None:
    return None if config.getoption("--parity-no-cache") else cache_folder()


def _command(config: pytest.Config) -> tuple[str, ...]:
    return ("pytest", *map(str, config.invocation_params.args))


def _gate(config: pytest.Config) -> RunGate | None:
    folder = config.getoption("--parity-baselines")
    if folder is None:
        return None
    noise = Noise(psnr=config.getoption("--parity-noise-psnr"), ssim=config.getoption("--parity-noise-ssim"))
    return RunGate.read(folder, noise, "--parity-baselines")
