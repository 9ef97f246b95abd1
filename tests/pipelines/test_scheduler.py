"""Schedules as values, against diffusers itself."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from parity.case.load import DEMO
from pipelines.errors import CaseError, WeightsError
from pipelines.scheduler import _DEFAULTS, CLASSES, checkpoint_scheduler, flow_schedule, scheduler


def diffusers_class(family: str) -> Any:
    from pipelines.engine.torch_setup import declare_missing_torchvision_operators

    declare_missing_torchvision_operators()
    import diffusers

    return getattr(diffusers, CLASSES[family])


@pytest.mark.parametrize("family", CLASSES)
def test_defaults_are_those_of_diffusers(family: str) -> None:
    parameters = inspect.signature(diffusers_class(family).__init__).parameters
    assert {name: p.default for name, p in parameters.items() if name != "self"} == _DEFAULTS[family]


@pytest.mark.parametrize("steps", [1, 4, 25, 50])
def test_built_schedule_has_the_checkpoints_sigmas_and_timesteps(steps: int) -> None:
    """All of them, from the real schedulers: a dropped default must not move a single one."""
    folder = DEMO / "models" / "tiny-wan-t2v"
    theirs = diffusers_class("unipc").from_pretrained(folder, subfolder="scheduler")
    ours: Any = checkpoint_scheduler(folder).build()
    for built in (theirs, ours):
        built.set_timesteps(steps)
    assert ours.sigmas.tolist() == theirs.sigmas.tolist()
    assert ours.timesteps.tolist() == theirs.timesteps.tolist()


def test_trainers_schedule_is_euler_shift_3() -> None:
    theirs = diffusers_class("flow_match_euler")(num_train_timesteps=1000, shift=3.0, use_dynamic_shifting=False)
    ours: Any = flow_schedule("flow_match_euler", 3.0).build()
    for built in (theirs, ours):
        built.set_timesteps(20)
    assert ours.sigmas.tolist() == theirs.sigmas.tolist()
    assert max(ours.sigmas.tolist()) == 1.0


def test_spelling_out_a_default_is_no_difference() -> None:
    spelled = scheduler("flow_match_euler", {"shift": 3.0, "base_shift": 0.5, "time_shift_type": "exponential"})
    assert spelled == flow_schedule("flow_match_euler", 3.0)


def test_the_demo_checkpoints_schedule_is_unipc_shift_3() -> None:
    found = checkpoint_scheduler(DEMO / "models" / "tiny-wan-t2v")
    assert found == flow_schedule("unipc", 3.0)
    assert found.shift == 3.0
    assert str(found) == "UniPCMultistepScheduler, shift 3.0"


def test_other_settings_are_shown() -> None:
    assert str(flow_schedule("unipc", 5.0, solver_order=3)) == "UniPCMultistepScheduler, shift 5.0, solver_order 3"


def test_unknown_family_and_setting_are_refused() -> None:
    with pytest.raises(CaseError, match="ddpm"):
        flow_schedule("ddpm", 3.0)
    with pytest.raises(CaseError, match="solver_ordr"):
        flow_schedule("unipc", 3.0, solver_ordr=2)


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "scheduler_config.json"), ("{}", "_class_name"), ('{"_class_name": "DDPMScheduler"}', "DDPMScheduler")],
)
def test_unreadable_checkpoint_schedule(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(text)
    with pytest.raises(WeightsError, match=said):
        checkpoint_scheduler(tmp_path)


def test_missing_checkpoint_schedule(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"scheduler_config\.json"):
        checkpoint_scheduler(tmp_path)


def test_later_diffusers_settings_are_read(tmp_path: Path) -> None:
    """Keys that start with an underscore are bookkeeping, not settings."""
    (tmp_path / "scheduler").mkdir()
    config = {"_class_name": "FlowMatchEulerDiscreteScheduler", "_diffusers_version": "0.42.1", "shift": 5.0}
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    assert checkpoint_scheduler(tmp_path) == flow_schedule("flow_match_euler", 5.0)


def test_a_word_that_diffusers_does_not_know_is_a_message() -> None:
    with pytest.raises(CaseError, match=r"settings are not for diffusers 0\.42\.1: .*median"):
        scheduler("unipc", {"solver_type": "median"}).build()
