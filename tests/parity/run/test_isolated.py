"""`--isolate`: real processes that really die, by a crash, an abort or the system's kill, and the cases beside them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pipelines.apart
from parity.case.load import Case, load_cases
from parity.case.progress import Quiet
from parity.cli.main import main
from parity.results.case import CaseResult, Run
from parity.results.merge import read_results
from parity.run.isolated import IsolatedSession
from parity.run.outdir import UNDER_WAY
from parity.run.session import Session
from pipelines.engine.engine import Engine
from pipelines.errors import UsageError
from tests.conftest import CaseFiles
from tests.support.cgroups import memory_of
from tests.support.paths import ROOT
from tests.support.prepared import python
from tests.support.sessions import options as session_options

TIMES = {"started", "finished", "timings", "speed"}
"""What two runs of the same need not share."""

PLANTED = """
import ctypes, json, os, signal, sys
from pathlib import Path
from parity.diagnosis.lab import Lab
from parity.run import isolated_child

deaths = json.loads(Path(os.environ["DEATHS"]).read_text())
generate = Lab.generate

def dying(lab, recipe, label, *rest, **more):
    planned = deaths.get(lab.case.id, [])
    death = planned.pop(0) if planned else None
    Path(os.environ["DEATHS"]).write_text(json.dumps(deaths))
    def step(done, steps, on_step=lab.progress.step_done):
        on_step(done, steps)
        if death == "crash":
            ctypes.string_at(1)
        elif death == "abort":
            print("a library prints why", file=sys.stderr, flush=True)
            os.abort()
        elif death == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif death == "eat":
            Path(os.environ["GROUP"]).write_text(str(os.getpid()))
            kept = [bytes([1]) * (64 << 20) for _ in range(1 << 10)]
        elif death == "leave":
            os._exit(7)
        elif death == "hang":
            lab.progress._watchdog._on_hang("step 2 of 2 took more than 600 s (--timeout)")
    if death:
        lab.progress.step_done = step
    return generate(lab, recipe, label, *rest, **more)

Lab.generate = dying
isolated_child.main()
"""


@pytest.fixture
def deaths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that says how the process dies over each case, a way for each time it is generated."""
    monkeypatch.setattr(pipelines.apart, "PYTHON", (*python(), "-c", PLANTED))
    file = tmp_path / "deaths.json"
    file.write_text("{}")
    monkeypatch.setenv("DEATHS", str(file))
    return file


def tiny(cases: CaseFiles, *names: str) -> list[Case]:
    """Cases of one frame and two steps, each with a seed of its own."""
    files = [
        cases.write(name, request=cases.request(sample_steps=2, num_frames=1, seed=seed))
        for seed, name in enumerate(names)
    ]
    return load_cases(files)


def isolated(cases: list[Case], out: Path, progress: Quiet | None = None, **options: Any) -> Run:
    with IsolatedSession(session_options(out, device="cpu", **options)) as session:
        for case in cases:
            session.run_case(case, progress or Quiet())
        return session.finish([case.id for case in cases])


def in_this_process(cases: list[Case], out: Path, engine: Engine) -> Run:
    with Session(session_options(out, device="cpu"), engine) as session:
        for case in cases:
            session.run_case(case, Quiet())
        return session.finish([case.id for case in cases])


def without_times(out: Path) -> dict[str, Any]:
    """results.json but for times."""
    run = json.loads((out / "results.json").read_text())
    run["cases"] = {case["id"]: {k: v for k, v in case.items() if k not in TIMES} for case in run["cases"]}
    return {key: value for key, value in run.items() if key not in TIMES}


