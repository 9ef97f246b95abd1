"""The command line: exit codes, messages without tracebacks, and output on the right stream."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from parity.case.load import DEMO
from parity.cli.main import main
from parity.results.json_text import from_json
from tests.conftest import CaseFiles

QUICK = {"sample_steps": 1, "num_frames": 1}


def parity(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "parity", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for word in ("run", "plan", "report", "models", "schema", "exit codes"):
        assert word in text


def test_plan_shows_both_recipes_and_marks_differences(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "-k", "guitar-reference"]) == 0
    text = capsys.readouterr().out
    marked = {line.split()[1] for line in text.splitlines() if line.strip().startswith("*")}
    assert marked == {"scheduler", "lora_application", "precision"}
    assert "differs in: scheduler, lora_application, precision" in text


def test_plan_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(DEMO), "--tag", "i2v", "--json"]) == 0
    rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) >= {"i2v-waving-reference", "i2v-waving-faithful", "shapes-i2v-resize"}
    assert rows["i2v-waving-faithful"]["findings"] == []
    assert rows["i2v-waving-reference"]["recipes"]["preview"]["width"] == {"asked": 100, "applied": 96}


def test_models_prints_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    text = capsys.readouterr().out
    for model in ("wan21_14b", "wan21_1b", "wan21_i2v_14b", "wan21_i2v_14b480p", "wan22_14b_t2v"):
        assert model in text


@pytest.mark.parametrize(("name", "key"), [("case", "preview"), ("request", "loras"), ("result", "cases")])
def test_schemas(capsys: pytest.CaptureFixture[str], name: str, key: str) -> None:
    assert main(["schema", name]) == 0
    assert key in json.loads(capsys.readouterr().out)["properties"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plan", "nowhere.yaml"], "nowhere.yaml"),
        (["plan", "-k", "nothing-like-it"], "no case matched"),
        (["plan", "-k", "(guitar"], "parenthesis"),
        (["plan", "--tag", "none"], "no case matched"),
        (["run", "-k", "guitar-faithful", "--device", "cuda:77"], "cuda:77"),
        (["run", "-k", "guitar-faithful", "--device", "cpu", "--offload", "model"], "no GPU"),
        (["report", "nowhere"], "nowhere"),
    ],
)
def test_usage_mistakes_exit_2(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tag", "t2"], "no case matched --tag t2; did you mean t2v?\n"),
        (["--tag", "t2"], "\n  tags: drift, "),
        (["-k", "guitr and not faithful"], "no case matched -k 'guitr and not faithful'; did you mean guitar?\n"),
        (["-k", "guitar", "--tag", "i2"], "no case matched -k 'guitar' and --tag i2; did you mean i2v?\n"),
        (["-k", "guitar", "--tag", "i2v"], "no case matched -k 'guitar' and --tag i2v\n  cases: i2v-waving-faithful, "),
    ],
)
def test_a_selection_that_matches_nothing_says_what_there_is(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *arguments]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.process
def test_a_bad_case_file_exits_2_and_runs_nothing(cases: CaseFiles, tmp_path: Path) -> None:
    path = cases.write(pipelin="faithful")
    done = parity("run", path, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert f"{path}:" in done.stderr
    assert "did you mean pipeline?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.draws
@pytest.mark.process
def test_run_writes_results_and_report_and_another_process_gives_the_same_bits(
    cases: CaseFiles, tmp_path: Path
) -> None:
    path = cases.write(request=cases.request(num_frames=5, sample_steps=2), pipeline="reference", tolerance={"psnr": 1})
    done = parity("run", path, "--out", tmp_path / "out", "--device", "cpu", "--max-size", "0.01")
    assert done.returncode == 1, done.stderr  # five frames against nine
    results, report = done.stdout.split()
    assert from_json(Path(results).read_text()).cases[0].status == "drifted"
    assert "<html" in Path(report).read_text()
    assert "Traceback" not in done.stderr
    assert "DRIFTED  case" in done.stderr
    assert "data:image/webp" not in Path(report).read_text()  # no room
    assert main(["report", str(tmp_path / "out"), "--out", str(tmp_path / "again.html"), "--max-size", "0.01"]) == 0
    assert (tmp_path / "again.html").read_text() == Path(report).read_text()
    assert main(["report", str(tmp_path / "out"), "--out", str(tmp_path / "again.html")]) == 0
    assert "data:image/webp" in (tmp_path / "again.html").read_text()
    main(["run", str(path), "--out", str(tmp_path / "here"), "--device", "cpu", "--no-html"])
    outputs = [from_json((tmp_path / name / "results.json").read_text()).cases[0].output for name in ("out", "here")]
    assert outputs[0] is not None
    assert outputs[0] == outputs[1]


@pytest.mark.draws
def test_run_json_on_stdout_alone(cases: CaseFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = cases.write(request=cases.request(**QUICK), expect=["frame_count", "steps"])
    arguments = ["run", str(path), "--out", str(tmp_path / "out"), "--device", "cpu", "--json", "--no-html"]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["cases"][0]["status"] == "expected_drift"
    assert not (tmp_path / "out" / "report.html").exists()


@pytest.mark.process
def test_an_unwritable_out_is_reported_before_any_work(cases: CaseFiles, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = parity("run", cases.write(), "--out", tmp_path / "file" / "out")
    assert done.returncode == 2
    assert "--out" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_demo_is_complete() -> None:
    """Every case loads; each job with previews has a faithful case, and reference cases state what they expect."""
    from parity.case.load import find_case_files, load_cases
    from pipelines.drift import differing_factors

    loaded = load_cases(find_case_files([]))
    jobs = {path.parent.parent for path in (DEMO / "jobs").glob("*/samples/*.webp")}
    drawn_again = {case.video.parent.parent for case in loaded if not {"reference", "drift"} & set(case.tags)}
    # What low VRAM draws has another number of frames than any server's: that is its story. Wan 2.2 5B is the
    # selftest's, and tests/pipelines/test_wan22_5b.py generates each of its previews.
    others = {DEMO / "jobs" / name for name in ("shapes_t2v_low_vram", "wan22_5b_t2v", "wan22_5b_i2v")}
    assert drawn_again == jobs - others
    for case in loaded:
        if "reference" in case.tags:
            more = {"boundary", "conditioning"} if case.inference.conditioning is not None else set()
            assert set(case.expect or ()) == {"scheduler", "lora_application", "precision", *more}
            assert set(differing_factors(case.preview, case.inference)) == set(case.expect or ())
