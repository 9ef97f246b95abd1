"""Schedules in three parts, as in ComfyUI's nodes: sampler, schedule, shift. The trainer's Euler has them too."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, get_args

from pipelines.comfyui_schedules import DISCARDING
from pipelines.scheduler import COMFYUI, Scheduler, Setting, flow_schedule

Part = Literal["sampler", "schedule", "shift"]
"""A part that can differ by itself."""

PARTS: tuple[Part, ...] = get_args(Part)

_EULER_SETTINGS = {"shift"}
"""Settings of FlowMatchEulerDiscreteScheduler that leave its sigmas ComfyUI's `normal`, within 6e-8 (0.3.64)."""

_SAME_SAMPLER = {"ddim": "euler"}
"""Samplers that are another one bit for bit; there is no noise mask here (ComfyUI 0.3.64)."""

_WITHOUT_SHIFT = "linear_quadratic"
"""The schedule that the shift does not reach (ComfyUI 0.3.64)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A schedule by ComfyUI's names."""

    sampler: str
    schedule: str
    shift: float
    denoise: float = 1.0
    """The share of the schedule that is used, from its end."""
    basic: bool = False
    """True if the sigmas come from a BasicScheduler node."""

    def of(self, part: Part) -> tuple[object, ...]:
        """The values that make up one part, as far as they reach the pixels."""
        sampler = _SAME_SAMPLER.get(self.sampler, self.sampler)
        if part == "sampler":
            return sampler, self.basic and sampler in DISCARDING
        if part == "schedule":
            return self.schedule, self.denoise
        # A browser writes 5.000000000000001 for 5.
        return ("none",) if self.schedule == _WITHOUT_SHIFT else (round(self.shift, 6),)

    @property
    def effective(self) -> tuple[object, ...]:
        """Schedules with equal values generate equal videos."""
        return tuple(self.of(part) for part in PARTS)

    def taking(self, part: Part, other: Parts) -> Parts:
        """These parts with one taken from `other`."""
        if part == "sampler":
            return dataclasses.replace(self, sampler=other.sampler, basic=other.basic)
        if part == "schedule":
            return dataclasses.replace(self, schedule=other.schedule, denoise=other.denoise)
        return dataclasses.replace(self, shift=other.shift)

    def show(self, part: Part) -> str:
        """One part for people: `euler`, `simple`, `8`."""
        if part == "sampler":
            return f"{self.sampler} (BasicScheduler)" if self.of("sampler")[1] else self.sampler
        if part == "schedule":
            return self.schedule if self.denoise == 1 else f"{self.schedule}, denoise {self.denoise:g}"
        return f"{self.shift:g}"


def parts_of(scheduler: Scheduler) -> Parts | None:
    """The parts of a schedule; None for one that ComfyUI cannot have, such as the UniPC of diffusers."""
    given = dict(scheduler.settings)
    if scheduler.family == COMFYUI:
        return Parts(
            sampler=str(given["sampler"]),
            schedule=str(given["schedule"]),
            shift=scheduler.shift,
            denoise=float(str(given.get("denoise", 1.0))),
            basic=bool(given.get("basic", False)),
        )
    if scheduler.family == "flow_match_euler" and set(given) <= _EULER_SETTINGS:
        return Parts(sampler="euler", schedule="normal", shift=scheduler.shift)
    return None


def canonical(scheduler: Scheduler) -> Scheduler:
    """The one schedule that stands for all that generate the same video.

    ComfyUI's `euler` with `normal` is the trainer's Euler, whose noise levels are within 6e-8 (0.3.64): generated as
    such, both sides have the same bits.
    """
    parts = parts_of(scheduler)
    if scheduler.family != COMFYUI or parts is None:
        return scheduler
    sampler, basic = parts.of("sampler")
    shift = 1.0 if parts.schedule == _WITHOUT_SHIFT else round(parts.shift, 6)
    if (sampler, parts.schedule, parts.denoise) == ("euler", "normal", 1.0):
        return flow_schedule("flow_match_euler", shift)
    return _scheduler(dataclasses.replace(parts, sampler=str(sampler), basic=bool(basic), shift=shift))


def _scheduler(parts: Parts) -> Scheduler:
    """The schedule with these parts, also of names that are not supported yet: they are differences all the same."""
    given: dict[str, Setting] = {"sampler": parts.sampler, "schedule": parts.schedule, "shift": parts.shift}
    given |= {} if parts.denoise == 1 else {"denoise": parts.denoise}
    given |= {"basic": True} if parts.basic else {}
    return Scheduler(COMFYUI, tuple(sorted(given.items())))


def both_parts(one: Scheduler, other: Scheduler) -> tuple[Parts, Parts] | None:
    """The parts of two schedules that are compared part by part: at least one is ComfyUI's, and both have parts."""
    if COMFYUI not in (one.family, other.family):
        return None
    ours, theirs = parts_of(one), parts_of(other)
    return None if ours is None or theirs is None else (ours, theirs)


def take_part(scheduler: Scheduler, part: Part, other: Scheduler) -> Scheduler:
    """`scheduler` with one part taken from `other`; all of `other` where nothing else is left to take."""
    pair = both_parts(scheduler, other)
    if pair is None:
        return scheduler
    ours, theirs = pair
    taken = ours.taking(part, theirs)
    if taken.effective == theirs.effective:
        return other
    if taken.effective == ours.effective:
        return scheduler
    return _scheduler(taken)
