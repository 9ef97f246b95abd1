"""Noise schedules as values: a scheduler class and all settings that differ from its defaults."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.comfyui_schedules import SAMPLERS, SCHEDULES, comfyui_sigmas, steps_done
from pipelines.errors import CaseError, WeightsError
from pipelines.files import strict_json
from pipelines.files.content import read_text
from pipelines.files.shown import shown

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

    from pipelines.comfyui_samplers import Sampler

CLASSES = {
    "unipc": "UniPCMultistepScheduler",
    "flow_match_euler": "FlowMatchEulerDiscreteScheduler",
}
"""Maps the names of scheduler families in cases and reports to diffusers classes."""

_SHIFT_KEY = {"unipc": "flow_shift", "flow_match_euler": "shift"}

# Constructor defaults in diffusers 0.42.1. A config that states a default generates the same video as one that omits
# it, so defaults are dropped before schedulers are compared. A test compares this table with diffusers.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "unipc": {
        "num_train_timesteps": 1000,
        "beta_start": 0.0001,
        "beta_end": 0.02,
        "beta_schedule": "linear",
        "trained_betas": None,
        "solver_order": 2,
        "prediction_type": "epsilon",
        "thresholding": False,
        "dynamic_thresholding_ratio": 0.995,
        "sample_max_value": 1.0,
        "predict_x0": True,
        "solver_type": "bh2",
        "lower_order_final": True,
        "disable_corrector": [],
        "solver_p": None,
        "use_karras_sigmas": False,
        "use_exponential_sigmas": False,
        "use_beta_sigmas": False,
        "use_flow_sigmas": False,
        "flow_shift": 1.0,
        "timestep_spacing": "linspace",
        "steps_offset": 0,
        "final_sigmas_type": "zero",
        "rescale_betas_zero_snr": False,
        "use_dynamic_shifting": False,
        "time_shift_type": "exponential",
        "sigma_min": None,
        "sigma_max": None,
        "shift_terminal": None,
    },
    "flow_match_euler": {
        "num_train_timesteps": 1000,
        "shift": 1.0,
        "use_dynamic_shifting": False,
        "base_shift": 0.5,
        "max_shift": 1.15,
        "base_image_seq_len": 256,
        "max_image_seq_len": 4096,
        "invert_sigmas": False,
        "shift_terminal": None,
        "use_karras_sigmas": False,
        "use_exponential_sigmas": False,
        "use_beta_sigmas": False,
        "time_shift_type": "exponential",
        "stochastic_sampling": False,
    },
}

COMFYUI = "comfyui"
"""The family of ComfyUI's samplers and schedulers, which are no diffusers class."""

Setting = bool | int | float | str | tuple[float, ...] | None

_MAX_BYTES = 1 << 20
"""The largest scheduler_config.json; a real one has thirty lines."""


@dataclass(frozen=True, slots=True)
class Scheduler:
    """A scheduler family and its non-default settings, sorted by name."""

    family: str
    settings: tuple[tuple[str, Setting], ...]

    @property
    def shift(self) -> float:
        """The flow shift: sigmas become shift * s / (1 + (shift - 1) * s)."""
        if self.family == COMFYUI:
            return float(str(dict(self.settings)["shift"]))
        key = _SHIFT_KEY[self.family]
        return float(dict(self.settings).get(key, _DEFAULTS[self.family][key]))

    def __str__(self) -> str:
        if self.family == COMFYUI:
            given = dict(self.settings)
            extra = [f"denoise {given['denoise']:g}"] if "denoise" in given else []
            return ", ".join([f"{given['sampler']}, {given['schedule']}, shift {self.shift:g}", *extra]) + " (ComfyUI)"
        quiet = {_SHIFT_KEY[self.family], *(_FLOW_UNIPC if self.family == "unipc" else ())}
        extra = [f"{key} {value}" for key, value in self.settings if key not in quiet]
        return ", ".join([CLASSES[self.family], f"shift {self.shift}", *extra])

    def build(self) -> SchedulerMixin | Sampler:
        """Build the diffusers scheduler, or a sampler of ComfyUI's with what the Wan pipelines use of one.

        Raises CaseError if diffusers has no such scheduler: it has no list of the words that a setting may be.
        """
        if self.family == COMFYUI:
            from pipelines.comfyui_samplers import Sampler

            return Sampler(str(dict(self.settings)["sampler"]), self.sigmas)
        import diffusers

        try:
            scheduler: SchedulerMixin = getattr(diffusers, CLASSES[self.family])(**dict(self.settings))
        except (NotImplementedError, ValueError) as error:
            raise CaseError(f"the scheduler's settings are not for diffusers 0.42.1: {shown(error)}") from None
        return scheduler

    def sigmas(self, steps: int) -> tuple[float, ...]:
        """Return the noise levels over `steps` steps, one more than steps but for some lists of ComfyUI's."""
        if self.family == COMFYUI:
            given: dict[str, Any] = dict(self.settings)
            return comfyui_sigmas(steps=steps, **given)
        scheduler: Any = self.build()
        scheduler.set_timesteps(steps)
        return tuple(float(sigma) for sigma in scheduler.sigmas)

    def progress(self, steps: int) -> tuple[int, ...]:
        """Return the number of steps that are done after each pass of the transformer."""
        if self.family == COMFYUI:
            return steps_done(str(dict(self.settings)["sampler"]), self.sigmas(steps))
        return tuple(range(1, steps + 1))


