"""Recipes as values: what counts as a difference, and taking one from another."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from PIL import Image

from parity.case.load import DEMO, load_case
from parity.cli.main import main
from parity.factors.findings import find_differences
from pipelines.drift import FACTORS, Factor, differing_factors, take
from pipelines.recipe import Asked, Precision, Recipe, to_dict
from pipelines.scheduler import flow_schedule
from pipelines.weights import Weights
from tests.conftest import CaseFiles
from tests.support.oracle import sample_recipe

CHECKPOINT = sample_recipe("t2v_basic", 0).weights.checkpoint

PLANTED: dict[str, dict[str, Any]] = {
    "snapping": {"width": 80},
    "frame_count": {"num_frames": 5},
    "steps": {"sample_steps": 4},
    "guidance": {"guidance_scale": 6.5},
    "seed": {"seed": 43},
    "prompt": {"prompt": "a man playing the guitar"},
    "negative_prompt": {"neg": "blurry"},
    "fps": {"fps": 24},
}


def factors(case_file: Any) -> list[Factor]:
    case = load_case(case_file)
    return differing_factors(case.preview, case.inference)


@pytest.mark.parametrize("factor", PLANTED)
def test_one_planted_change_names_one_factor(cases: CaseFiles, factor: str) -> None:
    assert factors(cases.write(request=cases.request(**PLANTED[factor]))) == [factor]


def test_all_planted_changes_at_once(cases: CaseFiles) -> None:
    request = cases.request(**{key: value for keys in PLANTED.values() for key, value in keys.items()})
    request["loras"][0]["network_multiplier"] = 0.8
    assert set(factors(cases.write(request=request))) == {*PLANTED, "lora_scale"}


def test_nothing_planted_names_nothing(cases: CaseFiles) -> None:
    assert factors(cases.write(request=cases.request())) == []


def test_the_reference_graph_adds_its_three(cases: CaseFiles) -> None:
    path = cases.write(request=cases.request(seed=43), pipeline="reference")
    assert factors(path) == ["seed", "scheduler", "lora_application", "precision"]


def i2v_keys() -> dict[str, Any]:
    """Case keys of the first I2V sample, with the request that asks for the same."""
    job = DEMO / "jobs" / "i2v_basic"
    request = json.loads((DEMO / "requests" / "i2v_basic.json").read_text())
    request["loras"][0]["path"] = str(job / "tiny_i2v.safetensors")
    request["prompts"][0]["ctrl_img"] = str(job / "ctrl.png")
    video = sorted((job / "samples").glob("*_0.webp"))[0]
    return {
        "model": "wan21_i2v_14b",
        "preview": {"config": str(job / "config.yaml"), "sample": 0, "video": str(video)},
        "checkpoint": str(DEMO / "models" / "tiny-wan-i2v"),
        "request": request,
    }


def test_planted_control_image(cases: CaseFiles) -> None:
    keys = i2v_keys()
    assert factors(cases.write(**keys)) == []
    with Image.open(DEMO / "jobs" / "i2v_basic" / "ctrl.png") as image:
        image.resize((480, 480)).save(cases.folder / "resized.png")
    keys["request"]["prompts"][0]["ctrl_img"] = "resized.png"
    assert factors(cases.write(**keys)) == ["control_image"]


def test_everything_a_request_can_change_on_i2v(cases: CaseFiles, capsys: pytest.CaptureFixture[str]) -> None:
    keys = i2v_keys()
    with Image.open(DEMO / "jobs" / "i2v_basic" / "ctrl.png") as image:
        image.rotate(180).save(cases.folder / "other.png")
    keys["request"]["prompts"][0] |= {"width": 128, "num_frames": 5, "sample_steps": 4, "guidance_scale": 6, "seed": 1,
                                      "prompt": "running", "neg": "", "ctrl_img": "other.png"}  # fmt: skip
    keys["request"]["loras"][0]["network_multiplier"] = 0.5
    assert main(["plan", str(cases.write(**keys)), "--json"]) == 0
    found = {finding["factor"] for finding in json.loads(capsys.readouterr().out)[0]["findings"]}
    assert found == {"snapping", "frame_count", "steps", "guidance", "seed", "prompt", "negative_prompt", "lora_scale",
                     "control_image"}  # fmt: skip


def test_other_lora_file_is_one_factor(cases: CaseFiles) -> None:
    request = cases.request()
    request["loras"][0]["path"] = str(DEMO / "jobs" / "t2v_mixed_scale" / "tiny_t2v_mm.safetensors")
    assert factors(cases.write(request=request)) == ["lora_file"]


def test_a_copied_lora_is_no_difference(cases: CaseFiles) -> None:
    (cases.folder / "copy.safetensors").write_bytes((DEMO / "jobs" / "t2v_basic" / "tiny_t2v.safetensors").read_bytes())
    request = cases.request()
    request["loras"][0]["path"] = "copy.safetensors"
    assert factors(cases.write(request=request)) == []


@pytest.fixture
def recipe() -> Recipe:
    return sample_recipe("t2v_basic", 0)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"prompt": "woman  playing the guitar, on stage "}, []),  # diffusers folds white space
        ({"width": Asked(100, 96)}, []),  # asked otherwise, drawn alike
        ({"vae_tiling": True}, []),  # tiles only above 256 pixels
        ({"weights": Weights(CHECKPOINT, text_encoder="ai-toolkit/umt5_xxl_encoder")}, ["checkpoint"]),
        ({"scheduler": flow_schedule("flow_match_euler", 5.0)}, ["scheduler"]),
        ({"lora_files": (), "lora_scales": ()}, ["lora_file"]),
        ({"seed": None}, ["seed"]),
    ],
    ids=str,
)
def test_only_what_reaches_the_pixels_counts(recipe: Recipe, changes: dict[str, Any], expected: list[str]) -> None:
    assert differing_factors(recipe, dataclasses.replace(recipe, **changes)) == expected


def test_tiling_counts_on_large_videos(recipe: Recipe) -> None:
    large = dataclasses.replace(recipe, width=Asked(832, 832))
    assert differing_factors(large, dataclasses.replace(large, vae_tiling=True)) == ["vae_tiling"]


def test_without_guidance_the_negative_prompt_is_never_read(recipe: Recipe) -> None:
    plain = dataclasses.replace(recipe, guidance_scale=1.0)
    other = dataclasses.replace(plain, negative_prompt="blurry", guidance_scale=0.5)
    assert differing_factors(plain, other) == []


def test_float32_is_one_precision() -> None:
    assert Precision("float32", "kept") == Precision("float32", "cast")
    assert Precision("bfloat16", "kept") != Precision("bfloat16", "cast")


def test_taking_every_factor_makes_recipes_equal(cases: CaseFiles) -> None:
    request = cases.request(**{key: value for keys in PLANTED.values() for key, value in keys.items()})
    case = load_case(cases.write(request=request, pipeline="reference"))
    mixed = case.inference
    for factor in differing_factors(case.preview, case.inference):
        before = differing_factors(case.preview, mixed)
        mixed = take(mixed, factor, case.preview)
        assert differing_factors(case.preview, mixed) == [name for name in before if name != factor]
    assert differing_factors(case.preview, mixed) == []


def test_every_field_belongs_to_a_factor_or_is_bookkeeping() -> None:
    """A field that is not compared would be drift that goes unnoticed."""
    in_factors = {name for names in FACTORS.values() for name in names}
    assert {item.name for item in dataclasses.fields(Recipe)} - in_factors == {
        "model",
        "pipeline",
        "obstacles",
        "notes",
    }


def test_to_dict_is_json_without_image_bytes() -> None:
    text = json.dumps(to_dict(sample_recipe("i2v_basic", 0)))
    assert json.loads(text)["width"] == {"asked": 100, "applied": 96}
    assert "data" not in json.loads(text)["control_image"]


def test_findings_carry_both_values(cases: CaseFiles) -> None:
    case = load_case(cases.write(request=cases.request(width=100, num_frames=12, seed=5)))
    found = {finding.factor: finding for finding in find_differences(case.preview, case.inference)}
    assert set(found) == {"frame_count", "seed"}
    assert (found["frame_count"].preview, found["frame_count"].inference) == ("9", "13 (asked 12)")
    assert (found["seed"].preview, found["seed"].inference) == ("42", "5")
    assert all(finding.note for finding in found.values())
