"""What to change for each factor where the inference side is a ComfyUI graph: its nodes and widgets, not code."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from parity.factors.catalogue import CATALOGUE
from pipelines.comfyui.advice import HOW_TO_START
from pipelines.comfyui.preview import comfyui_text, split_of
from pipelines.drift import LORA_FACTORS, Factor, lora_field
from pipelines.files.words import together
from pipelines.recipe import Recipe


def fix_on(factor: Factor, preview: Recipe, inference: Recipe) -> str:
    """What to change so that the inference side has the preview's value."""
    if inference.text_encoding == "comfyui" and factor in FIXES:
        return FIXES[factor](preview)
    return CATALOGUE[factor].fix(preview)


def _set(widget: str, node: str, value: Callable[[Recipe], object]) -> Callable[[Recipe], str]:
    return lambda recipe: f"set {widget} {value(recipe)} in {node}"


def _start(recipe: Recipe) -> str:
    return "EmptyHunyuanLatentVideo" if recipe.control_image is None else "WanImageToVideo"


def _size(recipe: Recipe) -> str:
    return f"set width {recipe.width.applied} and height {recipe.height.applied} in {_start(recipe)}"


def _model(factor: Factor) -> str:
    expert = LORA_FACTORS[factor]
    return "" if expert is None else f" of the {expert}-noise model"


def _text(which: str, recipe: Recipe) -> str:
    text = comfyui_text(recipe.prompt if which == "positive" else recipe.negative_prompt)
    return f"write into the {which} CLIPTextEncode: {text!r}" if text else f"leave the {which} CLIPTextEncode empty"


def _boundary(recipe: Recipe) -> str:
    if recipe.boundary is None:
        return "use one KSampler, of one model"
    at = split_of(recipe)
    return f"set end_at_step of the first and start_at_step of the second KSamplerAdvanced to {at} of {recipe.steps}"


def _lora_file(factor: Factor, recipe: Recipe) -> str:
    files = together([str(file) for file in lora_field(recipe, factor)])
    node = f"LoraLoaderModelOnly{_model(factor)}"
    return f"load {files} in {node}" if files else f"bypass {node}"


def _lora_scale(factor: Factor, recipe: Recipe) -> str:
    scales = together([f"{scale:g}" for scale in lora_field(recipe, factor)])
    return f"set strength_model {scales} in LoraLoaderModelOnly{_model(factor)}"


def _quantization(recipe: Recipe) -> str:
    whole = "load a bf16 or fp16 file with weight_dtype default, and the text encoder in fp16"
    return f"{whole}; the preview's {recipe.quantization} cannot be had in ComfyUI" if recipe.quantization else whole


def _image(recipe: Recipe) -> str:
    return f"load {recipe.control_image} in LoadImage" if recipe.control_image else "leave start_image unconnected"


FIXES: dict[Factor, Callable[[Recipe], str]] = {
    "frame_count": lambda recipe: f"set length {recipe.num_frames.applied} in {_start(recipe)}",
    "snapping": _size,
    "seed": _set("seed", "KSampler", lambda recipe: recipe.seed),
    "steps": _set("steps", "KSampler", lambda recipe: recipe.steps),
    "guidance": _set("cfg", "KSampler", lambda recipe: f"{recipe.guidance_scale:g}"),
    "boundary": _boundary,
    "lora_file": partial(_lora_file, "lora_file"),
    "lora_file_high": partial(_lora_file, "lora_file_high"),
    "lora_file_low": partial(_lora_file, "lora_file_low"),
    "lora_scale": partial(_lora_scale, "lora_scale"),
    "lora_scale_high": partial(_lora_scale, "lora_scale_high"),
    "lora_scale_low": partial(_lora_scale, "lora_scale_low"),
    "prompt": partial(_text, "positive"),
    "negative_prompt": partial(_text, "negative"),
    "control_image": _image,
    "quantization": _quantization,
    "precision": lambda recipe: HOW_TO_START[recipe.precision.dtype],
    "fps": _set("fps", "CreateVideo, or in the node that saves,", lambda recipe: recipe.fps),
}
"""The factors that a graph, or ComfyUI's command line, sets otherwise than a request or a diffusers pipeline does. Of
the others the catalogue's fix names the node already, or says what no node sets."""
