"""Workers' results as one run: merging, GPUs, a worker that dies."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from parity.case.load import load_case
from parity.case.progress import Quiet
from parity.results.case import CaseResult, Run
from parity.results.journal import append
from parity.results.json_text import to_json
from parity.results.merge import read_results
from parity.run.options import Options
from parity.run.outdir import SHARES
from parity.run.session import Session
from parity.run.task import Task
from parity.run.workers import Devices, Shares, common_environment
from pipelines.engine.engine import Engine
from pipelines.errors import MediaError, UsageError
from pipelines.files.content import write_atomically
from tests.conftest import CaseFiles
from tests.parity.pytest_plugin.test_pytest_entry import pytest_parity
from tests.support.report_cases import drifted_case, error_case, passed_case, run_of

CPU = {"device": "cpu", "flags": {"threads": 2}}


def test_one_gpu_a_worker() -> None:
    assert [Devices("auto", 2).take("gw0")] == ["cuda:0"]
    for asked in ("auto", "cuda"):
        devices = Devices(asked, 3)
        assert [devices.take(f"gw{n}") for n in range(7)] == [f"cuda:{n % 3}" for n in range(7)]


def test_a_worker_in_the_place_of_a_dead_one_gets_its_gpu() -> None:
    devices = Devices("auto", 2)
    assert [devices.take("gw0"), devices.take("gw1")] == ["cuda:0", "cuda:1"]
    devices.give_back("gw1")
    assert devices.take("gw2") == "cuda:1"


@pytest.mark.parametrize(("asked", "gpus"), [("cuda:1", 2), ("cpu", 2), ("auto", 0), ("cuda", 0)])
def test_one_device_for_all(asked: str, gpus: int) -> None:
    devices = Devices(asked, gpus)
    assert {devices.take(f"gw{n}") for n in range(4)} == {asked}


def test_how_workers_share_devices_is_reported() -> None:
    assert Devices("auto", 0).sentence(2) == "2 workers on the CPU"
    assert Devices("auto", 2).sentence(2) == "2 workers, one GPU each"
    assert Devices("cuda", 2).sentence(4) == "4 workers share 2 GPUs; -n 2 gives each worker a GPU"
    assert Devices("cuda:1", 2).sentence(2) == "2 workers on cuda:1; --parity-device auto gives each worker a GPU"


def test_equal_workers_have_one_environment() -> None:
    assert common_environment({}) == {}
    assert common_environment({"gw1": CPU, "gw0": CPU}) == CPU
    two = {f"gw{n}": {"device": f"cuda:{n}", "gpu": "A"} for n in (10, 9)}
    assert common_environment(two) == {"device": "cuda", "gpu": "A", "workers": {"gw9": "cuda:9", "gw10": "cuda:10"}}


def test_other_gpus_are_other_environments() -> None:
    mixed = {"gw0": {"device": "cuda:0", "gpu": "A"}, "gw1": {"device": "cuda:1", "gpu": "B"}}
    runs = common_environment(mixed)["runs"]
    assert [(run["worker"], run["environment"]["gpu"]) for run in runs] == [("gw0", "A"), ("gw1", "B")]
    threads = {"gw0": CPU, "gw1": {**CPU, "flags": {"threads": 1}}}
    assert set(common_environment(threads)) == {"runs"}


def written(shares: Shares, worker: str, *cases: CaseResult) -> None:
    run = replace(run_of(), environment=CPU, finished=None)
    write_atomically(shares.share(worker), to_json(run).encode())
    for case in cases:
        append(shares.share(worker), run.started, case)


def fresh(out: Path, *, resume: bool = False) -> Shares:
    return Shares(out, "session", ["pytest", "parity/"], resume=resume)


def test_results_are_whole_after_every_case_and_in_the_order_of_collection(tmp_path: Path) -> None:
    out = tmp_path / "out"
    one, two = replace(passed_case(tmp_path), id="one"), replace(drifted_case(tmp_path), id="two")
    shares = fresh(out)
    shares.begin(["one", "two"])
    assert read_results(out / "results.json").cases == ()
    written(shares, "gw1", two)
    shares.read("gw1")
    assert [case.id for case in read_results(out / "results.json").cases] == ["two"]
    assert read_results(out / "results.json").finished is None
    written(shares, "gw0", one)  # its report never came: the session is stopped
    run = shares.close()
    assert [case.id for case in run.cases] == ["one", "two"]
    assert run.finished is not None
    assert run.environment == CPU
    assert read_results(out / "results.json") == run
    assert not (out / SHARES).exists()


def test_a_run_that_lacks_a_case_is_not_finished(tmp_path: Path) -> None:
    shares = fresh(tmp_path)
    shares.begin(["one", "two"])
    written(shares, "gw0", replace(passed_case(tmp_path), id="one"))
    assert shares.close().finished is None


def test_resumed_results_stay_until_they_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(to_json(run_of(passed_case(tmp_path), drifted_case(tmp_path))))
    before = read_results(tmp_path / "results.json")
    shares = fresh(tmp_path, resume=True)
    shares.begin([before.cases[0].id])
    begun = read_results(tmp_path / "results.json")
    assert (begun.cases, begun.environment, begun.finished) == (before.cases, before.environment, None)
    written(shares, "gw0", replace(before.cases[0], verdict="again"))
    run = shares.close()
    assert [case.verdict for case in run.cases] == ["again", before.cases[1].verdict]
    assert run.started == before.started
    with pytest.raises(UsageError, match=r"--resume: no results\.json"):
        fresh(tmp_path / "nothing", resume=True).begin(["one"])


def test_shares_of_a_killed_session_are_not_taken_for_ours(tmp_path: Path) -> None:
    killed = Shares(tmp_path, "killed", [], resume=False)
    written(killed, "gw0", replace(error_case(), id="old"))
    shares = fresh(tmp_path)
    shares.begin(["one"])
    written(killed, "gw0", replace(error_case(), id="old"))  # by an orphan
    written(shares, "gw0", replace(passed_case(tmp_path), id="one"))
    assert [case.id for case in shares.close().cases] == ["one"]


def test_a_folder_is_locked_while_workers_run(tmp_path: Path) -> None:
    shares = fresh(tmp_path)
    shares.begin(["one"])
    with pytest.raises(UsageError, match="another run is writing to this folder"):
        fresh(tmp_path).begin(["one"])
    shares.close()
    fresh(tmp_path).begin(["one"])


def test_results_that_cannot_be_written_are_reported(tmp_path: Path) -> None:
    shares = fresh(tmp_path / "out")
    shares.begin(["one"])
    (tmp_path / "out" / "results.json").unlink()
    (tmp_path / "out" / "results.json").mkdir()
    with pytest.raises(MediaError, match=r"results\.json: cannot be written"):
        shares.close()
    assert shares.out._lock is None


def worker(shares: Shares, name: str, engine: Engine, *, resume: bool = False) -> Session:
    options = Options(out=shares.out.path, device="cpu", share=shares.share(name), resume=resume)
    return Session(options, engine)


def test_sessions_that_share_a_folder(cases: CaseFiles, tmp_path: Path, engine: Engine) -> None:
    """Two workers side by side, then two that resume and draw only what is missing."""
    quick = cases.request(sample_steps=1, num_frames=1)
    paths = [cases.write(name, request=quick, expect=["frame_count", "steps"]) for name in ("one", "two", "three")]
    loaded = [load_case(path) for path in paths]
    out = tmp_path / "out"
    shares = fresh(out)
    shares.begin([case.id for case in loaded])
    with worker(shares, "gw0", engine) as first, worker(shares, "gw1", engine) as second:
        second.run_case(loaded[1], Quiet())
        first.run_case(loaded[0], Quiet())
        assert {path.name for path in shares.share("gw0").parent.iterdir()} == {
            f"{name}.{kind}" for name in ("gw0", "gw1") for kind in ("json", "jsonl")
        }
    run = shares.close()
    assert [case.id for case in run.cases] == ["one", "two"]
    assert run.finished is None

    again = fresh(out, resume=True)
    again.begin([case.id for case in loaded])
    with worker(again, "gw0", engine, resume=True) as session:
        kept = [session.run_case(case, Quiet()) for case in loaded]
    resumed = again.close()
    assert kept[:2] == list(run.cases)
    assert [case.id for case in resumed.cases] == ["one", "two", "three"]
    assert resumed.finished is not None
    data = json.loads((out / "results.json").read_text())
    other = {**data, "environment": {**data["environment"], "libwebp": "0.1"}}
    (out / "results.json").write_text(json.dumps(other))
    third = fresh(out, resume=True)
    third.begin(["one"])
    with pytest.raises(UsageError, match=r"libwebp 0.1 -> "):
        worker(third, "gw0", engine, resume=True).__enter__()


def test_what_a_worker_died_of(cases: CaseFiles, tmp_path: Path) -> None:
    case = load_case(cases.write("case"))
    shares = fresh(tmp_path / "out")
    shares.begin(["case", "late"])
    result = shares.died(case, "gw1", Task())
    assert result.status == "error"
    assert "worker gw1 died while running it" in result.verdict
    written(shares, "gw2", replace(error_case(), id="late", verdict="step 3 took more than 5 s"))
    late = load_case(cases.write("late"))
    assert shares.died(late, "gw2", Task()).verdict == "step 3 took more than 5 s"  # the watchdog's last word
    assert [case.id for case in shares.close().cases] == ["case", "late"]


def test_a_worker_that_died_amid_a_diagnosis_has_compared(cases: CaseFiles, tmp_path: Path) -> None:
    case = load_case(cases.write("case"))
    shares = fresh(tmp_path / "out")
    shares.begin(["case"])
    compared = replace(drifted_case(tmp_path), id="case", diagnosis=None)
    written(shares, "gw1", compared)
    assert shares.died(case, "gw1", Task()) == compared  # no diagnosis was to follow
    result = shares.died(case, "gw1", Task(diagnose="full", only_drifted=True))
    assert (result.status, result.verdict, result.output) == (compared.status, compared.verdict, compared.output)
    assert result.diagnosis is not None
    assert result.diagnosis.sentence.startswith("stopped: worker gw1 died while running it")
    assert shares.close().cases == (result,)


@pytest.mark.process
def test_a_worker_that_is_killed_fails_its_case_by_name(cases: CaseFiles, tmp_path: Path) -> None:
    quick = cases.request(sample_steps=1, num_frames=1)
    for name in ("before", "killed", "later", "last"):
        cases.write(name, request=quick, expect=["frame_count", "steps"])
    out = tmp_path / "out"
    done = pytest_parity(
        *("-p", "tests.support.faults", "-n", "2", "--parity-cases", cases.folder, "--parity-out", out),
        *("--junitxml", tmp_path / "junit.xml"),
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAILED parity/test_parity.py::test_case[killed] - error: could not be run" in done.stdout
    assert "died while running it" in done.stdout
    assert "1 failed, 3 xfailed" in done.stdout
    run: Run = read_results(out / "results.json")
    assert {case.id: case.status for case in run.cases} == {
        "before": "expected_drift",
        "killed": "error",
        "later": "expected_drift",
        "last": "expected_drift",
    }
    assert run.finished is not None
    assert not list(out.glob("artifacts/.new-*"))
    assert 'name="test_case[killed]"' in (tmp_path / "junit.xml").read_text()
