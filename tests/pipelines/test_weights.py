"""Weights: equal ones in two spellings are equal, and a Hub id is known by its form."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from pipelines.drift import differing_factors, frames_key
from pipelines.engine import fingerprint
from pipelines.engine.engine import Engine
from pipelines.hub import find_source, is_hub_id, place_of
from pipelines.recipe import RECIPE_KEYS, Recipe, to_dict
from pipelines.weights import PARTS, WEIGHT_KEYS, Weights
from tests.support.oracle import sample_recipe


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two checkpoints of the same parts, and a link to the first, in the current folder."""
    for name in ("wan", "other"):
        for part in ("transformer", "text_encoder", "vae"):
            (tmp_path / name / part).mkdir(parents=True)
            (tmp_path / name / part / "model.safetensors").write_text(f"{name} {part}")
    (tmp_path / "link").symlink_to("wan")
    monkeypatch.chdir(tmp_path)
    return tmp_path


SPELLINGS = {
    "relative": Weights("wan"),
    "trailing slash": Weights("{}/wan/"),
    "detour": Weights("{}/other/../wan"),
    "link": Weights("{}/link"),
    "own text encoder named": Weights("{}/wan", text_encoder="{}/link"),
    "own transformers named": Weights("{}/wan", transformers="wan"),
    "own VAE named": Weights("{}/wan", vae="{}/wan/"),
    "own VAE named by its folder": Weights("{}/link", vae="wan/vae"),
    "every part named": Weights("{}/other", text_encoder="{}/wan", transformers="{}/wan", vae="{}/link"),
}


def within(folder: Path, weights: Weights) -> Weights:
    named = {key: source and source.format(folder) for key, source in dataclasses.asdict(weights).items()}
    return Weights(**named)


def recipe_of(weights: Weights) -> Recipe:
    return dataclasses.replace(sample_recipe("wan22_t2v", 0), weights=weights)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_equal_weights_in_two_spellings_are_no_drift(models: Path, spelling: str) -> None:
    plain, respelled = (recipe_of(within(models, weights)) for weights in (Weights("{}/wan"), SPELLINGS[spelling]))
    assert differing_factors(plain, respelled) == []
    assert frames_key(plain) == frames_key(respelled)
    assert Engine.load_key(plain) == Engine.load_key(respelled)
    if spelling != "every part named":
        assert fingerprint.weights(plain) == fingerprint.weights(respelled)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_another_checkpoint_is_drift(models: Path, part: str) -> None:
    whole = Weights(str(models / "wan"))
    mixed = dataclasses.replace(whole, **{part: str(models / "other")})
    assert differing_factors(recipe_of(whole), recipe_of(mixed)) == ["checkpoint"]
    assert list(mixed.elsewhere()) == [part]
    assert fingerprint.weights(recipe_of(whole)) != fingerprint.weights(recipe_of(mixed))


def test_another_checkpoint_is_drift(models: Path) -> None:
    first, second = (recipe_of(Weights(str(models / name))) for name in ("wan", "other"))
    assert differing_factors(first, second) == ["checkpoint"]
    shutil.rmtree(models)
    assert differing_factors(first, second) == ["checkpoint"]  # places on another machine are compared by name


def test_weights_are_four_keys_of_a_recipe() -> None:
    weights = Weights("owner/wan", text_encoder="owner/umt5", vae="owner/vae")
    data = to_dict(recipe_of(weights))
    assert {key: data[key] for key in WEIGHT_KEYS} == dataclasses.asdict(weights)
    assert WEIGHT_KEYS == ("checkpoint", "text_encoder", "transformers", "vae")
    assert "weights" not in data
    assert tuple(data) == RECIPE_KEYS


@pytest.mark.parametrize("name", ["Wan-AI/Wan2.1-T2V-14B-Diffusers", "ai-toolkit/umt5_xxl_encoder", "o/n", "_a/_b.c"])
def test_a_hub_id(name: str) -> None:
    assert is_hub_id(name)
    assert find_source(name) == name
    assert place_of(name) == name


@pytest.mark.parametrize(
    "name",
    ["wan", "./wan", "../wan", "/wan", "~/wan", "models/wan/", "a/b/c", "a//b", "/a/b", "a b/c", "a/b\n", "C:/wan",
     r"models\wan", "", "a/\0", "á/b"],
)  # fmt: skip
def test_no_hub_id(name: str) -> None:
    assert not is_hub_id(name)


def test_a_folder_goes_before_a_hub_id(models: Path) -> None:
    (models / "owner" / "name").mkdir(parents=True)
    assert find_source("owner/name") == place_of("owner/name") == str(models / "owner" / "name")
    assert find_source("name", models / "owner") == str(models / "owner" / "name")
    assert find_source("./gone") is None
    assert find_source("a" * 5000 + "/b" * 2) is None
