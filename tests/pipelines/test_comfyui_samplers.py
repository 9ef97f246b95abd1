"""Samplers of ComfyUI on a model that knows the answer; what they make of a real one: test_comfyui_sampling.py."""

from __future__ import annotations

import pytest
import torch

from pipelines.comfyui_samplers import Sampler
from pipelines.comfyui_schedules import NOISY, SAMPLERS, SCHEDULES, SPLIT_SAMPLERS
from pipelines.scheduler import comfyui_schedule


def walk(sampler: Sampler, steps: int, answer: float = 0.7, seed: int = 3) -> torch.Tensor:
    """Sample as the Wan pipelines do, with a transformer that always sees `answer` behind the noise."""
    sampler.set_timesteps(steps, device="cpu")
    sampler.set_begin_index(0)
    x = torch.randn(1, 16, 3, 2, 2, generator=torch.Generator().manual_seed(seed)) * sampler.sigmas[0]
    for timestep in sampler.timesteps:
        x = sampler.step((x - answer) / (timestep / 1000), timestep, x, return_dict=False)[0]
    return x


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_model_that_knows_the_answer_is_followed_to_it(name: str, schedule: str) -> None:
    """All but uni_pc, which stops at a sigma of 0.001."""
    for steps in (1, 2, 3, 4, 12):
        scheduler = comfyui_schedule(name, schedule, 5.0)
        found = walk(Sampler(name, scheduler.sigmas), steps)
        assert (found - 0.7).abs().max() < (0.02 if "uni_pc" in name else 1e-4), steps


@pytest.mark.parametrize("name", SAMPLERS)
def test_progress_counts_the_passes_of_the_sampler(name: str) -> None:
    for schedule in ("simple", "ddim_uniform"):
        for steps in (1, 2, 30):
            scheduler = comfyui_schedule(name, schedule, 5.0)
            sampler = Sampler(name, scheduler.sigmas)
            sampler.set_timesteps(steps)
            progress = scheduler.progress(steps)
            assert len(progress) == len(sampler.timesteps) == len(sampler.sigmas) - 1
            assert progress[-1] == len(scheduler.sigmas(steps)) - 1
            assert list(progress) == sorted(progress)


def test_timesteps_are_sigmas_times_1000_unrounded() -> None:
    sampler = Sampler("euler", comfyui_schedule("euler", "normal", 3.0).sigmas)
    sampler.set_timesteps(20)
    assert sampler.timesteps.dtype == torch.float32
    assert sampler.timesteps[1].item() == pytest.approx(981.875, abs=0.001)


@pytest.mark.parametrize("name", SPLIT_SAMPLERS)
def test_a_second_sampler_node_begins_anew(name: str) -> None:
    """A split is two walks; without memory of earlier steps, as in euler, it makes no difference."""
    sigmas = comfyui_schedule(name, "simple", 5.0).sigmas
    whole, divided = Sampler(name, sigmas), Sampler(name, sigmas)
    divided.split = 6
    first, second = Sampler(name, lambda _: sigmas(12)[:7]), Sampler(name, lambda _: sigmas(12)[6:])

    def sampled(*samplers: Sampler) -> torch.Tensor:
        x = torch.linspace(-2, 2, 9)
        for sampler in samplers:
            sampler.set_timesteps(12)
            for timestep in sampler.timesteps:
                x = sampler.step(x.sin() * timestep / 1000, timestep, x)[0]
        return x

    assert sampled(divided).equal(sampled(first, second))
    assert sampled(divided).equal(sampled(whole)) == (name in ("euler", "ddim"))


@pytest.mark.parametrize("name", NOISY)
def test_noise_on_the_way_repeats_with_the_seed(name: str) -> None:
    def sampled(seed: int) -> torch.Tensor:
        sampler = Sampler(name, comfyui_schedule(name, "simple", 5.0).sigmas)
        sampler.seed = seed
        sampler.set_timesteps(4)
        x = torch.zeros(4)
        for timestep in sampler.timesteps:
            x = sampler.step(x + 1, timestep, x)[0]
        return x

    assert sampled(1).equal(sampled(1))
    assert not sampled(1).equal(sampled(2))


def test_steps_compute_in_float32_and_return_the_dtype_that_they_were_given() -> None:
    sampler = Sampler("euler", comfyui_schedule("euler", "simple", 5.0).sigmas)
    sampler.set_timesteps(2)
    assert (
        sampler.step(torch.ones(2, dtype=torch.bfloat16), sampler.timesteps[0], torch.ones(2))[0].dtype
        == torch.bfloat16
    )
