"""Speeds are kept per machine, offload mode and weights, scaled to other sizes, and never in anybody's way."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from parity.case.load import load_case
from parity.cost import speeds
from parity.cost.speeds import Timing, expected, last_used, machine_of, remember
from pipelines.recipe import Asked, Precision, Recipe
from tests.conftest import CaseFiles

TIMING = Timing(load=8.0, text=2.0, step=4.0, decode=20.0, encode=1.0, compare=3.0)
GPU = "NVIDIA H200"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own; it does not exist yet."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("WAN_PARITY_CACHE", str(folder))
    return folder


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return load_case(CaseFiles(tmp_path).write()).inference


def sized(recipe: Recipe, frames: int, width: int, height: int) -> Recipe:
    changes = {"num_frames": Asked(frames, frames), "width": Asked(width, width), "height": Asked(height, height)}
    return dataclasses.replace(recipe, **changes)  # type: ignore[arg-type]


def test_equal_generations_are_expected_to_take_what_they_took(recipe: Recipe) -> None:
    assert expected(recipe, GPU, "none") is None
    for step in (4.0, 40.0, 5.0):  # the machine was busy once
        remember(recipe, GPU, "none", dataclasses.replace(TIMING, step=step))
    found = expected(dataclasses.replace(recipe, seed=7, prompt="another"), GPU, "none")
    assert found is not None
    assert (found.timing, found.scaled) == (dataclasses.replace(TIMING, step=5.0), False)
    assert (found.runs, found.basis) == (3, "3 earlier runs")
    assert found.seconds(10) == 8 + 2 + 10 * 5 + 20 + 1 + 3
    assert found.seconds(10, load=False) == found.seconds(10) - 8


def test_another_size_is_scaled_by_its_pixels_and_says_so(recipe: Recipe) -> None:
    remember(sized(recipe, 9, 96, 64), GPU, "none", TIMING)
    remember(sized(recipe, 81, 960, 640), GPU, "none", dataclasses.replace(TIMING, step=4000.0))
    found = expected(sized(recipe, 18, 96, 64), GPU, "none")
    assert found is not None
    assert found.scaled
    assert found.basis == "scaled from 9 frames of 96x64"  # the nearest, not the last
    assert found.timing == Timing(load=8.0, text=2.0, step=8.0, decode=40.0, encode=2.0, compare=6.0)


def test_guidance_takes_two_passes_a_step(recipe: Recipe) -> None:
    remember(dataclasses.replace(recipe, guidance_scale=5.0), GPU, "none", TIMING)
    found = expected(dataclasses.replace(recipe, guidance_scale=1.0), GPU, "none")
    assert found is not None
    assert found.timing == dataclasses.replace(TIMING, step=2.0)
    assert found.basis == "scaled from runs with guidance"


@pytest.mark.parametrize("other", ["machine", "offload", "precision", "checkpoint"])
def test_other_machines_and_weights_say_nothing(recipe: Recipe, other: str) -> None:
    remember(recipe, GPU, "none", TIMING)
    machine, offload = ("another" if other == "machine" else GPU), ("model" if other == "offload" else "none")
    if other == "precision":
        recipe = dataclasses.replace(recipe, precision=Precision("float16", "kept"))
    if other == "checkpoint":
        recipe = dataclasses.replace(recipe, weights=dataclasses.replace(recipe.weights, checkpoint="owner/name"))
    assert expected(recipe, machine, offload) is None


def test_a_phase_that_did_not_occur_is_unknown_and_does_not_count_as_none(recipe: Recipe) -> None:
    remember(recipe, GPU, "none", TIMING)
    remember(recipe, GPU, "none", Timing(step=6.0))  # the weights were loaded, the text was encoded before
    found = expected(recipe, GPU, "none")
    assert found is not None
    assert (found.timing.load, found.timing.step) == (8.0, 5.0)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 1, "records": [{"machine": 3}]}', '{"version": 99, "records": []}', "\0" * 99]
)
def test_a_damaged_file_is_ignored_and_replaced(cache: Path, recipe: Recipe, text: str) -> None:
    cache.mkdir()
    (cache / "speeds.json").write_text(text)
    assert expected(recipe, GPU, "none") is None
    assert last_used() is None
    remember(recipe, GPU, "none", TIMING)
    assert expected(recipe, GPU, "none") is not None


def test_numbers_that_are_none_are_not_believed(cache: Path, recipe: Recipe) -> None:
    remember(recipe, GPU, "none", TIMING)
    file = cache / "speeds.json"
    for value in ("NaN", "-1", "1e999"):
        kept = file.read_text()
        file.write_text(kept.replace("4.0", value))
        assert file.read_text() != kept
        assert expected(recipe, GPU, "none") is None
        file.write_text(kept)


def test_without_a_cache_nothing_is_kept(monkeypatch: pytest.MonkeyPatch, cache: Path, recipe: Recipe) -> None:
    monkeypatch.setenv("WAN_PARITY_CACHE", "")
    remember(recipe, GPU, "none", TIMING)
    assert expected(recipe, GPU, "none") is None
    assert last_used() is None
    assert not cache.exists()


def test_a_folder_that_cannot_be_written_stops_nothing(cache: Path, recipe: Recipe) -> None:
    cache.write_text("a file where the folder should be")
    remember(recipe, GPU, "none", TIMING)
    assert expected(recipe, GPU, "none") is None


def test_the_file_stays_small(cache: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speeds, "_MOST_RECORDS", 3)
    for frames in range(1, 6):
        for _ in range(8):
            remember(sized(recipe, frames, 64, 64), GPU, "none", TIMING)
    records = json.loads((cache / "speeds.json").read_text())["records"]
    assert [record["frames"] for record in records] == [5, 4, 3]  # the last used
    assert {len(record["timings"]) for record in records} == {5}
    assert [path.name for path in cache.iterdir()] == ["speeds.json"]


def test_the_last_machine_is_known_without_torch(recipe: Recipe) -> None:
    remember(recipe, GPU, "model", TIMING)
    remember(recipe, "a CPU, 2 threads", "none", TIMING)
    assert last_used() == ("a CPU, 2 threads", "none")


def test_a_machine_is_its_gpu_or_its_cpu_with_threads() -> None:
    cpu = {"device": "cpu", "cpu": "EPYC", "flags": {"threads": 2}}
    assert machine_of(cpu) == "EPYC, 2 threads"
    assert machine_of(cpu | {"flags": {"threads": 1, "cpu_kernels": "portable"}}) == "EPYC, 1 thread, portable kernels"
    assert machine_of(cpu | {"device": "cuda:1", "gpu": GPU}) == GPU
