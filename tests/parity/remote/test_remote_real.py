"""Cases on real servers: the same files as generated here, and deviations of a server are found."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from parity.case.load import DEMO, load_case
from parity.case.progress import Quiet
from parity.case.target import Given
from parity.cli.main import main
from parity.results.case import CaseResult, Run
from parity.results.json_text import from_json
from parity.run.options import Options
from parity.run.session import Session
from pipelines.engine.engine import Engine
from pipelines.media.video import encode
from tests.parity.run.test_runner import KNOWN
from tests.support.drawn import Drawn
from tests.support.serving import CHECKPOINTS, process, settings_of, thread
from tests.support.sessions import options as session_options

REFERENCE = ["i2v-waving-reference"]
FAITHFUL = ["i2v-waving-faithful", "t2v-mixed-1-faithful"]
"""One with an image, one of a job with two LoRA scales. tests/test_server_faithful.py posts the requests of all."""


def hashes(run: Run) -> dict[str, str]:
    return {case.id: case.output.sha256 for case in run.cases if case.output is not None}


def drawn_here(ids: list[str], out: Path, drawn: Drawn) -> dict[str, str]:
    with Session(Options(out=out, cache=drawn.root)) as session:
        for case_id in ids:
            session.run_case(load_case(DEMO / f"{case_id}.yaml"), Quiet())
        return hashes(session.finish(ids))


@pytest.mark.process
def test_reference_cases_are_the_same_files(tmp_path: Path, drawn: Drawn, capsys: pytest.CaptureFixture[str]) -> None:
    """One process serves, another runs the demo against it."""
    files = [str(DEMO / f"{case_id}.yaml") for case_id in REFERENCE]
    threads = {"OMP_NUM_THREADS": os.environ["OMP_NUM_THREADS"]} if "OMP_NUM_THREADS" in os.environ else {}
    with process(tmp_path / "data", **threads) as (_, client):
        target = ["--target", str(client.base_url), "--target-lora-root", str(DEMO / "jobs")]
        assert main(["run", *files, *target, "--out", str(tmp_path / "there"), "--no-html"]) == 0
        printed = capsys.readouterr().err
        run = from_json((tmp_path / "there" / "results.json").read_text())
        assert hashes(run) == drawn_here(REFERENCE, tmp_path / "here", drawn)
    assert [case.status for case in run.cases] == ["expected_drift"]
    assert f"{client.base_url}" in printed
    for case in run.cases:
        assert {finding.evidence for finding in case.findings} == {"expected"}
        assert case.target is not None
        assert case.target.profile == "reference"
        assert case.target.draw_seconds is not None


@contextmanager
def server(folder: Path, **changes: Any) -> Iterator[str]:
    """`parity serve`'s parts in a thread, with an engine of their own. Its address."""
    own = Engine("cpu")
    with thread(settings_of(folder, **changes), own) as client:
        yield str(client.base_url)


def test_faithful_cases_are_the_same_files(tmp_path: Path, engine: Engine, drawn: Drawn) -> None:
    with (
        server(tmp_path / "data", profile="faithful") as url,
        Session(Options(out=tmp_path / "there"), engine) as session,
    ):
        for case_id in FAITHFUL:
            session.run_case(load_case(DEMO / f"{case_id}.yaml", Given(url=url)), Quiet())
        run = session.finish(FAITHFUL)
    assert hashes(run) == drawn_here(FAITHFUL, tmp_path / "here", drawn)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Path:
    """A case of one frame and two steps on the reference graph; its preview is drawn by the trainer's."""
    job = tmp_path_factory.mktemp("output") / "small"
    shutil.copytree(DEMO / "jobs" / "t2v_basic", job, ignore=shutil.ignore_patterns("*.webp"))
    document = yaml.safe_load((job / "config.yaml").read_text())
    (process_,) = document["config"]["process"]
    process_["model"]["name_or_path"] = CHECKPOINTS["wan21_14b"]
    process_["sample"] |= {"width": 64, "height": 64, "num_frames": 1, "format": "webp", "sample_steps": 2}
    process_["sample"]["guidance_scale"] = 1
    process_["sample"]["prompts"] = ["a cat"]
    (job / "config.yaml").write_text(yaml.safe_dump(document))
    video = job / "samples" / "1795289016732__000000500_0.webp"
    video.touch()
    keys: dict[str, Any] = {"model": "wan21_14b", "checkpoint": CHECKPOINTS["wan21_14b"], "expect": KNOWN}
    keys["preview"] = {"config": "config.yaml", "sample": 0, "video": f"samples/{video.name}", "toolkit": "0.12.26"}
    path = job / "case.yaml"
    path.write_text(yaml.safe_dump(keys))
    recipe = load_case(path).preview
    video.write_bytes(encode(engine.generate(recipe), recipe.codec, recipe.fps))
    return path


