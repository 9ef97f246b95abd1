"""Code of a report, used as its reader does: pasted below a plain diffusers pipeline, without our engine."""

from __future__ import annotations

from typing import Any

import numpy as np

from parity.results.diagnosis import Snippet
from pipelines.engine.torch_setup import declare_missing_torchvision_operators, deterministic, quiet_loading
from pipelines.media.control_image import resized
from pipelines.media.video import Frames
from pipelines.recipe import Recipe


def plain_pipeline(recipe: Recipe) -> Any:
    """The pipeline as the reference server loads it (wan21.py and wan22_t2v.py at af4aec1), without a LoRA."""
    import torch

    declare_missing_torchvision_operators()
    import diffusers

    quiet_loading()
    pipe = getattr(diffusers, recipe.pipeline).from_pretrained(recipe.weights.checkpoint, dtype=torch.bfloat16)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def paste(code: Snippet | None, pipe: Any, **names: Any) -> dict[str, Any]:
    """Run Python below `pipe`; returns all names that there are then."""
    assert code is not None
    assert code.language == "python"
    known = {"pipe": pipe, **names}
    exec(compile(code.text, "<pasted>", "exec"), known)
    return known


def generate_with(code: Snippet | None, recipe: Recipe) -> Frames:
    """The frames of `recipe`, the request's, on a plain pipeline with the code pasted."""
    import torch

    known = paste(code, plain_pipeline(recipe))
    width, height = recipe.width.applied, recipe.height.applied
    own = {
        "prompt": recipe.prompt,
        "negative_prompt": recipe.negative_prompt,
        "width": width,
        "height": height,
        "num_frames": recipe.num_frames.applied,
        "num_inference_steps": recipe.steps,
        "guidance_scale": recipe.guidance_scale,
        "generator": torch.Generator("cpu").manual_seed(recipe.seed or 0),
    }
    if recipe.control_image is not None and recipe.resize is not None:
        own["image"] = resized(recipe.control_image, recipe.resize, width, height)
    with deterministic():
        pictures = known["pipe"](**own | known.get("arguments", {}), output_type="pil").frames[0]
    return np.stack([np.asarray(picture) for picture in pictures])
