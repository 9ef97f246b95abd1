"""Settings node by node, as a person sets them, and what of a graph is set otherwise than wanted."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

from pipelines.comfyui.nodes import Scalar
from pipelines.comfyui.settings import DEFAULT_SHIFT, Save, Settings, Stage
from pipelines.comfyui.write import LAST_STEP, nodes_of, switch
from pipelines.files.shown import shown

_CONSTANT = ("filename_prefix", "batch_size", "method", "device")
"""Widgets that decide no pixel here, or that nobody changes."""

_LONGEST = 500
"""Characters that are shown of a value in a graph."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSetting:
    """One value to set."""

    node: str
    """The node: its title, or its id and title in a graph that was read."""
    kind: str
    """Its class."""
    name: str
    """The widget."""
    value: str
    """What gives the preview."""
    now: str | None = None
    """What is set now; None: no graph was read."""


def node_settings(settings: Settings) -> tuple[NodeSetting, ...]:
    """Every value to set, node by node, in the order in which a person meets them."""
    return tuple(
        NodeSetting(node=node.title, kind=node.kind, name=name, value=_shown(value))
        for node in nodes_of(settings)
        for name, value in node.widgets.items()
        if name not in _CONSTANT
    )


def changes(now: Settings, wanted: Settings, *, same: Collection[str] = ()) -> tuple[NodeSetting, ...]:
    """What to change in a graph of settings `now` so that it gives `wanted`.

    `same`: loras, image: they are known to be the same, whatever their files are called. Names of models and text
    encoders are not compared, only whether they are fp8: most people have other names for the same weights.
    """
    given, places = {value.key: value for value in _values(now)}, dict(now.places)
    found = []
    if len(now.stages) != len(wanted.stages):
        found.append(_samplers(now, wanted))
    for value in _values(wanted):
        other = given.get(value.key)  # a sampler that one side does not have is said as such
        if other is None or value.name in same or other.means == value.means:
            continue
        place = places.get(other.place, value.node)
        found.append(
            NodeSetting(
                node=place, kind=other.kind, name=value.name, value=value.shown, now=shown(other.shown, _LONGEST)
            )
        )
    return tuple(found)


def _samplers(now: Settings, wanted: Settings) -> NodeSetting:
    """Another number of samplers: the graph is for another generation of Wan."""
    count = len(wanted.stages)
    value = "1: KSampler" if count == 1 else "2: KSamplerAdvanced for high noise, then one for low noise"
    return NodeSetting(node="the samplers", kind="KSampler", name="number", value=value, now=str(len(now.stages)))


class _Value(NamedTuple):
    """One value of settings, comparable with that of others."""

    key: str
    place: str
    """Its key in `Settings.places`."""
    node: str
    kind: str
    name: str
    shown: str
    means: object
    """Equal for two values that generate the same."""


def _values(settings: Settings) -> Iterator[_Value]:
    def value(key: str, node: str, kind: str, name: str, shown: str, means: object) -> _Value:
        return _Value(key, key, node, kind, name, shown, means)

    experts = ("",) if len(settings.stages) == 1 else (", high noise", ", low noise")
    for number, (stage, of) in enumerate(zip(settings.stages, experts, strict=True)):
        yield from _of_stage(stage, number, of)
    prompt, negative, encoder = settings.prompt, settings.negative_prompt, settings.text_encoder
    guided = any(stage.cfg != 1 for stage in settings.stages)
    yield value("prompt", "Prompt", "CLIPTextEncode", "text", prompt, prompt)
    yield value("negative_prompt", "Negative Prompt", "CLIPTextEncode", "text", negative, negative if guided else None)
    yield value("text_encoder", "Load CLIP", "CLIPLoader", "clip_name", encoder, "fp8" in encoder.lower())
    start = "EmptyHunyuanLatentVideo" if settings.image is None else "WanImageToVideo"
    yield value("width", start, start, "width", str(settings.width), settings.width // 8)
    yield value("height", start, start, "height", str(settings.height), settings.height // 8)
    yield value("length", start, start, "length", str(settings.length), (settings.length - 1) // 4)
    image, crop = settings.image or "none", settings.clip_crop or "none"
    yield value("image", "Load Image", "LoadImage", "image", image, PurePosixPath(image).name)
    with_clip = settings.clip_vision is not None
    yield value("clip_crop", "CLIP Vision Encode", "CLIPVisionEncode", "crop", crop, (with_clip, crop))
    save = settings.save
    fps = "none" if settings.fps is None else f"{settings.fps:g}"
    yield value("fps", save.node, save.node, "fps", fps, fps)
    yield value("save", save.node, save.node, "file", _file(save), (save.format, save.lossless, save.quality))


def _of_stage(stage: Stage, number: int, of: str) -> Iterator[_Value]:
    def value(node: str, kind: str, name: str, shown: Scalar, means: object) -> _Value:
        return _Value(f"{number}.{name}", f"{stage.node}.{name}", f"{node}{of}", kind, name, _shown(shown), means)

    loader = ("Load Diffusion Model", "UNETLoader")
    yield value(*loader, "unet_name", stage.unet, "fp8" in stage.unet.lower())
    yield value(*loader, "weight_dtype", stage.weight_dtype, stage.weight_dtype)
    loras = ", ".join(f"{lora.name} at {lora.strength:g}" for lora in stage.loras) or "none"
    names = tuple((PurePosixPath(lora.name).name, round(lora.strength, 6)) for lora in stage.loras)
    yield value("Load LoRA", "LoraLoaderModelOnly", "loras", loras, names)
    shift = DEFAULT_SHIFT if stage.shift is None else stage.shift
    shown = f"no such node, which is {shift:g}" if stage.shift is None else f"{shift:g}"
    yield value("ModelSamplingSD3", "ModelSamplingSD3", "shift", shown, round(shift, 6))
    sampler = ("KSampler", "KSamplerAdvanced" if of else "KSampler")
    if stage.add_noise:
        yield value(*sampler, "seed", stage.seed, stage.seed)
    yield value(*sampler, "steps", stage.steps, stage.steps)
    yield value(*sampler, "cfg", stage.cfg, round(stage.cfg, 6))
    yield value(*sampler, "sampler_name", stage.sampler, "euler" if stage.sampler == "ddim" else stage.sampler)
    yield value(*sampler, "scheduler", stage.schedule, stage.schedule)
    yield value(*sampler, "denoise", stage.denoise, round(stage.denoise, 6))
    end = None if stage.end is None or stage.end >= stage.steps else stage.end
    yield value(*sampler, "start_at_step", stage.start, stage.start)
    yield value(*sampler, "end_at_step", LAST_STEP if stage.end is None else stage.end, end)
    yield value(*sampler, "add_noise", switch(stage.add_noise), stage.add_noise)
    yield value(*sampler, "return_with_leftover_noise", switch(stage.leftover_noise), stage.leftover_noise)


def _file(save: Save) -> str:
    if save.lossless:
        return f"{save.format}, lossless"
    return save.format if save.quality is None else f"{save.format}, quality {save.quality}"


def _shown(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)
