"""`pytest parity/` as users call it, in one process and on two workers."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

import pipelines.apart
from parity.case.load import find_case_files, load_cases
from parity.pytest_plugin.wording import in_pytests_words, marker_name, properties
from parity.results.case import Run
from parity.results.json_text import from_json
from parity.results.merge import read_results
from parity.run.outdir import OutDir
from parity.run.partition import shard_of, weigh
from parity.run.task import Task
from pipelines.cpu_kernels import PORTABLE
from tests.conftest import CaseFiles
from tests.support.paths import ROOT
from tests.support.prepared import python
from tests.support.report_cases import drifted_case, passed_case

pytestmark = [pytest.mark.draws, pytest.mark.process]

Done = subprocess.CompletedProcess[str]
WITHOUT = ("-p", "no:schemathesis", "-p", "no:hypothesispytest")
"""Plugins of this repository's own tests, which take every process half a second to import."""


def pytest_parity(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> Done:
    """`pytest parity/ …` in a process of its own."""
    return pytest_in(ROOT, "parity/", *arguments, environment=environment)


def pytest_in(folder: Path, *arguments: str | Path, environment: Mapping[str, str] | None = None) -> Done:
    """`pytest …` in a process of its own, where the wheel is as good as a clone: `--parity-cases` says what to test."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *WITHOUT, *map(str, arguments)]
    env = {**os.environ, **(environment or {})}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=env)


def pytest_parity_here(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> Done:
    """`pytest parity/ …` in this process, where what takes a process most of its time is imported already."""
    out, err = io.StringIO(), io.StringIO()
    own = ["parity/", "-p", "no:cacheprovider", "-p", "no:faulthandler", "--capture=sys", *map(str, arguments)]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(ROOT)
        for name, value in (environment or {}).items():
            patch.setenv(name, value)
        code = pytest.main(own)
    return Done(own, code, out.getvalue(), err.getvalue())


def by(workers: str) -> Callable[..., Done]:
    """Return the function that runs a session with so many workers."""
    return pytest_parity_here if workers == "0" else pytest_parity


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A session over the same four cases."""

    done: Done
    folder: Path

    @property
    def run(self) -> Run:
        return from_json((self.folder / "out" / "results.json").read_text())

    def data(self) -> Any:
        """results.json without times and the command line."""
        data = json.loads((self.folder / "out" / "results.json").read_text())
        for key in ("started", "finished", "command"):
            data.pop(key)
        for case in data["cases"]:
            case.pop("timings")
            case.pop("speed")
        return data


def ran(cases: Path, folder: Path, workers: str) -> Ran:
    folder.mkdir()
    session = pytest_parity_here if workers == "0" else partial(pytest_in, folder)
    done = session(
        "--parity-cases",
        cases,
        "--parity-out",
        folder / "out",
        "--junitxml",
        folder / "junit.xml",
        "-v",
        *("-n", workers),
        environment={"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(folder / "summary.md")},
    )
    return Ran(done=done, folder=folder)


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One as expected, one that drifted, one whose expectation no longer holds, one that nobody can repeat."""
    folder = tmp_path_factory.mktemp("four")
    files = CaseFiles(folder)
    quick = files.request(sample_steps=1, num_frames=1)
    files.write("fine", request=quick, expect=["frame_count", "steps"], tags=["smoke", "step 2000", "skip"])
    files.write("bad", request=quick, tags=["smoke", "i2v"])
    files.write("mended", request=quick, expect=["frame_count", "steps", "seed"])
    gone = files.write("gone")
    gone.write_text(gone.read_text().replace("preview:", "preview:\n  unpairable: the LoRA was pruned"))
    return folder


@pytest.fixture(scope="module")
def alone(four: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return ran(four, tmp_path_factory.mktemp("alone") / "run", "0")


@pytest.fixture(scope="module")
def spread(four: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return ran(four, tmp_path_factory.mktemp("spread") / "run", "2")


def test_one_test_a_case_with_the_verdict_as_failure(alone: Ran) -> None:
    out = alone.done.stdout
    assert alone.done.returncode == 1, out + alone.done.stderr
    for outcome in ("fine] XFAIL", "bad] FAILED", "mended] FAILED", "gone] FAILED"):
        assert f"test_case[{outcome}" in out
    assert "XFAIL parity/test_parity.py::test_case[fine] - expected drift: frame_count, steps" in out
    assert "drifted: psnr, ssim: the preview has 9 frames" in out
    assert "  frame_count: 9 -> 1\n    change: send num_frames 9 in the request\n" in out
    assert f"to look: open {alone.folder}/out/report.html\n" in out
    bad = out.partition("test_case[bad] _")[2].partition("test_case[")[0]
    assert "to see what differs: parity plan " in bad  # other frame counts: there is nothing to diagnose
    assert re.search(r"if this is intended: parity expect \S+bad.yaml --results \S+/out/results.json\n", bad)
    assert "drifted: expected difference not found: seed" in out
    assert "unpairable: cannot be reproduced: the LoRA was pruned" in out
    for internal in ("parity_session", "Traceback", "runner.py", "test_parity.py:1", "test_parity.py:2"):
        assert internal not in out
    assert "wan-parity: 4 cases: 2 drifted, 1 expected_drift, 1 unpairable\n" in out
    assert (alone.folder / "out" / "report.html").is_file()


def test_two_workers_give_the_same_results(alone: Ran, spread: Ran) -> None:
    assert spread.done.returncode == 1, spread.done.stdout + spread.done.stderr
    assert "wan-parity: 2 workers on " in spread.done.stdout
    assert alone.data() == spread.data()
    assert [case.id for case in spread.run.cases] == ["bad", "fine", "gone", "mended"]
    assert spread.run.finished is not None
    files = [
        {path.relative_to(each.folder): path.read_bytes() for path in each.folder.glob("out/artifacts/**/*.*")}
        for each in (alone, spread)
    ]
    assert files[0] == files[1]
    assert len(files[0]) > 3
    written = {".gitignore", "results.json", "report.html", "artifacts"}
    assert {path.name for path in (spread.folder / "out").iterdir()} == written


@pytest.mark.parametrize("name", ["alone", "spread"])
def test_junit_knows_the_numbers(name: str, request: pytest.FixtureRequest) -> None:
    each: Ran = request.getfixturevalue(name)
    cases = {case.get("name"): case for case in ET.parse(each.folder / "junit.xml").iter("testcase")}
    told = {
        case: {item.get("name"): item.get("value") for item in element.iter("property")}
        for case, element in cases.items()
    }
    fine = told["test_case[fine]"]
    assert fine["status"] == "expected_drift"
    assert fine["factors"] == "frame_count, steps"
    assert fine["bit_identical"] == "false"
    result = next(case for case in each.run.cases if case.id == "fine")
    assert result.output is not None
    assert fine["output_sha256"] == result.output.sha256
    assert fine["report"] == str(each.folder / "out" / "report.html")
    assert str(fine["psnr_mean"]).startswith("unavailable: the preview has 9 frames")
    skipped = cases["test_case[fine]"].find("skipped")
    assert skipped is not None
    assert skipped.get("message") == "expected drift: frame_count, steps"
    assert told["test_case[gone]"]["verdict"] == "cannot be reproduced: the LoRA was pruned"
    assert cases["test_case[bad]"].find("failure") is not None


@pytest.mark.parametrize("name", ["alone", "spread"])
def test_github_gets_one_summary_and_each_annotation_once(name: str, request: pytest.FixtureRequest) -> None:
    each: Ran = request.getfixturevalue(name)
    annotations = [line for line in each.done.stdout.splitlines() if line.startswith("::")]
    assert len([line for line in annotations if line.startswith("::error file=")]) == 3
    summary = (each.folder / "summary.md").read_text()
    assert summary.count("## wan-parity:") == 1
    assert "2 of 4 cases drifted" in summary


def test_markers_resume_and_an_exit_code_of_0(four: Path, alone: Ran) -> None:
    """On what another session left: nothing is drawn. `skip` is a tag of `fine`, and does not skip it."""
    done = pytest_parity_here(
        "--parity-cases", four, "--parity-out", alone.folder / "out", "--parity-resume", "-m", "smoke and not i2v"
    )
    assert done.returncode == 0, done.stdout + done.stderr  # xfail_strict is set in pyproject.toml
    assert "1 xfailed" in done.stdout
    assert "deselected" in done.stdout
    assert [case.status for case in alone.run.cases].count("drifted") == 2  # what was not run again stays


def test_tag_and_diagnosis_on_failure(cases: CaseFiles, tmp_path: Path) -> None:
    cases.write("one", request=cases.request(sample_steps=1), tags=["asked"])
    cases.write("two", request=cases.request(sample_steps=1), tags=["asked"])
    done = pytest_parity_here(
        *("--parity-cases", cases.folder, "--parity-out", tmp_path / "out", "--parity-tag", "asked"),
        *("--parity-diagnose", "on-failure", "-x"),
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "steps: 6 -> 1" in done.stdout
    assert "diagnosis:" in done.stdout
    run = from_json((tmp_path / "out" / "results.json").read_text())
    assert [case.id for case in run.cases] == ["one"]
    assert run.cases[0].diagnosis is not None
    assert run.cases[0].diagnosis.smallest_set == ("steps",)
    assert run.finished is None  # -x: the second is missing
    assert "the run was stopped before all cases were run" in done.stdout


ABORTING = """
import os
from parity.diagnosis.lab import Lab
from parity.run import isolated_child
Lab.generate = lambda *_, **__: os.abort()
isolated_child.main()
"""


def test_isolated_cases_fail_with_how_their_process_died(
    cases: CaseFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelines.apart, "PYTHON", (*python(), "-c", ABORTING))
    case = cases.write("deadly", request=cases.request(sample_steps=1, num_frames=1))
    done = pytest_parity_here("--parity-cases", case, "--parity-isolate", "--parity-out", tmp_path / "out")
    assert done.returncode == 1
    assert "the process that ran it was killed by signal 6 (SIGABRT)" in done.stdout
    [result] = read_results(tmp_path / "out" / "results.json").cases
    assert result.status == "error"


def test_a_shard_is_that_of_the_command_line(cases: CaseFiles, tmp_path: Path) -> None:
    quick = cases.request(sample_steps=1, num_frames=1)
    for name in ("one", "two"):
        cases.write(name, request=quick, expect=["frame_count", "steps"])
    weighed = weigh(load_cases(find_case_files([cases.folder])), Task())
    shard = shard_of(weighed, 2, 2)
    given = ("--parity-cases", cases.folder, "--parity-shard", "2/2", "--parity-out", tmp_path / "out")
    done = pytest_parity_here(*given)
    run = from_json((tmp_path / "out" / "results.json").read_text())
    assert (done.returncode, run.shard) == (0, shard), done.stdout
    assert tuple(case.id for case in run.cases) == shard.ids()
    assert len(shard.ids()) == 1
    other = pytest_parity_here(*given[:3], "1/2", *given[4:])
    assert "has the results of shard 2 of 2" in other.stdout + other.stderr
    selecting = pytest_parity_here(*given, "-k", "one")
    assert (selecting.returncode, "use --parity-tag" in selecting.stdout + selecting.stderr) == (4, True)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_bad_case_file_stops_collection_with_one_message(cases: CaseFiles, workers: str) -> None:
    cases.write("bad", modle="x")
    done = by(workers)("--parity-cases", cases.folder, "-n", workers)
    assert done.returncode != 0
    assert (done.stdout + done.stderr).count("did you mean model?") == 1
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_second_session_in_the_folder_is_refused(cases: CaseFiles, tmp_path: Path, workers: str) -> None:
    cases.write()
    first = OutDir(tmp_path / "out")
    first.acquire()
    try:
        done = by(workers)("--parity-cases", cases.folder, "--parity-out", first.path, "-n", workers)
    finally:
        first.release()
    assert done.returncode == 2
    said = f"--parity-out {first.path}: another run is writing to this folder; wait for it, or choose another folder"
    assert (done.stdout + done.stderr).count(said) == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert not first.results.exists()


def test_wrong_options_get_the_command_lines_messages(cases: CaseFiles) -> None:
    cases.write()
    done = pytest_parity_here("--parity-timeout", "soon")
    assert "must be a number of seconds above 0, e.g. 600, not 'soon'" in done.stderr
    done = pytest_parity_here("--parity-cases", cases.folder, "--parity-tag", "none")
    assert "no case matched --parity-tag none" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_pyproject_sets_defaults_where_cases_are_asked_for(cases: CaseFiles, tmp_path: Path) -> None:
    for name, tags in (("one", ["a"]), ("two", ["b"]), ("three", [])):
        cases.write(name, tags=tags)
    cases.write("hostile", tags=["a", "##[a]"]).rename(cases.folder / "##[x]\n::error::\x1b.yaml")
    project = tmp_path / "pyproject.toml"
    project.write_text('[tool.wan-parity]\ncases = ["."]\ntag = "a"\n')
    asked = ("--pyargs", "parity", "--collect-only", "-q")
    listed = pytest_in(tmp_path, *asked).stdout
    assert [name for name in ("one", "two", "three") if f"[{name}]" in listed] == ["one"]
    assert "##\\" in listed  # on GitHub, `##[` is a command wherever it stands
    assert "##[" not in listed
    listed = pytest_in(tmp_path, *asked, "--parity-tag", "b", "-n", "2").stdout
    assert [name for name in ("one", "two", "three") if f"[{name}]" in listed] == ["two"]
    project.write_text("[tool.wan-parity]\ntimeout = 'soon'\n")
    done = pytest_in(tmp_path, *asked, "-n", "2")
    assert f"{project}:2: tool.wan-parity.timeout: must be a number of seconds" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    (tmp_path / "test_mine.py").write_text("def test_mine():\n    pass\n")
    assert pytest_in(tmp_path, "test_mine.py", "-q").returncode == 0  # a session that is not about cases


def test_the_demo_is_collected_by_default() -> None:
    done = pytest_parity("--collect-only", "-q", "-n", "2")
    assert done.returncode == 0, done.stdout
    assert "test_case[t2v-guitar-faithful]" in done.stdout


def test_a_session_that_is_not_about_cases_loads_no_torch(tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text(
        "import os, sys\n\n\ndef test_own(pytestconfig):\n"
        "    assert pytestconfig.getoption('--parity-cases') is None\n"
        "    assert not {'torch', 'pydantic', 'parity.pytest_plugin.hooks'} & set(sys.modules)\n"
        "    assert 'MKL_CBWR' not in os.environ\n"
    )
    environment = {name: value for name, value in os.environ.items() if name not in PORTABLE}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *WITHOUT, "-q"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("paths", "collected"),
    [
        ([], ["test_case[one]"]),
        (["parity/"], ["test_case[one]"]),
        (["parity/test_parity.py"], ["test_case[one]"]),
        (["--pyargs", "parity"], ["test_case[one]"]),
        (["-o", "python_files=check_*.py"], ["test_case[one]"]),
        (["OWN"], ["test_own", "test_case[one]"]),
        (["OWN::test_own"], ["test_own", "test_case[one]"]),
        (["OWN", "parity/"], ["test_own", "test_case[one]"]),
    ],
    ids=" ".join,
)
def test_cases_are_collected_once_beside_what_else_is_named(
    paths: list[str], collected: list[str], cases: CaseFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases.write("one")
    own = cases.folder / "test_own.py"
    own.write_text("def test_own(): pass\n")
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "test_own", raising=False)  # the one before, in another folder
    given = [path.replace("OWN", str(own)) for path in paths]
    out = io.StringIO()
    with redirect_stdout(out):
        options = ["--collect-only", "-q", "-p", "no:cacheprovider", "--capture=sys", "--parity-cases"]
        code = pytest.main([*given, *options, str(cases.folder)])
    assert code == 0, out.getvalue()
    assert [line.partition("::")[2] for line in out.getvalue().splitlines() if "::" in line] == collected


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("smoke", "smoke"),
        ("step-2000", "step-2000"),
        ("lora/v1.2", "lora/v1.2"),
        ("two words: (a)", "two_words_a_"),
        ("größe", "größe"),
        ("skip", "tag_skip"),
        ("not", "tag_not"),
        ("_own", "tag__own"),
        ("", "tag_"),
    ],
)
def test_markers_of_tags(tag: str, name: str) -> None:
    assert marker_name(tag) == name
    assert getattr(pytest.MarkGenerator(_ispytest=True), name).name == name


def test_options_in_messages() -> None:
    said = "--out x: choose another, or --parity-out; `--output` and --timeouts are others; give --no-cache"
    assert in_pytests_words(said) == (
        "--parity-out x: choose another, or --parity-out; `--output` and --timeouts are others; give --parity-no-cache"
    )


def test_properties_are_flat(tmp_path: Path) -> None:
    for case in (passed_case(tmp_path), drifted_case(tmp_path)):
        told = properties(case, tmp_path / "report.html")
        assert {"psnr_mean", "psnr_worst", "ssim_mean", "ssim_worst"} <= set(told)
        assert all(isinstance(value, (str, float)) for value in told.values())
