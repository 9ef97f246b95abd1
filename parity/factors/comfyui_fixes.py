"""What to change for each factor where the inference side is a ComfyUI graph: its nodes and widgets, not code."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from parity.factors.catalogue import CATALOGUE
from pipelines.comfyui.advice import HOW_TO_START
from pipelines.comfyui_text import escaped
from pipelines.drift import Factor, lora_field
from pipelines.errors import UnreproducibleError
from pipelines.files.words import together
from pipelines.recipe import Recipe


def fix_on(factor: Factor, preview: Recipe, inference: Recipe) -> str:
    """What to change so that the inference side has the preview's value."""
    if inference.text_encoding == "comfyui" and factor in FIXES:
        return FIXES[factor](preview)
    return CATALOGUE[factor].fix(preview)


def _set(widget: str, node: str, value: Callable[[Recipe], object]) -> Callable[[Recipe], str]:
    return lambda recipe: f"set {widget} {value(recipe)} in {node}"


def _frames(recipe: Recipe) -> str:
    node = "EmptyHunyuanLatentVideo" if recipe.control_image is None else "WanImageToVideo"
    return f"set length {recipe.num_frames.applied} in {node}"


def _size(recipe: Recipe) -> str:
    node = "EmptyHunyuanLatentVideo" if recipe.control_image is None else "WanImageToVideo"
    return f"set width {recipe.width.applied} and height {recipe.height.applied} in {node}"


def _text(which: str, recipe: Recipe) -> str:
    text = recipe.prompt if which == "positive" else recipe.negative_prompt
    if not text:
        return f"leave the {which} CLIPTextEncode empty"
    try:
        return f"write into the {which} CLIPTextEncode: {escaped(text)!r}"
    except UnreproducibleError:  # no spelling of it is known
        return f"write into the {which} CLIPTextEncode, parentheses escaped: {text!r}"


def _boundary(recipe: Recipe) -> str:
    return CATALOGUE["boundary"].fix(recipe).partition("ComfyUI: ")[2] or CATALOGUE["boundary"].fix(recipe)


def _lora_file(factor: Factor, recipe: Recipe) -> str:
    files = together([str(file) for file in lora_field(recipe, factor)])
    model = {"high": " on the high-noise model", "low": " on the low-noise model"}.get(factor.rpartition("_")[2], "")
    return f"load {files} in LoraLoaderModelOnly{model}" if files else f"bypass LoraLoaderModelOnly{model}"


def _lora_scale(factor: Factor, recipe: Recipe) -> str:
    scales = together([f"{scale:g}" for scale in lora_field(recipe, factor)])
    model = {"high": " of the high-noise model", "low": " of the low-noise model"}.get(factor.rpartition("_")[2], "")
    return f"set strength_model {scales} in LoraLoaderModelOnly{model}"


def _quantization(recipe: Recipe) -> str:
    whole = "load a bf16 or fp16 file with weight_dtype default, and the text encoder in fp16"
    return f"{whole}; the preview's {recipe.quantization} cannot be had in ComfyUI" if recipe.quantization else whole


def _image(recipe: Recipe) -> str:
    return f"load {recipe.control_image} in LoadImage" if recipe.control_image else "leave start_image unconnected"


FIXES: dict[Factor, Callable[[Recipe], str]] = {
    "frame_count": _frames,
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
