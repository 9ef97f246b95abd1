"""`parity plan --output`: a ComfyUI video against a case or a job, without generating anything."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from parity.case.load import DEMO
from parity.cli.main import main

RECORDINGS = Path(__file__).parents[2] / "data" / "comfyui"
SIMPLE_8 = RECORDINGS / "t2v-euler-simple-8" / "float32" / "t2v-euler-simple-8-float32_00001_.mp4"
SPLIT_10 = RECORDINGS / "wan22-t2v-20-10" / "float32" / "wan22-t2v-20-10-float32_00001_.webp"
JOB = DEMO / "jobs" / "shapes_t2v"


def planned(capsys: pytest.CaptureFixture[str], *arguments: Path | str) -> dict[str, Any]:
    assert main(["plan", "--output", *map(str, arguments), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    return dict(row)


def factors(row: dict[str, Any]) -> set[str]:
    return {finding["factor"] for finding in row["findings"]}


@pytest.mark.parametrize(
    "place", [JOB, JOB / "config.yaml", DEMO / "shapes-faithful.yaml"], ids=["job", "config", "case"]
)
def test_a_video_against_a_job_or_a_case(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = planned(capsys, SIMPLE_8, place)
    evidence = {finding["factor"]: finding["evidence"] for finding in row["findings"]}
    assert evidence.items() >= {("schedule", "file"), ("shift", "file"), ("codec", "file"), ("precision", "expected")}
    assert not evidence.keys() & {"prompt", "seed", "steps", "guidance", "lora_file", "lora_scale", "sampler", "fps"}
    assert (row["graph"], row["output"]) == ("mp4 key prompt", str(SIMPLE_8))
    assert Path(row["preview"]).name == "1795354594924__000000500_0.webp"
    assert {(change["name"], change["now"], change["value"]) for change in row["changes"]} >= {
        ("shift", "8", "3"),
        ("scheduler", "simple", "normal"),
    }
    assert row["recipes"]["inference"]["scheduler"]["settings"]["schedule"] == "simple"
    assert row["obstacles"] == {"preview": [], "inference": []}
    assert len(row["unknown"]) >= 4


def test_the_answer_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--output", str(SIMPLE_8), str(JOB)]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"{SIMPLE_8.name} differs from the preview in: schedule, shift, codec (by its graph)\n")
    for part in ("8 -> 3", "simple -> normal", "not in the file:", "next: parity import", "its prompt is the graph's"):
        assert part in text


def test_two_experts(capsys: pytest.CaptureFixture[str]) -> None:
    row = planned(capsys, SPLIT_10, DEMO / "jobs" / "wan22_t2v")
    assert {"steps", "boundary"} <= factors(row)
    assert row["recipes"]["inference"]["split"] == 10


def test_a_workflow_is_as_good_as_a_video(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    of_video = planned(capsys, SIMPLE_8, JOB)
    for name in ("prompt.json", "workflow.json"):
        shutil.copy(SIMPLE_8.parent / name, tmp_path / name)
        row = planned(capsys, tmp_path / name, JOB)
        assert row["findings"] == of_video["findings"]


def edited(tmp_path: Path, **changes: Any) -> Path:
    """The recording's graph with other inputs in every node that has them."""
    graph = json.loads((SIMPLE_8.parent / "prompt.json").read_text())
    for node in graph.values():
        node["inputs"].update({name: value for name, value in changes.items() if name in node["inputs"]})
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(graph))
    return path