def diagnosed(path: Path, url: str, out: Path, engine: Engine, **options: Any) -> CaseResult:
    given = Given(url=url, lora_root=path.parent.parent)
    with Session(session_options(out, diagnose="gains", **options), engine) as session:
        return session.run_case(load_case(path, given), Quiet())


def evidence(result: CaseResult) -> dict[str, str]:
    return {finding.factor: finding.evidence for finding in result.findings}


def lora_of(path: Path) -> Path:
    given = Given(url="http://nobody", lora_root=path.parent.parent)
    return load_case(path, given).inference.lora_files[0].path


def test_a_server_that_does_as_it_says_is_proven(small: Path, tmp_path: Path, engine: Engine) -> None:
    with server(tmp_path / "data", lora_root=small.parent.parent) as url:
        result = diagnosed(small, url, tmp_path / "out", engine)
        assert result.status == "expected_drift"
        assert evidence(result) == dict.fromkeys(KNOWN, "pixels")
        assert "proven by pixels: scheduler, lora_application, precision" in result.verdict
        assert result.search is None
        assert result.diagnosis is not None
        assert result.diagnosis.explained
        assert result.diagnosis.preview_recipe is not None
        assert {cost.factor for cost in result.diagnosis.factors} == set(KNOWN)
        assert any("bit for bit" in note for note in result.notes)
        check_stills(result, tmp_path / "out")


def check_stills(result: CaseResult, out: Path) -> None:
    """What the server is known to have generated needs no stills of its own; every other video has some."""
    assert result.diagnosis is not None
    assert result.diagnosis.as_is is not None
    assert result.diagnosis.as_is.stills == result.artifacts["output_frames"]
    for trial in result.diagnosis.trials().values():
        assert trial.stills is not None
        assert any((out / trial.stills).glob("*.webp"))


def test_another_lora_scale_is_found(small: Path, tmp_path: Path, engine: Engine) -> None:
    """The server's LoRA is half as strong as the file it was asked for."""
    from safetensors.torch import load_file, save_file

    root, file = tmp_path / "loras", lora_of(small)
    weak = root / file.relative_to(small.parent.parent)
    weak.parent.mkdir(parents=True)
    weights = {
        key: value * 0.5 if "lora_B" in key or "lora_up" in key else value for key, value in load_file(file).items()
    }
    assert any((weights[key] != value).any() for key, value in load_file(file).items())
    save_file(weights, weak, {"format": "pt"})
    with server(tmp_path / "data", lora_root=root) as url:
        result = diagnosed(small, url, tmp_path / "out", engine)
    assert result.status == "drifted"
    assert "unexpected difference: lora_scale" in result.verdict
    assert evidence(result) == dict.fromkeys(["scheduler", "lora_scale", "lora_application", "precision"], "pixels")
    assert {finding.factor: finding.inference for finding in result.findings}["lora_scale"] == "0.5"
    assert result.search is not None
    assert (result.search.of, result.search.verdict) == ("server", "proven")
    assert "lora_scale is 0.5, not 1" in result.search.sentence
    assert result.diagnosis is not None
    check_stills(result, tmp_path / "out")
    (cost,) = (cost for cost in result.diagnosis.factors if cost.factor == "lora_scale")
    assert cost.fix == "the server must do what is requested: 1"
    assert cost.code is None
    assert result.diagnosis.code is not None  # for the other three
    assert "network_multiplier" not in result.diagnosis.code.text


def test_another_scheduler_is_found(small: Path, tmp_path: Path, engine: Engine) -> None:
    """The server has the trainer's scheduler, where its profile has the checkpoint's."""
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(CHECKPOINTS["wan21_14b"], checkpoint)
    config = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0, "num_train_timesteps": 1000}
    (checkpoint / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    checkpoints = CHECKPOINTS | {"wan21_14b": str(checkpoint)}
    with server(tmp_path / "data", lora_root=small.parent.parent, checkpoints=checkpoints) as url:
        result = diagnosed(small, url, tmp_path / "out", engine)
        stopped = diagnosed(small, url, tmp_path / "stopped", engine, budget=1)
    assert result.search is not None
    assert result.search.verdict == "proven"
    assert "scheduler is FlowMatchEulerDiscreteScheduler, not UniPC" in result.search.sentence
    assert evidence(result) == dict.fromkeys(["lora_application", "precision"], "pixels")
    assert result.status == "drifted"
    assert "expected difference not found: scheduler" in result.verdict
    assert stopped.search is not None
    assert (stopped.search.stopped, stopped.search.verdict) == ("budget", "not found")
    assert evidence(stopped) == dict.fromkeys(KNOWN, "expected")
    assert any("nor any setting tried gives its file" in note for note in stopped.notes)
