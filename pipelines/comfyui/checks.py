"""What of a graph cannot be generated yet, and where the names of its files speak against the case's model."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipelines.catalog import Model
from pipelines.comfyui.loras import base_name, noise_of
from pipelines.comfyui.settings import DEFAULT_SHIFT, Settings, Stage
from pipelines.comfyui_schedules import SAMPLERS, why_not_split
from pipelines.files.words import shorten, together

_SAME = {"cfg": "cfg", "shift": "shift", "sampler": "sampler_name", "schedule": "scheduler", "steps": "steps"}
"""What the two samplers of a Wan 2.2 graph must have in common, and how the nodes call it."""


def stage_obstacles(settings: Settings, model: Model) -> Iterator[str]:
    """Why a graph's video cannot be generated here, one sentence each."""
    first, *rest = settings.stages
    if model.expand_timesteps:
        yield f"graphs of {model.title} are not supported yet"
    elif len(settings.stages) > 2:
        yield f"{len(settings.stages)} samplers in a row are not supported yet: two are, for Wan 2.2 14B"
    elif rest and model.experts is None:
        yield f"two samplers, as for Wan 2.2 14B, are not supported for {model.title}; is `model` right?"
    elif not rest and model.experts is not None:
        yield f"one sampler is not supported for {model.title}, which has two experts; is `model` right?"
    if first.sampler not in SAMPLERS:
        yield f"the sampler {shorten(first.sampler, 60)} is not supported yet; supported: {', '.join(SAMPLERS)}"
    if first.cfg < 1 - 1e-9:
        yield f"cfg {first.cfg:g} is not supported yet: ComfyUI guides below 1 too, diffusers does not"
    if first.start > 0 or not first.add_noise:
        yield f"node {first.node}: it begins at step {first.start} or adds no noise: not supported yet"
    last = settings.stages[-1]
    if last.end is not None and last.end < last.steps:
        yield f"node {last.node}: it stops after step {last.end} of {last.steps}, which is not supported yet"
    if rest:
        yield from _between(first, rest[0])
    if model.needs_control_image and settings.image is None:
        yield f"{model.title} needs an image, and the graph has none; is `model` right?"
    if not model.takes_control_image and settings.image is not None:
        yield f"{model.title} takes no image, and the graph loads {shorten(settings.image, 60)}; is `model` right?"
    if model.needs_control_image and model.experts is None and settings.image is not None and not settings.clip_vision:
        yield "Wan 2.1 I2V without CLIPVisionEncode is not supported yet"


def _between(first: Stage, second: Stage) -> Iterator[str]:
    """What two samplers must agree in; a recipe has one value, which is the first's."""
    for name, word in _SAME.items():
        ours, theirs = _value(first, name), _value(second, name)
        if ours != theirs and not (isinstance(ours, float) and isinstance(theirs, float) and abs(ours - theirs) < 1e-9):
            shown = (f"{value:g}" if isinstance(value, float) else str(value) for value in (ours, theirs))
            yield f"two samplers with different {word} ({together([*shown])}) are not supported yet; shown: the first's"
    if first.end is None or first.end >= first.steps:
        yield f"node {first.node}: it does all steps, so that node {second.node} has none; not supported yet"
    elif first.end != second.start:
        gap = f"ends at step {first.end}, and the second begins at {second.start}"
        yield f"the first sampler {gap}: a gap or an overlap is not supported yet"
    if first.sampler in SAMPLERS and (reason := why_not_split(first.sampler)) is not None:
        yield reason
    if not first.leftover_noise:
        yield f"node {first.node}: without return_with_leftover_noise the next starts clean: not supported yet"
    if second.add_noise:
        yield f"node {second.node}: a second sampler that adds noise is not supported yet"
    if (swapped := _swapped(first.unet, second.unet)) is not None:
        yield swapped


def _value(stage: Stage, name: str) -> object:
    return DEFAULT_SHIFT if name == "shift" and stage.shift is None else getattr(stage, name)


def _swapped(first: str, second: str) -> str | None:
    """The two experts in the wrong order, by their names."""
    high, low = (noise_of(base_name(name)) for name in (first, second))
    if (high, low) == ("low", "high"):
        return f"the experts are swapped: {base_name(first)} samples first, {base_name(second)} second; not supported"
    if first == second and high is not None:
        return f"both samplers use {base_name(first)}: one expert for all steps is not supported yet"
    return None


def names_at_odds(settings: Settings, model: Model) -> Iterator[str]:
    """Names of model files that say another model than the case's. Names prove nothing, so these are remarks."""
    for name in dict.fromkeys(base_name(stage.unet) for stage in settings.stages):
        said = [word for pattern, fits, word in _says(model) if re.search(pattern, name.lower()) and not fits]
        if said:
            whose = f"by its name {together(said)}"
            yield f"the graph loads {shorten(name, 80)}, {whose}, but the case is about {model.title}"


def _says(model: Model) -> Iterator[tuple[str, bool, str]]:
    """Patterns of file names, whether the model fits them, and what they say."""
    two_two = model.experts is not None or model.expand_timesteps
    yield r"(?<!\d)1[._]?3b", model.id == "wan21_1b", "a 1.3B model"
    yield r"(?<!\d)5b", model.expand_timesteps, "a 5B model"
    yield r"(?<!\d)a?14b", model.id != "wan21_1b" and not model.expand_timesteps, "a 14B model"
    yield r"i2v", model.takes_control_image, "image to video"
    yield r"(?<!i)t2v", not model.needs_control_image, "text to video"
    if model.needs_control_image and not two_two:  # two checkpoints, of one architecture
        yield r"480p", model.id.endswith("480p"), "the 480P model"
        yield r"720p", not model.id.endswith("480p"), "the 720P model"
    yield r"wan[._-]?2[._]?1", not two_two, "Wan 2.1"
    yield r"wan[._-]?2[._]?2", two_two, "Wan 2.2"
