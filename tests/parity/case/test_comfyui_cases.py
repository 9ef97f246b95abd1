"""Cases about a video that ComfyUI made: where the graph comes from, and what the case then says."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from parity.case.load import DEMO, load_case
from pipelines.drift import differing_factors
from pipelines.errors import CaseError
from pipelines.recipe import Recipe

RECORDING = Path(__file__).parents[2] / "data" / "comfyui" / "t2v-euler-simple-8" / "float32"
VIDEO = RECORDING / "t2v-euler-simple-8-float32_00001_.mp4"
JOB = DEMO / "jobs" / "shapes_t2v"


def case(folder: Path, **keys: Any) -> Path:
    preview = {
        "config": str(JOB / "config.yaml"),
        "sample": 0,
        "video": str(next((JOB / "samples").glob("*_0.webp"))),
        "toolkit": "0.12.26",
    }
    path = folder / "case.yaml"
    path.write_text(yaml.safe_dump({"model": "wan21_14b", "preview": preview} | keys))
    return path


def test_the_graph_in_the_output_is_the_inference_side(tmp_path: Path) -> None:
    loaded = load_case(case(tmp_path, output=str(VIDEO)))
    assert loaded.output == VIDEO
    assert loaded.comfyui is not None
    assert loaded.found is not None
    assert (loaded.found.where, loaded.found.made_by) == ("mp4 key prompt", "ComfyUI")
    assert (loaded.profile, loaded.posted) == ("comfyui", None)
    assert loaded.inference.weights == loaded.preview.weights
    assert loaded.inference.obstacles == ()
    assert str(loaded.inference.scheduler) == "euler, simple, shift 8 (ComfyUI)"
    assert any("dtype" in sentence for sentence in loaded.unknown)


@pytest.mark.parametrize("graph", ["prompt.json", "workflow.json", VIDEO.name])
def test_a_graph_in_a_file_of_its_own(graph: str, tmp_path: Path) -> None:
    shutil.copy(RECORDING / graph, tmp_path / graph)
    loaded = load_case(case(tmp_path, pipeline={"base": "comfyui", "graph": graph}))
    assert loaded.output is None
    assert str(loaded.inference.scheduler) == "euler, simple, shift 8 (ComfyUI)"


def test_overrides_of_a_graph(tmp_path: Path) -> None:
    pipeline = {"base": "comfyui", "precision": {"dtype": "float32"}, "lora_application": "side_path"}
    recipe = load_case(case(tmp_path, output=str(VIDEO), pipeline=pipeline)).inference
    assert (str(recipe.precision), recipe.vae_dtype, recipe.lora_application) == ("float32", None, "side_path")
    plain = load_case(case(tmp_path, output=str(VIDEO), pipeline={"precision": {"dtype": "bfloat16"}})).inference
    assert (plain.precision.dtype, str(plain.scheduler)) == ("bfloat16", "euler, simple, shift 8 (ComfyUI)")


def test_a_recipe_like_the_previews_differs_in_nothing_that_generates(tmp_path: Path) -> None:
    recording = RECORDING.parents[1] / "t2v-euler-normal-3" / "float32" / "t2v-euler-normal-3-float32_00003_.webp"
    loaded = load_case(
        case(tmp_path, output=str(recording), pipeline={"base": "comfyui", "precision": {"dtype": "float32"}})
    )
    never = {"checkpoint", "negative_prompt", "snapping", "frame_count", "steps", "guidance", "seed", "lora_file",
             "lora_scale", "lora_application", "quantization", "fps"}  # fmt: skip
    assert not never & set(differing_factors(loaded.preview, loaded.inference))


def test_without_a_config_the_preview_has_the_graphs_settings_in_the_trainers_way(tmp_path: Path) -> None:
    shutil.copy(JOB / "p0stcard_shapes.safetensors", tmp_path)
    path = case(tmp_path, output=str(VIDEO), preview={"video": str(next((JOB / "samples").glob("*_0.webp")))})
    preview = load_case(path).preview
    assert (preview.prompt, preview.seed, preview.steps) == (
        "p0stcard a red square moving right across a meadow",
        1,
        20,
    )
    assert str(preview.scheduler) == "FlowMatchEulerDiscreteScheduler, shift 3.0"
    assert (preview.text_encoding, preview.eight_bit, preview.float32_steps) == ("diffusers", "rounded", False)


def test_an_output_without_a_graph_is_expected_to_be_what_the_case_says(tmp_path: Path) -> None:
    Image.new("RGB", (96, 64)).save(tmp_path / "plain.webp")
    loaded = load_case(case(tmp_path, output="plain.webp", pipeline="faithful"))
    assert (loaded.output, loaded.comfyui) == (tmp_path / "plain.webp", None)
    assert differing_factors(loaded.preview, loaded.inference) == []
    assert "plain.webp holds no metadata" in loaded.unknown[0]


def test_what_pipeline_says_comes_before_the_graph(tmp_path: Path) -> None:
    loaded = load_case(case(tmp_path, output=str(VIDEO), pipeline="faithful"))
    assert loaded.comfyui is None
    assert "`pipeline` says faithful" in loaded.unknown[0]


def test_metadata_that_cannot_be_read_hinder_only_a_case_that_wants_them(tmp_path: Path) -> None:
    (tmp_path / "cut.mp4").write_bytes(VIDEO.read_bytes()[:3000])
    loaded = load_case(case(tmp_path, output="cut.mp4", pipeline="faithful"))
    assert "its metadata cannot be read" in loaded.unknown[0]


def test_the_models_of_the_comfyui_that_saved_the_video(tmp_path: Path) -> None:
    """A video in ComfyUI/output/video; the LoRA that it loaded is another file than the job's of that name."""
    other = next((DEMO / "jobs" / "t2v_basic").glob("*.safetensors"))
    (tmp_path / "ComfyUI" / "output" / "video").mkdir(parents=True)
    (tmp_path / "ComfyUI" / "models" / "loras").mkdir(parents=True)
    (tmp_path / "ComfyUI" / "models" / "loras" / "p0stcard_shapes.safetensors").symlink_to(other)
    video = Path(shutil.copy(VIDEO, tmp_path / "ComfyUI" / "output" / "video"))
    loaded = load_case(case(tmp_path, output=str(video)))
    assert "lora_file" in differing_factors(loaded.preview, loaded.inference)
    assert "lora_file" not in differing_factors(*_sides(case(tmp_path, output=str(VIDEO))))


