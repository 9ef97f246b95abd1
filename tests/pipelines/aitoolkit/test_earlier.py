"""Second and later previews of one process of the trainer: what earlier ones left in the weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from parity.case.load import DEMO
from parity.comparison.compare import frames_sha256
from pipelines.aitoolkit.job import read_job
from pipelines.aitoolkit.job_folder import parse_video_name
from pipelines.aitoolkit.preview import preview_recipe
from pipelines.catalog import find_model
from pipelines.engine.engine import Engine
from pipelines.errors import CaseError
from pipelines.media.video import encode
from pipelines.recipe import Recipe
from tests.support.oracle import ORACLE, assert_recorded, model_of, recorded, recorded_frames, sample_recipe

ONE_PROCESS = ORACLE / "one_process"


def folder_with(tmp_path: Path, job: str, *steps: int) -> Path:
    """A demo job with earlier step files, and two previews of each of `steps`, in that order of time."""
    folder = tmp_path / job
    shutil.copytree(DEMO / "jobs" / job, folder)
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("../../models", str(DEMO / "models")))
    for file in ONE_PROCESS.glob("tiny22_*" if job == "wan22_t2v" else "tiny_t2v_*"):
        shutil.copyfile(file, folder / file.name)
    shutil.rmtree(folder / "samples")
    (folder / "samples").mkdir()
    for number, step in enumerate(steps):
        for index in (0, 1):
            (folder / "samples" / name(number, step, index)).touch()
    return folder


def name(number: int, step: int, index: int) -> str:
    return f"{1795289016732 + number * 600_000 + index * 1000}__{step:09d}_{index}.webp"


def preview(folder: Path, number: int, step: int, index: int = 0, said: int | None = None) -> Recipe:
    return preview_recipe(
        read_job(folder / "config.yaml"),
        index,
        model=find_model("wan21_1b") if folder.name == "shapes_t2v" else model_of(folder.name),
        toolkit="0.12.26",
        video=parse_video_name(name(number, step, index)),
        earlier_previews=said,
    )


def merged_before(recipe: Recipe) -> list[str]:
    return [file.path.name for merge in recipe.earlier_merges for file in merge.files]


@pytest.mark.parametrize(("number", "step", "index"), [(1, 375, 0), (2, 500, 0), (2, 500, 1)])
def test_later_previews_of_one_process(engine: Engine, tmp_path: Path, number: int, step: int, index: int) -> None:
    recipe = preview(folder_with(tmp_path, "t2v_basic", 250, 375, 500), number, step, index)
    frames = engine.generate(recipe)
    assert_recorded(frames, f"one_process/{number}", "", index)
    assert encode(frames, recipe.codec, recipe.fps) == recorded(f"one_process/{number}", "", index)[1]


def test_both_experts_keep_their_residue(engine: Engine, tmp_path: Path) -> None:
    recipe = preview(folder_with(tmp_path, "wan22_t2v", 250, 500), 1, 500)
    assert len(recipe.earlier_merges[0].files) == 2
    assert frames_sha256(engine.generate(recipe)) == hashes("wan22_t2v")


def test_a_negative_scale_is_unmerged_with_the_wrong_sign(engine: Engine, tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "t2v_basic", 250, 500)
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("num_frames: 9", "num_frames: 9\n        network_multiplier: -0.5"))
    assert frames_sha256(engine.generate(preview(folder, 1, 500))) == hashes("negative_scale")


def test_float32_has_a_residue_too_if_the_case_says_so(engine: Engine, tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "shapes_t2v", 100, 300)
    assert preview(folder, 1, 300).earlier_merges == ()
    assert frames_sha256(engine.generate(preview(folder, 1, 300, said=1))) == hashes("shapes_t2v")


def hashes(job: str) -> str:
    found: str = json.loads((ONE_PROCESS / "frames.json").read_text())[job]["1/0"]
    return found


def test_the_weights_are_themselves_again(engine: Engine, tmp_path: Path) -> None:
    engine.denoise(preview(folder_with(tmp_path, "t2v_basic", 250, 375, 500), 2, 500))
    assert_recorded(engine.generate(sample_recipe("t2v_basic", 0)), "preview", "t2v_basic", 0)


def test_without_the_residue_it_is_another_video() -> None:
    """Must-fail: the recordings of the first and of the third preview with the same LoRA differ."""
    first, third = recorded_frames("preview", "t2v_basic", 0), recorded_frames("one_process/2", "", 0)
    assert (first != third).any()


@pytest.mark.parametrize(
    ("steps", "number", "expected"),
    [
        ((250, 375, 500), 0, []),
        ((250, 375, 500), 2, ["tiny_t2v_000000250.safetensors", "tiny_t2v_000000375.safetensors"]),
        ((0, 250, 500), 2, ["tiny_t2v_000000250.safetensors"]),  # nothing is trained at step 0
        ((250, 375, 250, 500), 3, ["tiny_t2v_000000250.safetensors"]),  # went back: another process
        ((375, 375), 1, []),  # started again at the same step
        ((500, 250, 375), 1, []),
    ],
)
def test_what_one_process_generated_before(
    tmp_path: Path, steps: tuple[int, ...], number: int, expected: list[str]
) -> None:
    folder = folder_with(tmp_path, "t2v_basic", *steps)
    recipe = preview(folder, number, steps[number], 1)
    assert merged_before(recipe) == expected
    assert any("assumed to come from one process" in note for note in recipe.notes) == bool(expected)


def test_the_case_says_how_many(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "t2v_basic", 250, 375, 500)
    assert merged_before(preview(folder, 2, 500, said=1)) == ["tiny_t2v_000000375.safetensors"]
    assert preview(folder, 2, 500, said=0).earlier_merges == ()
    with pytest.raises(CaseError, match=r"earlier_previews 3: .* holds 2 earlier steps"):
        preview(folder, 2, 500, said=3)


def test_a_step_file_that_is_gone_leaves_the_note(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "t2v_basic", 250, 375, 500)
    (folder / "tiny_t2v_000000250.safetensors").unlink()
    recipe = preview(folder, 2, 500)
    assert recipe.earlier_merges == ()
    assert any("47.5 to 49.4 dB" in note and "step 250" in note for note in recipe.notes)


def test_side_paths_leave_nothing(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "t2v_basic", 250, 500)
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("--seed 7", "--seed 7 --m 0.5"))
    recipe = preview(folder, 1, 500)
    assert (recipe.lora_application, recipe.earlier_merges) == ("side_path", ())