@pytest.mark.parametrize(
    ("changes", "sample", "step", "says"),
    [
        (
            {"text": "p0stcard a green triangle moving left across a meadow"},
            1,
            500,
            "its prompt is the graph's, its seed",
        ),
        ({"text": "p0stcard a green  triangle moving left, across a meadow"}, 1, 500, "is most like the graph's"),
        ({"text": "something else", "seed": 99}, 0, 500, "a guess, no prompt of the job is like the graph's"),
        ({"seed": 99}, 0, 500, "but not its seed (1, in the graph 99)"),
        ({"lora_name": "p0stcard_shapes_000000300.safetensors"}, 0, 300, "its LoRA is p0stcard_shapes_000000300"),
        ({"lora_name": "x/unknown.safetensors"}, 0, 500, "no LoRA of the job is called unknown.safetensors"),
    ],
)
def test_which_preview_is_chosen(
    changes: dict[str, Any], sample: int, step: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = Path(shutil.copytree(JOB, tmp_path / "job"))
    models = Path(shutil.copytree(DEMO / "models" / "shapes-t2v", tmp_path / "models" / "shapes-t2v"))
    config = (job / "config.yaml").read_text().replace("../../models/shapes-t2v", str(models))
    (job / "config.yaml").write_text(config)
    shutil.copy(job / "p0stcard_shapes.safetensors", job / "p0stcard_shapes_000000300.safetensors")
    row = planned(capsys, edited(tmp_path, **changes), job)
    assert row["preview"].endswith(f"{step:09d}_{sample}.webp")
    assert any(says in reason for reason in row["chosen_by"]), row["chosen_by"]


def test_a_lora_that_is_not_here_is_a_difference_and_an_obstacle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = planned(capsys, edited(tmp_path, lora_name="x/unknown.safetensors"), JOB)
    assert "lora_file" in factors(row)
    assert "unknown.safetensors is not on this machine" in row["obstacles"]["inference"][0]


def test_names_in_a_graph_bring_no_control_characters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "a\x1b[31m\r\nPASSED\x00 everything"
    path = edited(tmp_path, lora_name=f"{evil}.safetensors", unet_name=evil, clip_name=evil, text=evil)
    assert main(["plan", "--output", str(path), str(JOB)]) == 0
    text = capsys.readouterr().out
    assert "not on this machine" in text
    assert "PASSED" in text
    assert all(char.isprintable() or char == "\n" for char in text)
    assert not any(line.startswith("PASSED") for line in text.splitlines())


def test_a_size_that_cannot_be_generated_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = edited(tmp_path, width=8192, height=8192, length=81)
    assert main(["plan", "--output", str(path), str(JOB)]) == 0
    text = capsys.readouterr().out
    assert "cannot be generated here: 81 frames of 8192x8192 need 65.2 GB once decoded" in text


def test_without_a_graph_a_case_still_says_what_is_not_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (96, 64)).save(tmp_path / "plain.webp")
    assert main(["plan", "--output", str(tmp_path / "plain.webp"), str(DEMO / "shapes-faithful.yaml")]) == 0
    text = capsys.readouterr().out
    assert text.startswith("plain.webp has no graph that can be read")
    assert "holds no metadata" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none.mp4", JOB], "none.mp4: does not exist"),
        ([SIMPLE_8], "name its case or the job's folder"),
        ([SIMPLE_8, JOB, JOB], "name its case or the job's folder"),
        ([SIMPLE_8, DEMO], "cases; --output compares with one"),
        (["plain.webp", JOB], "name a case instead"),
        (["bad.json", JOB], "is not JSON"),
        (["vace.json", JOB], "WanVaceToVideo"),
        (["vace.json", DEMO / "shapes-faithful.yaml"], "WanVaceToVideo"),
    ],
)
def test_mistakes(
    arguments: list[Path | str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (96, 64)).save("plain.webp")
    Path("bad.json").write_text("{")
    graph = (SIMPLE_8.parent / "prompt.json").read_text().replace("EmptyHunyuanLatentVideo", "WanVaceToVideo")
    Path("vace.json").write_text(graph)
    assert main(["plan", "--output", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("parity: ") == 1


@pytest.mark.process
def test_it_imports_no_torch() -> None:
    command = (
        "import sys; from parity.cli.main import main; code = main(sys.argv[1:]); print('torch' in sys.modules, code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", command, "plan", "--output", str(SIMPLE_8), str(JOB)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "False 0"
