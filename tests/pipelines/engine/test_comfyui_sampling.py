"""The engine samples as ComfyUI does: steps and passes, splits, its VAE, what is undone and what is refused.

That its recorded latents are met: test_comfyui_recordings.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.engine.engine import Engine
from pipelines.errors import UnreproducibleError
from pipelines.recipe import Asked, Dtype, Precision, Recipe
from pipelines.scheduler import comfyui_schedule, flow_schedule
from tests.pipelines.engine.test_engine import weights_hash
from tests.support.comfyui import decibels, recorded_frames, recorded_latents, t2v_recipe
from tests.support.oracle import sample_recipe

pytestmark = pytest.mark.draws


@pytest.fixture(scope="module")
def own_engine() -> Iterator[Engine]:
    """An engine whose checkpoint no other module changes, so that tests can count what it loads."""
    engine = Engine("cpu")
    yield engine
    engine.close()


@pytest.mark.parametrize(("name", "dtype"), [("t2v-euler-normal-3", "float16"), ("wan22-t2v-20-10", "bfloat16")])
def test_recorded_latents_decode_to_the_recorded_frames_bit_for_bit(engine: Engine, name: str, dtype: Dtype) -> None:
    """In bfloat16: latents and pixels in float32 around the VAE, its norms in its own dtype."""
    latents = torch.from_numpy(recorded_latents(name, dtype))
    assert np.array_equal(engine.decode(latents, t2v_recipe(name, dtype)), recorded_frames(name, dtype))


@pytest.mark.parametrize("changes", [{"float32_steps": False}, {"vae_norm": "float32"}, {"vae_dtype": "float32"}])
def test_with_another_vae_the_frames_are_others(engine: Engine, changes: dict[str, Any]) -> None:
    name = "wan22-t2v-20-10"
    latents = torch.from_numpy(recorded_latents(name, "bfloat16"))
    frames = engine.decode(latents, t2v_recipe(name, "bfloat16", **changes))
    assert decibels(frames, recorded_frames(name, "bfloat16"), 255) < 56


def short(recipe: Recipe, **changes: Any) -> Recipe:
    return dataclasses.replace(recipe, **{"steps": 3} | changes)


def of(sampler: str, schedule: str = "simple") -> Any:
    return comfyui_schedule(sampler, schedule, 5.0)


def test_each_step_is_reported_once_and_each_pass_is_counted(own_engine: Engine) -> None:
    """heun and dpm_2 look twice in each step but the last; ddim_uniform has a step more than asked for."""
    recipe = t2v_recipe("t2v-euler-normal-3")
    for scheduler, steps, passes in ((of("heun"), 3, 5), (of("dpm_2"), 3, 5), (of("euler", "ddim_uniform"), 7, 8)):
        seen: list[tuple[int, int]] = []
        before = own_engine.work.denoising_steps
        changed = short(recipe, scheduler=scheduler, steps=steps)
        own_engine.denoise(changed, lambda done, total, seen=seen: seen.append((done, total)))  # type: ignore[misc]
        total = len(scheduler.sigmas(steps)) - 1
        assert seen == [(done, total) for done in range(1, total + 1)]
        assert own_engine.work.denoising_steps - before == changed.passes == passes


def test_what_a_recipe_changes_is_undone(own_engine: Engine) -> None:
    """Hooks on the outputs and a VAE of its own: neither reaches the next recipe, and no checkpoint is loaded again."""
    plain = short(sample_recipe("wan22_t2v", 0))
    first = own_engine.generate(plain).tobytes()
    loads, untouched = own_engine.work.loads, weights_hash(own_engine)
    comfyui = short(t2v_recipe("wan22-t2v-20-10", "bfloat16"), vae_dtype="float32", text_encoding="diffusers", split=1)
    assert own_engine.generate(dataclasses.replace(comfyui, weights=plain.weights)).tobytes() != first
    assert own_engine.generate(plain).tobytes() == first
    assert (own_engine.work.loads, weights_hash(own_engine)) == (loads, untouched)


def test_a_vae_dtype_of_its_own_is_that_vae(own_engine: Engine) -> None:
    """Read in float32, not cast up from bfloat16."""
    latents = torch.from_numpy(recorded_latents("wan22-t2v-20-10"))
    whole = t2v_recipe("wan22-t2v-20-10")
    half = dataclasses.replace(whole, precision=Precision("bfloat16", "cast"), vae_dtype="float32")
    assert own_engine.decode(latents, half).tobytes() == own_engine.decode(latents, whole).tobytes()


def test_float32_steps_keep_the_latents_in_float32(own_engine: Engine) -> None:
    recipe = short(sample_recipe("wan22_t2v", 0))
    for kept in (False, True):
        latents = own_engine.denoise(dataclasses.replace(recipe, float32_steps=kept)).float()
        assert bool((latents == latents.to(torch.bfloat16)).all()) is not kept


def test_a_split_works_with_diffusers_schedules(own_engine: Engine) -> None:
    """A diagnosis mixes both sides: the trainer's schedule with the split of a graph."""
    recipe = short(sample_recipe("wan22_t2v", 0), steps=6, scheduler=flow_schedule("flow_match_euler", 5.0))
    by_boundary = own_engine.denoise(recipe)
    latents = [own_engine.denoise(dataclasses.replace(recipe, split=split)) for split in (0, 3, 6)]
    assert by_boundary.equal(latents[1])  # 0.875 gives 3 of 6 steps to the high-noise expert
    assert not latents[0].equal(latents[1])
    assert not latents[2].equal(latents[1])


def test_noise_on_the_way_is_the_seeds(own_engine: Engine) -> None:
    recipe = short(t2v_recipe("t2v-sampler-lcm"))
    first, again = own_engine.denoise(recipe), own_engine.denoise(recipe)
    assert first.equal(again)
    assert not first.equal(own_engine.denoise(dataclasses.replace(recipe, seed=2)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"guidance_scale": 0.5}, r"cfg 0\.5"),
        ({"height": Asked(72, 72)}, "96x72 is not a multiple of 16"),
        ({"compiled": True}, "compiled"),
        ({"steps": 2000, "scheduler": of("dpmpp_2m")}, "2000 steps.*same noise level"),
        ({"scheduler": of("uni_pc"), "boundary": 0.875, "split": 2}, "uni_pc with two experts.*supported: euler"),
        ({"scheduler": of("heun"), "boundary": 0.875, "split": 2}, "heun with two experts"),
        ({"scheduler": of("lcm"), "boundary": 0.875, "split": 2}, "lcm with two experts"),
    ],
)
def test_what_cannot_be_sampled_is_refused_before_anything_is_loaded(changes: dict[str, Any], said: str) -> None:
    engine = Engine("cpu")
    with pytest.raises(UnreproducibleError, match=said):
        engine.generate(dataclasses.replace(t2v_recipe("t2v-euler-normal-3"), **changes))
    assert engine.work.loads == 0


def test_truncation_makes_about_half_of_all_values_one_lower(own_engine: Engine) -> None:
    recipe = t2v_recipe("wan22-t2v-20-10")
    latents = torch.from_numpy(recorded_latents("wan22-t2v-20-10"))
    rounded = own_engine.decode(latents, dataclasses.replace(recipe, eight_bit="rounded")).astype(np.int16)
    lower = rounded - own_engine.decode(latents, recipe)
    assert set(np.unique(lower)) == {0, 1}
    assert 0.4 < lower.mean() < 0.6
