"""Our recipes and engine against what the real ai-toolkit and the real server made."""

from __future__ import annotations

import dataclasses
import json

import pytest

from parity.case import DEMO
from pipelines.engine import Engine
from pipelines.inference import inference_recipe, reference_graph
from pipelines.recipe import Precision, Recipe
from pipelines.request import Request
from pipelines.scheduler import checkpoint_scheduler, flow_schedule
from pipelines.video import Frames, encode
from tests.oracle import JOBS, RECORDINGS, SAMPLES, match, model_of, psnr, recorded, sample_recipe


def reference_recipe(job: str, index: int) -> Recipe:
    path = DEMO / "requests" / f"{job}.json"
    request = Request.model_validate(json.loads(path.read_text()))
    checkpoint = DEMO / "models" / ("tiny-wan-i2v" if job.startswith("i2v") else "tiny-wan-t2v")
    graph = reference_graph(str(checkpoint), checkpoint_scheduler(checkpoint))
    return inference_recipe(request, index, graph, model=model_of(job), folder=path.parent)


@pytest.mark.parametrize(("job", "index"), SAMPLES)
def test_preview_recipe_draws_the_trainers_preview(engine: Engine, machine: str, job: str, index: int) -> None:
    recipe = sample_recipe(job, index)
    frames = engine.generate(recipe)
    found = match(frames, "preview", job, index, machine)
    if found.exact:
        assert encode(frames, recipe.codec, recipe.fps) == recorded(found.recording, "preview", job, index)[1]


@pytest.mark.parametrize(("job", "index"), [("t2v_basic", 0), ("t2v_basic", 1), ("i2v_basic", 0)])
def test_reference_profile_draws_the_servers_video(engine: Engine, machine: str, job: str, index: int) -> None:
    recipe = reference_recipe(job, index)
    frames = engine.generate(recipe)
    found = match(frames, "inference", job, index, machine)
    if found.exact:
        assert encode(frames, recipe.codec, recipe.fps) == recorded(found.recording, "inference", job, index)[1]


@pytest.mark.parametrize("recording", RECORDINGS)
@pytest.mark.parametrize(("job", "index"), SAMPLES)
def test_webp_bytes_are_the_trainers(recording: str, job: str, index: int) -> None:
    """The encoder alone, on any CPU."""
    recipe = sample_recipe(job, index)
    frames, file = recorded(recording, "preview", job, index)
    assert encode(frames, recipe.codec, recipe.fps) == file


@pytest.fixture(scope="module")
def right(engine: Engine) -> Frames:
    return engine.generate(sample_recipe("t2v_basic", 0))


@pytest.mark.parametrize(
    "wrong",
    [
        {"scheduler": flow_schedule("unipc", 3.0)},
        {"seed": 43},
        {"lora_application": "adapter"},
        {"lora_application": "side_path"},
        {"precision": Precision("bfloat16", "kept")},
    ],
    ids=str,
)
def test_one_wrong_field_is_seen(engine: Engine, right: Frames, wrong: dict[str, object]) -> None:
    """Must-fail: equality would not hold for just any recipe."""
    recipe = dataclasses.replace(sample_recipe("t2v_basic", 0), **wrong)  # type: ignore[arg-type]
    assert psnr(right, engine.generate(recipe)) < 60


def test_models_of_the_jobs_are_in_the_catalogue() -> None:
    assert {model_of(job).pipeline for job in JOBS} == {"WanPipeline", "WanImageToVideoPipeline"}
