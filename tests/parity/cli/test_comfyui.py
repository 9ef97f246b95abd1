"""`parity explain --comfyui`: the answer first, every value node by node, and the graph as two files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from parity.case.load import DEMO, load_case
from parity.cli.main import main
from parity.comparison.outcome import blank_result
from parity.factors.comfyui import comfy_advice
from parity.results.case import CaseResult, Run
from parity.results.json_text import from_json, to_json
from pipelines.comfyui.advice import advise
from pipelines.comfyui.graph import read_graph
from reports.render import render
from tests.conftest import CaseFiles
from tests.pipelines.comfyui.test_write import recorded
from tests.support.paths import ROOT
from tests.support.report_cases import HOSTILE, Page
from tests.support.transcript import Terminal, difference, quoted

SHAPES = DEMO / "shapes-faithful.yaml"


def explained(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    """What the command prints, on stderr if it fails."""
    assert main(["explain", *map(str, arguments)]) == code
    done = capsys.readouterr()
    return done.err if code else done.out


def test_the_answer_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    lines = explained(capsys, "--comfyui", SHAPES).splitlines()
    assert lines[0] == (
        "ComfyUI can give this preview up to rounding. In short: sampler euler, scheduler normal, shift 3, 20 steps, "
        "cfg 4, seed 1."
    )
    assert [line.split() for line in lines if "scheduler " in line][1] == ["scheduler", "normal"]


def test_both_forms_are_written_and_nothing_else(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "graphs" / "graph.json"
    printed = explained(capsys, "--comfyui", SHAPES, "--write", path)
    assert printed.endswith(f"written:\n  {path}\n  {path.with_name('graph.workflow.json')}\n")
    assert sorted(file.name for file in path.parent.iterdir()) == ["graph.json", "graph.workflow.json"]
    assert read_graph(path.read_text()) == advise(load_case(SHAPES).preview).settings
    assert json.loads(path.with_name("graph.workflow.json").read_text())["version"] == 0.4
    explained(capsys, "--comfyui", SHAPES, "--write", path)  # the same again is no loss


def test_another_file_is_never_written_over(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    mine = tmp_path / "graph.workflow.json"
    mine.write_text("{}")
    message = explained(capsys, "--comfyui", SHAPES, "--write", tmp_path / "graph.json", code=2)
    assert "graph.workflow.json exists already and is another file" in message
    assert mine.read_text() == "{}"
    assert not (tmp_path / "graph.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--write", "graph.json"], "--write goes with --comfyui CASE"),
        (["--output", "comfy.mp4"], "--output goes with --comfyui CASE"),
        (["--comfyui", SHAPES, "--output", "gone.mp4"], "gone.mp4: does not exist"),
        (["--comfyui", DEMO / "jobs" / "shapes_t2v"], "is a job's folder with many previews; name a case"),
        (["scheduler", "--comfyui", SHAPES], "give a factor, --symptom or --comfyui, not several"),
        (["--comfyui", SHAPES, "--write", "graph.png"], "name a file that ends in .json"),
        (["--comfyui", "gone.yaml"], "gone.yaml"),
    ],
)
def test_a_mistake_is_one_message(
    arguments: list[object], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = explained(capsys, *arguments, code=2)
    assert message in printed
    assert "Traceback" not in printed
    assert not list(tmp_path.iterdir())


def test_a_preview_that_cannot_be_had_says_so_and_writes_nothing(
    cases: CaseFiles, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    job = DEMO / "jobs" / "wan22_5b_t2v"
    video = sorted((job / "samples").glob("*_0.webp"))[0]
    preview = {"config": str(job / "config.yaml"), "sample": 0, "video": str(video), "toolkit": "0.12.26"}
    path = cases.write(model="wan22_5b", checkpoint=str(DEMO / "models" / "tiny-wan22-5b"), preview=preview)
    assert "Wan22ImageToVideoLatent" in explained(capsys, "--comfyui", path)
    assert "no graph to write" in explained(capsys, "--comfyui", path, "--write", tmp_path / "graph.json", code=2)


def test_json_holds_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    data = json.loads(explained(capsys, "--comfyui", SHAPES, "--json"))
    assert (data["case"], data["written"]) == ("shapes-faithful", [])
    assert {"node": "KSampler", "kind": "KSampler", "name": "seed", "value": "1", "now": None} in data["comfyui"][
        "settings"
    ]


def test_a_case_with_a_graph_hears_what_to_change_first() -> None:
    case = load_case(SHAPES)
    advice = comfy_advice(replace(case, comfyui=recorded("t2v-unipc-simple-8")))
    assert advice.answer.startswith("The graph differs from the preview in 4 settings: shift, sampler_name, scheduler")
    assert [(row.now, row.value) for row in advice.changes][:2] == [("8", "3"), ("uni_pc", "euler")]
    right = recorded("t2v-euler-normal-3", "t2v-euler-normal-3-float32_00003_.webp")
    assert comfy_advice(replace(case, comfyui=right)).answer.startswith("The graph's settings are those of the preview")


VIDEO = ROOT / "tests/data/comfyui/t2v-euler-simple-8/float32/t2v-euler-simple-8-float32_00001_.mp4"


@pytest.mark.parametrize("place", [SHAPES, DEMO / "jobs" / "shapes_t2v"], ids=["case", "job"])
def test_a_video_of_comfyui_hears_what_to_change(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = explained(capsys, "--comfyui", place, "--output", VIDEO).splitlines()
    assert lines[0].startswith("The graph differs from the preview in 3 settings: shift, scheduler and file.")
    assert lines[3].split() == ["ModelSamplingSD3", "48", "shift", "8", "->", "3"]


@pytest.fixture(scope="module")
def result() -> CaseResult:
    case = load_case(SHAPES)
    hostile = replace(case, comfyui=replace(recorded("t2v-unipc-simple-8"), prompt=HOSTILE))
    return blank_result(hostile, "drifted", "drifted", ())


def run_of(result: CaseResult) -> Run:
    return Run(started="2026-11-30", finished=None, command=("parity", "run"), environment={}, cases=(result,))


def test_results_keep_it(result: CaseResult) -> None:
    again = from_json(to_json(run_of(result)))
    assert again.cases[0].comfyui == result.comfyui


def test_the_report_has_a_section_of_its_own(result: CaseResult, tmp_path: Path) -> None:
    page = Page(render(run_of(result), tmp_path))
    assert "#case-shapes-faithful/comfyui" in page.attributes("href")
    assert "comfyui" in page.attributes("data-section")
    assert "sampler_name" in page.text
    assert "parity explain --comfyui" in page.text
    assert HOSTILE.replace("\u2028", r"\u2028") in page.text  # as text
    assert "img" not in [tag for tag, attributes in page.elements if attributes.get("src") == "x"]


def test_an_older_result_has_none(result: CaseResult, tmp_path: Path) -> None:
    page = Page(render(run_of(replace(result, comfyui=None)), tmp_path))
    assert "comfyui" not in page.attributes("data-section")


def test_the_document_quotes_what_is_printed(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    commands = quoted((ROOT / "docs" / "comfyui.md").read_text())
    assert len(commands) > 3
    for command in commands:
        if "ComfyUI_00001_.mp4" in command.command:
            shutil.copyfile(VIDEO, terminal.folder / "ComfyUI_00001_.mp4")
        code, printed = terminal.run(command)
        assert code == command.code, command.command
        assert difference(command.lines, printed) is None, command.command


@pytest.mark.process
def test_it_needs_no_torch() -> None:
    code = (
        "import sys; from parity.cli.main import main; "
        f"assert main(['explain', '--comfyui', {str(SHAPES)!r}]) == 0; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