class Heard(Quiet):
    """Hears what a run says of itself."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def trial_started(self, label: str, steps: int) -> None:
        self.words.append(f"{label}: {steps} steps")

    def phase(self, name: str, part: str) -> None:  # noqa: ARG002
        self.words.append(name)

    def step_done(self, done: int, steps: int) -> None:
        self.words.append(f"{done} of {steps}")

    def case_finished(self, result: CaseResult) -> None:
        self.words.append(f"{result.id} finished")


@pytest.mark.process
@pytest.mark.draws
def test_a_case_that_kills_its_process_is_an_error_and_the_others_are_what_they_were(
    cases: CaseFiles, tmp_path: Path, engine: Engine, deaths: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    deaths.write_text(json.dumps({"crash": ["crash"], "abort": ["abort"], "once": ["kill"], "twice": ["kill"] * 2}))
    loaded = tiny(cases, "first", "crash", "once", "abort", "twice", "last")
    heard = Heard()
    run = isolated(loaded, tmp_path / "apart", heard)
    in_this_process([case for case in loaded if case.id in ("first", "once", "last")], tmp_path / "here", engine)

    assert run.finished is not None
    assert run.exit_code == 3
    apart, here = without_times(tmp_path / "apart"), without_times(tmp_path / "here")
    for name in ("first", "last"):
        assert apart["cases"][name] == here["cases"][name]
    once = apart["cases"]["once"]
    assert once.pop("notes")[-1].endswith("; this is the result of a second one")
    assert once == {key: value for key, value in here["cases"]["once"].items() if key != "notes"}
    assert {key: value for key, value in apart.items() if key != "cases"} == {
        key: value for key, value in here.items() if key != "cases"
    }

    errors = {case.id: case.error or "" for case in run.cases if case.status == "error"}
    assert set(errors) == {"crash", "abort", "twice"}
    assert "was killed by signal 11 (SIGSEGV) (it was at: step 2 of 2" in errors["crash"]
    assert "was killed by signal 6 (SIGABRT)" in errors["abort"]
    assert errors["twice"].count("was killed by signal 9 (SIGKILL), as the system does when memory runs out") == 2
    for case in loaded:
        if case.id in errors:
            assert f"to run it alone: parity run {case.path} --isolate --device cpu" in errors[case.id]
    assert "Segmentation fault" in (tmp_path / "apart/errors/crash.txt").read_text()
    assert "a library prints why" in (tmp_path / "apart/errors/abort.txt").read_text()
    said = capfd.readouterr().err
    assert "a library prints why" in said
    assert said.count("twice: the process that ran it was killed by signal 9 (SIGKILL)") == 1
    assert "Fatal Python error" not in said
    first = heard.words[: heard.words.index("first finished") + 1]
    assert [word for word in first if word.startswith(("first", "1 ", "2 "))] == [
        "first: 2 steps", "1 of 2", "2 of 2", "first finished",
    ]  # fmt: skip
    assert {"load", "decode", "compare"} <= set(first)
    assert sorted(path.name for path in (tmp_path / "apart").iterdir()) == [
        ".gitignore", "artifacts", "errors", "results.json",
    ]  # fmt: skip


@pytest.mark.process
@pytest.mark.draws
def test_a_process_that_ends_itself_ends_no_run(
    cases: CaseFiles, tmp_path: Path, deaths: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deaths.write_text(json.dumps({"hangs": ["hang"], "leaves": ["leave"]}))
    run = isolated(tiny(cases, "hangs", "leaves"), tmp_path / "out", timeout=600.0)
    assert [case.status for case in run.cases] == ["error", "error"]
    assert "step 2 of 2 took more than 600 s (--timeout) and could not be stopped" in (run.cases[0].error or "")
    assert "ended with exit code 7 (it was at: step 2 of 2" in (run.cases[1].error or "")
    said = capsys.readouterr().err
    assert "hangs: step 2 of 2 took more than 600 s (--timeout); the process is ended, another one runs the" in said


@pytest.mark.process
@pytest.mark.draws
def test_where_memory_is_limited_the_kernel_kills_one_case(
    cases: CaseFiles, tmp_path: Path, deaths: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths.write_text(json.dumps({"eats": ["eat", "eat"]}))
    with memory_of(900 << 20) as group:
        if group is None:
            pytest.skip("this user may not make a cgroup; that SIGKILL is one case's error is tried all the same")
        monkeypatch.setenv("GROUP", str(group / "cgroup.procs"))
        run = isolated(tiny(cases, "eats", "last"), tmp_path / "out")
        assert (group / "cgroup.procs").read_text() == ""
    eats, last = run.cases
    said = "was killed by signal 9 (SIGKILL), as the system does when memory runs out (it was at: step 2 of 2"
    assert (eats.error or "").count(said) == 2
    assert last.output is not None


@pytest.mark.process
@pytest.mark.draws
def test_a_death_amid_a_diagnosis_loses_no_comparison(cases: CaseFiles, tmp_path: Path, deaths: Path) -> None:
    """The request is the first generation, and is compared; the process dies over the second."""
    deaths.write_text(json.dumps({"crash": [None, "crash"], "hangs": [None, "hang"]}))
    loaded, out = tiny(cases, "crash", "hangs"), tmp_path / "out"
    run = isolated(loaded, out, diagnose="full")
    for case, said in zip(
        run.cases, ("killed by signal 11 (SIGSEGV)", "took more than 600 s (--timeout)"), strict=True
    ):
        assert (case.status, case.error) == ("drifted", None)
        assert case.output is not None
        assert (out / case.artifacts["output"]).exists()
        assert case.diagnosis is not None
        assert case.diagnosis.stopped == "error"
        assert said in case.diagnosis.sentence
    assert "Segmentation fault" in (out / "errors/crash.txt").read_text()
    resumed = isolated(loaded, out, diagnose="full", resume=True)
    assert [case.diagnosis and case.diagnosis.stopped in ("error", "interrupted") for case in resumed.cases] == [
        False
    ] * 2


class Stopping(Quiet):
    """Presses Ctrl-C in the trial that is not the request itself, or in the case with this id."""

    def __init__(self, case: str) -> None:
        self._case, self.finished = case, [""]

    def trial_started(self, label: str, steps: int) -> None:  # noqa: ARG002
        if (label == self._case) if self._case else label not in ("diagnosed", "later"):
            raise KeyboardInterrupt

    def case_finished(self, result: CaseResult) -> None:
        self.finished.append(result.id)


@pytest.mark.process
@pytest.mark.draws
@pytest.mark.usefixtures("deaths")
def test_ctrl_c_keeps_what_was_found_out_and_a_resumed_run_the_rest(cases: CaseFiles, tmp_path: Path) -> None:
    loaded = tiny(cases, "diagnosed", "later")
    out, stopping = tmp_path / "out", Stopping("")
    with pytest.raises(KeyboardInterrupt):
        isolated(loaded, out, stopping, diagnose="full")
    assert stopping.finished == ["", "diagnosed"]
    run = read_results(out / "results.json")
    assert run.finished is None
    assert [case.diagnosis is not None and case.diagnosis.stopped for case in run.cases] == ["interrupted"]
    with pytest.raises(KeyboardInterrupt):  # this time the comparison alone is asked for, which is known
        isolated(loaded, out, Stopping("later"), resume=True)
    assert [case.id for case in read_results(out / "results.json").cases] == ["diagnosed"]
    assert not (out / UNDER_WAY).exists()
    assert isolated(loaded, out, resume=True).finished is not None


@pytest.mark.process
def test_what_concerns_the_whole_run_is_raised_as_without(
    cases: CaseFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelines.apart, "PYTHON", tuple(python()))
    with pytest.raises(UsageError, match="--device"):
        IsolatedSession(session_options(tmp_path / "out", device="cuda:99"))
    with pytest.raises(UsageError, match="--resume: no results"):
        isolated(tiny(cases, "one"), tmp_path / "out", resume=True)


WITHOUT_TORCH = """
import os, sys
import pipelines.apart
from parity.cli.main import main
pipelines.apart.PYTHON = tuple(os.environ["CHILD"].split("|"))
code = main(["run", sys.argv[1], "--isolate", "--out", sys.argv[2]])
assert "torch" not in sys.modules
sys.exit(code)
"""


@pytest.mark.process
@pytest.mark.draws
def test_the_process_that_keeps_the_results_cannot_touch_the_device(cases: CaseFiles, tmp_path: Path) -> None:
    [case] = tiny(cases, "one")
    environment = os.environ | {"CHILD": "|".join(python()), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WITHOUT_TORCH, str(case.path), str(tmp_path / "out")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    assert (tmp_path / "out" / "report.html").exists()


def test_a_resumed_run_names_the_case_that_killed_the_process(
    cases: CaseFiles, tmp_path: Path, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    [case] = tiny(cases, "deadly")
    out = tmp_path / "out"
    with Session(session_options(out, device="cpu"), engine) as session:
        session.record.begin(case)  # and here it dies
    said = "the run before was killed or crashed while it ran deadly"
    assert (out / UNDER_WAY).read_text() == "deadly"
    again = ["run", str(case.path), "--device", "cpu", "--no-html", "--out", str(out)]
    assert main([*again, "--resume"]) in (0, 1)
    assert f"{said}; if that comes again, add --isolate" in capsys.readouterr().err
    assert main([*again, "--resume"]) in (0, 1)
    assert said not in capsys.readouterr().err
