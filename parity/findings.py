"""Findings: what differs between two recipes, named before any model runs."""

from __future__ import annotations

from parity.result import FindingResult
from pipelines.recipe import FACTORS, Recipe, differing_factors

_NOTES = {
    "checkpoint": "other weights: serve the checkpoint the LoRA was trained on",
    "prompt": "other text: check the trigger word and inline flags (ai-toolkit cuts the prompt at every --)",
    "negative_prompt": "other negative prompt: send the sample's as `neg`",
    "snapping": "other frame size: send the sample's width and height; both sides leave multiples of 16 alone",
    "frame_count": "other number of frames: send the sample's num_frames; both sides leave 4n + 1 alone",
    "steps": "send the sample's sample_steps",
    "guidance": "send the sample's guidance_scale",
    "seed": "other noise: send the sample's seed (the API's default is 42 + prompt index)",
    "scheduler": "build the preview's scheduler in the inference code instead of the checkpoint's",
    "lora_file": "other LoRA weights: serve the file of the preview's step",
    "lora_scale": "send the sample's network_multiplier",
    "lora_application": "apply the LoRA as the trainer does; a PEFT adapter rounds differently from merged weights",
    "precision": "cast the transformer whole, as the trainer does, or keep float32 modules on both sides",
    "quantization": "the preview was drawn by quantized weights, the inference is not (or the other way round)",
    "control_image": "other control image: send the very file the sample names",
    "resize": "resize the control image with the preview's filter and crop",
    "vae_tiling": "decode with the preview's VAE tiling: tiles show at their seams",
    "codec": "written in another format or quality: compare files only after encoding them alike",
    "fps": "other frame duration in the file; the frames themselves are not touched",
}


def show_field(recipe: Recipe, name: str) -> str:
    """A recipe field for people; a dash for nothing."""
    value = getattr(recipe, name)
    if name == "seed" and value is None:
        return "random"
    items = value if isinstance(value, tuple) else (value,)
    words = (f"{item:g}" if isinstance(item, float) else str(item) for item in items if item is not None)
    return ", ".join(words) or "-"


def show(recipe: Recipe, factor: str) -> str:
    """A factor's value in a recipe, for people."""
    if factor == "snapping":
        width, height = recipe.width, recipe.height
        applied, asked = f"{width.applied}x{height.applied}", f"{width.asked}x{height.asked}"
        return applied if asked == applied else f"{applied} (asked {asked})"
    shown = (show_field(recipe, name) for name in FACTORS[factor])
    return ", ".join(word for word in shown if word != "-") or "none"


def find_differences(preview: Recipe, inference: Recipe) -> tuple[FindingResult, ...]:
    """One finding per differing factor, both values in words."""
    return tuple(
        FindingResult(
            factor=factor, preview=show(preview, factor), inference=show(inference, factor), note=_NOTES[factor]
        )
        for factor in differing_factors(preview, inference)
    )
