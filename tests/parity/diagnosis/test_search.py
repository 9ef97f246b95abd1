"""Search: settings inferred from a video's pixels, and videos whose settings cannot be inferred."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from parity.case.load import load_case
from parity.case.progress import Quiet
from parity.diagnosis.hypotheses import axes
from parity.results.diagnosis import Search
from parity.results.json_text import from_json
from parity.run.options import Options
from parity.run.session import Session
from parity.run.task import Task
from parity.selftest.matrix import run_searches
from parity.selftest.planted import HIDDEN, Kind
from parity.selftest.workshop import Workshop
from parity.terminal.diagnosis import search_text
from pipelines.engine.engine import Engine
from pipelines.errors import CaseError
from pipelines.media.video import encode, read_video
from pipelines.scheduler import flow_schedule
from tests.conftest import CaseFiles
from tests.parity.diagnosis.test_diagnose import Stops
from tests.support.remembering import Remembering


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Remembering()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def workshop(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("search"), engine)


def search(path: Path, engine: Engine, out: Path, budget: float | None = None) -> Search:
    with Session(Options(out=out, task=Task(search=True, budget=budget)), engine) as session:
        found = session.run_case(load_case(path), Quiet()).search
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("kind", "setting", "value"),
    [
        ("t2v", "scheduler", "UniPC"),
        ("t2v", "seed", "walk_seed"),
        ("t2v", "lora_scale", "0.8"),
        ("t2v", "lora_file", "absent"),
        ("wan22-i2v", "boundary", "0.9"),
        ("i2v", "resize", "bicubic"),
        ("t2v", "vae_norm", "own dtype"),
        ("t2v", "merge_residue", "one merge before"),
    ],
)
def test_a_setting_the_config_does_not_tell(
    engine: Engine, tmp_path: Path, kind: Kind, setting: str, value: str
) -> None:
    hidden = next(item for item in HIDDEN if (item.setting, item.value) == (setting, value))
    (row,) = run_searches([(kind, hidden)], tmp_path, Quiet(), engine)
    assert row.verdict == "proven"
    assert row.exact
    assert row.found.startswith(setting)


def test_two_settings_at_once(workshop: Workshop, engine: Engine, tmp_path: Path) -> None:
    hidden = next(item for item in HIDDEN if item.setting == "seed")
    both = dataclasses.replace(
        hidden, value="both", changes={**hidden.changes, "scheduler": lambda _: flow_schedule("unipc", 3.0)}
    )
    path, drawn = workshop.hidden_case(both, "t2v")
    found = search(path, engine, tmp_path)
    assert found.verdict == "proven"
    assert {setting.name for setting in found.settings if setting.changed} == {"seed", "scheduler"}
    assert found.recipe["seed"] == drawn.seed
    assert "proven, bit-identical: seed is 43, not 42, scheduler is UniPC" in found.sentence


def test_another_models_video_is_not_found(workshop: Workshop, engine: Engine, tmp_path: Path) -> None:
    found = search(workshop.foreign_case("t2v"), engine, tmp_path, budget=12)
    assert found.verdict == "not found"
    assert found.stopped == "budget"
    assert found.cost is not None
    assert found.cost.spent <= 12
    assert found.best.psnr is not None
    assert found.best.psnr < 30
    assert "best guess" in found.sentence
    assert "budget" in search_text(found)


@pytest.mark.parametrize(("frames", "size", "said"), [(6, (64, 64), "4n + 1"), (5, (72, 64), "multiples of 16")])
def test_a_file_no_wan_recipe_makes(
    workshop: Workshop, engine: Engine, tmp_path: Path, frames: int, size: tuple[int, int], said: str
) -> None:
    case = load_case(workshop.case("t2v", [], "shape"))
    noise = np.random.default_rng(1).integers(0, 256, (frames, size[1], size[0], 3), dtype=np.uint8)
    video = tmp_path / case.video.name
    video.write_bytes(encode(noise, case.preview.codec, case.preview.fps))
    assert len(read_video(video).frames) == frames
    steps = engine.work.denoising_steps
    with Session(Options(out=tmp_path / "out", task=Task(search=True)), engine) as session:
        result = session.run_case(dataclasses.replace(case, video=video), Quiet())
    assert result.search is not None
    assert result.search.verdict == "not found"
    assert said in result.search.sentence
    assert engine.work.denoising_steps == steps
    assert result.status == "drifted"


def test_without_a_config_the_request_is_where_the_search_starts(
    workshop: Workshop, engine: Engine, tmp_path: Path
) -> None:
    hidden = next(item for item in HIDDEN if (item.setting, item.value) == ("lora_file", "absent"))
    job, _ = workshop.hidden_case(dataclasses.replace(hidden, value="lost"), "t2v")
    video = next((job.parent / "samples").iterdir())
    item = {
        "prompt": "p3r5on playing the guitar, on stage",
        "width": 64,
        "height": 64,
        "num_frames": 5,
        "sample_steps": 6,
        "seed": 42,
        "guidance_scale": 5,
    }
    lora = {"path": str(job.parent / "planted.safetensors")}
    keys = {
        "model": "wan21_14b",
        "checkpoint": yaml.safe_load((job.parent / "config.yaml").read_text())["config"]["process"][0]["model"][
            "name_or_path"
        ],
        "preview": {"video": str(video)},
        "request": {"model": "wan21_14b", "prompts": [item], "loras": [lora]},
    }
    path = tmp_path / "lost.yaml"
    path.write_text(yaml.safe_dump(keys))
    case = load_case(path)
    assert case.job is None
    assert "no config" in case.preview.notes[0]
    found = search(path, engine, tmp_path / "out")
    assert found.verdict == "proven"
    assert [setting.name for setting in found.settings if setting.changed] == ["lora_file", "lora_scale"]


def test_a_case_without_config_says_what_is_missing(cases: CaseFiles) -> None:
    video = {"video": str(next(cases.folder.parent.iterdir()))}
    with pytest.raises(CaseError, match=r"request: is missing: without preview\.config"):
        load_case(cases.write("bare", preview=video))
    with pytest.raises(CaseError, match=r"faithful reproduces what preview\.config says"):
        load_case(cases.write("faithful", preview=video, request=cases.request()))
    with_config = yaml.safe_load(cases.write("plain").read_text())["preview"]
    del with_config["sample"]
    with pytest.raises(CaseError, match=r"preview\.sample: is missing: which of the config's prompts"):
        load_case(cases.write("sampleless", preview=with_config))


def test_an_interrupted_search_keeps_what_it_knows(workshop: Workshop, engine: Engine, tmp_path: Path) -> None:
    with Session(Options(out=tmp_path, task=Task(search=True)), engine) as session:
        with pytest.raises(KeyboardInterrupt):
            session.run_case(load_case(workshop.foreign_case("t2v")), Stops(3))
        (kept,) = from_json(session.results_path.read_text(encoding="utf-8")).cases
    assert kept.search is not None
    assert kept.search.stopped == "interrupted"
    assert kept.search.verdict == "not found"
    assert "interrupted; so far: not found" in kept.search.sentence
    assert kept.search.best.psnr is not None


def test_every_value_tried_generates_another_video(workshop: Workshop) -> None:
    """No axis repeats itself for a job of two prompts; tiling is not varied where the VAE does not tile."""
    hidden = next(item for item in HIDDEN if item.setting == "fps")
    case = load_case(workshop.hidden_case(dataclasses.replace(hidden, value="axes"), "t2v")[0])
    names = [axis.factor for axis in axes(case)]
    assert "vae_tiling" not in names
    assert "resize" not in names
    assert {"seed", "lora_scale", "scheduler", "shift", "steps", "guidance", "prompt", "precision"} <= set(names)
    prompts = next(axis for axis in axes(case) if axis.factor == "prompt")
    texts = [option.changes["prompt"] for option in prompts.options(case.preview)]
    assert "playing the guitar, on stage" in texts
    assert "[trigger] playing the guitar, on stage" in texts