# Settings that all Wan UniPC schedules share: flow matching instead of epsilon prediction.
_FLOW_UNIPC: dict[str, Setting] = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}


def scheduler(family: str, settings: Mapping[str, Any]) -> Scheduler:
    """Make a Scheduler of `family` without its default settings. Raises CaseError for unknown names."""
    if family not in CLASSES:
        raise CaseError(f"unknown scheduler family {family!r}; use one of {', '.join(CLASSES)}")
    defaults = _DEFAULTS[family]
    unknown = sorted(set(settings) - set(defaults))
    if unknown:
        raise CaseError(f"{CLASSES[family]} (diffusers 0.42.1) has no setting {', '.join(unknown)}")
    for key, value in settings.items():
        if not _fits(value, defaults[key]):
            example = f", e.g. {defaults[key]}" if defaults[key] not in (None, []) else ""
            raise CaseError(f"{CLASSES[family]}: {key} cannot be {str(value)[:60]!r}{example}")
    kept = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in settings.items()
        if value != defaults[key]
    }
    return Scheduler(family, tuple(sorted(kept.items())))


def _fits(value: Any, default: Any) -> bool:
    """Check that a value has the type of the setting's default; null always stands for the default."""
    if value is None or isinstance(value, bool):
        return value is None or default is None or isinstance(default, bool)
    if isinstance(value, int | float):
        return (default is None or (isinstance(default, int | float) and not isinstance(default, bool))) and (
            math.isfinite(value)
        )
    if isinstance(value, list):
        return default in (None, []) and all(type(item) in (int, float) and math.isfinite(item) for item in value)
    return isinstance(value, str) and (default is None or isinstance(default, str))


def comfyui_schedule(
    sampler: str, schedule: str, shift: float, *, denoise: float = 1.0, basic: bool = False
) -> Scheduler:
    """Make the schedule of a ComfyUI sampler: its names of sampler and scheduler, and the shift of the model's sigmas.

    `basic`: the sigmas come from a BasicScheduler node, whose grid differs for uni_pc and dpm_2. Raises CaseError for a
    name that is not supported yet.
    """
    if sampler not in SAMPLERS:
        raise CaseError(f"ComfyUI's sampler {sampler[:60]!r} is not supported yet; supported: {', '.join(SAMPLERS)}")
    if schedule not in SCHEDULES:
        raise CaseError(
            f"ComfyUI's scheduler {schedule[:60]!r} is not supported yet; supported: {', '.join(SCHEDULES)}"
        )
    if not 0.01 <= shift <= 100:
        raise CaseError(f"shift {shift:g}: ComfyUI's schedules need one of 0.01 to 100")
    if not 0.01 <= denoise <= 1:
        raise CaseError(f"denoise {denoise:g}: must be 0.01 to 1")
    settings: dict[str, Setting] = {"sampler": sampler, "schedule": schedule, "shift": float(shift)}
    if denoise != 1.0:
        settings["denoise"] = float(denoise)
    if basic:
        settings["basic"] = True
    return Scheduler(COMFYUI, tuple(sorted(settings.items())))


def flow_schedule(family: str, shift: float, **settings: Setting) -> Scheduler:
    """Make a Wan flow-matching schedule from its family and shift."""
    common = _FLOW_UNIPC if family == "unipc" else {}
    return scheduler(family, {**common, _SHIFT_KEY.get(family, "shift"): float(shift), **settings})


def checkpoint_scheduler(folder: Path) -> Scheduler:
    """Read the schedule of a checkpoint in diffusers layout (`scheduler/scheduler_config.json`)."""
    path = folder / "scheduler" / "scheduler_config.json"
    config = _config(path, "scheduler config")
    if "_class_name" not in config:
        raise WeightsError(f"{path}: no readable scheduler config ('_class_name'); is this a diffusers checkpoint?")
    class_name = str(config["_class_name"])
    family = {name: family for family, name in CLASSES.items()}.get(class_name)
    if family is None:
        raise WeightsError(f"{path}: scheduler {class_name} is not supported yet; known: {', '.join(CLASSES.values())}")
    known = {key: value for key, value in config.items() if not key.startswith("_")}
    try:
        return scheduler(family, known)
    except CaseError as error:
        raise WeightsError(f"{path}: {error}") from None


def checkpoint_boundary(folder: Path) -> float:
    """Read the ratio at which a Wan 2.2 checkpoint switches from the high-noise to the low-noise expert."""
    path = folder / "model_index.json"
    value = _config(path, "model index").get("boundary_ratio")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise WeightsError(f"{path}: boundary_ratio must be between 0 and 1, is {str(value)[:60]}; is it Wan 2.2?")
    return float(value)


def _config(path: Path, kind: str) -> dict[str, Any]:
    try:
        config = strict_json.loads(read_text(path, _MAX_BYTES))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: no readable {kind} ({error}); is this a diffusers checkpoint?") from None
    if not isinstance(config, dict):
        raise WeightsError(f"{path}: no readable {kind} (it has no keys); is this a diffusers checkpoint?")
    return config