def _sides(path: Path) -> tuple[Recipe, Recipe]:
    loaded = load_case(path)
    return loaded.preview, loaded.inference


def test_a_graph_that_is_not_understood_leaves_the_output_expected(tmp_path: Path) -> None:
    graph = (RECORDING / "prompt.json").read_text().replace("EmptyHunyuanLatentVideo", "WanVaceToVideo")
    info = Image.new("RGB", (8, 8)).getexif()
    info[0x0110] = f"prompt:{graph}"
    Image.new("RGB", (96, 64)).save(tmp_path / "vace.webp", exif=info)
    loaded = load_case(case(tmp_path, output="vace.webp"))
    assert loaded.comfyui is None
    assert "WanVaceToVideo" in loaded.unknown[0]
    with pytest.raises(CaseError, match=r"case\.yaml:\d+: output: .*WanVaceToVideo"):
        load_case(case(tmp_path, output="vace.webp", pipeline="comfyui"))


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"pipeline": "comfyui"}, r"pipeline: comfyui reads a graph: name a video"),
        ({"output": "none.mp4"}, r"output: none\.mp4 does not exist"),
        ({"output": ""}, r"output: .* does not exist"),
        ({"pipeline": {"base": "comfyui", "graph": "none.json"}}, r"pipeline\.graph: none\.json does not exist"),
        ({"pipeline": {"base": "faithful", "graph": "x"}}, r"pipeline\.graph: is for comfyui"),
        (
            {"pipeline": {"base": "comfyui", "models": "none"}, "output": str(VIDEO)},
            "pipeline.models: folder not found",
        ),
        ({"output": str(VIDEO), "target": "http://localhost:1"}, "output: is a video that was made already"),
        ({"output": "plain.webp", "pipeline": "comfyui"}, r"output: plain\.webp holds no metadata"),
        ({"output": "text.mp4"}, None),
        ({"output": "bad.json"}, "output: is a graph, not a video"),
        ({"output": "cut.mp4"}, None),  # its pixels are an error of the case when they are read
        ({"output": "cut.mp4", "pipeline": "comfyui"}, r"cut\.mp4: its metadata cannot be read"),
        ({"pipeline": {"base": "comfyui", "graph": "bad.json"}}, r"bad\.json: is not JSON"),
    ],
)
def test_mistakes(keys: dict[str, Any], says: str | None, tmp_path: Path) -> None:
    Image.new("RGB", (96, 64)).save(tmp_path / "plain.webp")
    (tmp_path / "cut.mp4").write_bytes(VIDEO.read_bytes()[:3000])
    (tmp_path / "text.mp4").write_text("hello")
    (tmp_path / "bad.json").write_text("{")
    path = case(tmp_path, **keys)
    if says is None:
        assert load_case(path).comfyui is None
        return
    with pytest.raises(CaseError, match=says):
        load_case(path)


def test_a_request_beside_a_graph_is_said_to_be_unused(tmp_path: Path) -> None:
    request = {"model": "wan21_14b", "prompts": [{"prompt": "other"}], "loras": [{"path": "x.safetensors"}]}
    loaded = load_case(case(tmp_path, output=str(VIDEO), request=request))
    assert loaded.inference.prompt.startswith("p0stcard")
    assert any("`request` is not used" in note for note in loaded.inference.notes)
