"""Real workers of an embedded Ray: results as of one machine, workers that die, runs that are stopped."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from parity.case.load import Case, load_cases
from parity.case.progress import Quiet
from parity.cli.main import main
from parity.cluster import ray_cluster
from parity.cluster.messages import Worker
from parity.cluster.results import Results
from parity.cluster.run import run_cases
from parity.results.case import CaseResult, Run
from parity.results.merge import read_results
from parity.run.options import Options
from parity.run.session import Session
from pipelines.engine.engine import Engine
from tests.conftest import CaseFiles
from tests.support.sessions import options as session_options

TIMES = {"started", "finished", "timings", "speed", "command", "threads"}
"""What two runs of the same need not share."""


class Watcher:
    """Hears of a run, and can kill a worker or press Ctrl-C while it generates a case."""

    def __init__(self, kill: dict[str, int] | None = None, stop: str = "") -> None:
        """`kill`: how many workers to kill, by the case they generate. `stop`: the diagnosis to press Ctrl-C in."""
        self.kill, self.stop = kill or {}, stop
        self.heard: list[str] = []
        self.killed: set[int] = set()

    def between(self, words: str) -> None: ...

    def spread(self, share: str) -> None: ...

    def waiting_for_workers(self, seconds: float) -> None: ...

    def joined(self, worker: Worker) -> None: ...

    def lost(self, worker: str, why: str) -> None:
        self.heard.append(f"{worker} {why}")

    def case_started(self, worker: Worker, case: Case) -> None:  # noqa: ARG002
        self.heard.append(f"{case.id} started")

    def doing(self, worker: Worker, case: Case, words: str) -> None:
        if "step" not in words:
            return
        if self.kill.get(case.id) and worker.pid not in self.killed:  # of a killed one more can be in the mail
            self.kill[case.id] -= 1
            self.killed.add(worker.pid)
            os.kill(worker.pid, signal.SIGKILL)
        if case.id == self.stop and ": " in words:
            self.stop = ""  # another one would be the second Ctrl-C, which waits for nothing
            raise KeyboardInterrupt

    def planned(self, worker: Worker, case: Case, plan: str, generations: float | None) -> None: ...

    def case_kept(self, result: CaseResult) -> None:
        self.heard.append(f"{result.id} kept")

    def case_finished(self, worker: Worker | None, result: CaseResult) -> None:  # noqa: ARG002
        self.heard.append(f"{result.id} {result.status}")

    def stopping(self, workers: int) -> None:
        self.heard.append(f"stopping {workers}")


@pytest.fixture(scope="module")
def _ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One embedded Ray with two cores for all tests: starting it takes five seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("workers")))
        with ray_cluster.joined("ray", cores=2):
            yield


def on_ray(cases: list[Case], options: Options, watcher: Watcher, workers: int) -> Run:
    results = Results(options, cases)
    run_cases(cases, results, options, watcher, on="ray", workers=workers)
    return results.run


def plain(value: Any) -> Any:
    """A value of results.json without times, as JSON has it."""
    value = dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items() if key not in TIMES}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}


@pytest.mark.process
@pytest.mark.draws
@pytest.mark.usefixtures("_ray")
def test_a_worker_that_is_killed_loses_nothing(cases: CaseFiles, tmp_path: Path, engine: Engine) -> None:
    slow = cases.request(sample_steps=100, num_frames=1)  # seconds, in which it is seen at a step
    files = [
        cases.write("deadly", request=slow),
        cases.write("killed", request=slow),
        cases.write("quick", request=cases.request(sample_steps=1, num_frames=1)),
    ]
    loaded = load_cases(files)
    alone = session_options(tmp_path / "alone", device="cpu")
    with Session(alone, engine) as session:
        expected = [session.run_case(case, Quiet()) for case in loaded[1:]]
    watcher = Watcher(kill={"killed": 1, "deadly": 2})
    options = dataclasses.replace(alone, out=tmp_path / "on ray")
    run = on_ray(loaded, options, watcher, workers=2)
    assert run.finished is not None
    assert read_results(options.out / "results.json") == run
    deadly, killed, quick = run.cases
    assert deadly.status == "error"
    assert deadly.error is not None
    assert "worker died twice while running it: worker " in deadly.error
    assert "died while running it; worker " in killed.notes[-1]
    assert [watcher.heard.count(f"{case.id} started") for case in run.cases] == [2, 2, 1]
    killed = dataclasses.replace(killed, notes=killed.notes[:-1])
    assert plain([killed, quick]) == plain(expected)
    assert plain(run.environment) == plain(session.environment)
    for name in ("killed", "quick"):
        assert contents(options.out / "artifacts" / name) == contents(alone.out / "artifacts" / name)


@pytest.mark.process
@pytest.mark.draws
@pytest.mark.usefixtures("_ray")
def test_a_run_that_is_stopped_goes_on_with_resume(cases: CaseFiles, tmp_path: Path) -> None:
    same, other = cases.request(), cases.request(sample_steps=60, num_frames=5, guidance_scale=4, seed=7, prompt="")
    asked = {"first": same, "stopped": other, "never": same}
    loaded = load_cases([cases.write(name, request=request) for name, request in asked.items()])
    options = session_options(tmp_path / "out", device="cpu", diagnose="gains")
    watcher = Watcher(stop="stopped")
    results = Results(options, loaded)
    with pytest.raises(KeyboardInterrupt):
        run_cases(loaded, results, options, watcher, on="ray", workers=1)
    assert "stopping 1" in watcher.heard
    assert results.run.finished is None
    assert [case.id for case in results.run.cases] == ["first", "stopped"]
    diagnosis = results.run.cases[1].diagnosis
    assert diagnosis is not None
    assert diagnosis.stopped == "interrupted"
    resumed = Results(dataclasses.replace(options, resume=True), loaded)
    resumed.begin()
    try:
        assert [resumed.known(case) is not None for case in loaded] == [True, False, False]
    finally:
        resumed.close()


def test_without_ray_there_is_one_message(
    cases: CaseFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    out = tmp_path / "out"
    case = str(cases.write(request=cases.request()))
    assert main(["run", case, "--on", "ray", "--isolate", "--out", str(out)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "--isolate: nothing to add; workers of --on are processes apart already, and a dead one is replaced" in said
    assert said[-1] == "parity: --on ray: Ray is not installed; pip install 'wan-parity[cluster]'"
    assert not (out / "results.json").exists()
