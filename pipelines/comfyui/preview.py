"""The settings of ComfyUI that come closest to a preview, read off its recipe.

A flow-matching Euler schedule of Diffusers is ComfyUI's sampler euler with scheduler normal and the same shift: their
noise levels differ by less than 1e-7 (a125cd84, 0.3.64, 2025-10-12).
"""

from __future__ import annotations

import html
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from pipelines.catalog import MODELS
from pipelines.comfyui.settings import LoraEntry, Save, Settings, Stage
from pipelines.comfyui_schedules import comfyui_sigmas, high_noise_steps
from pipelines.comfyui_text import escaped
from pipelines.errors import UnreproducibleError
from pipelines.recipe import Expert, Recipe


def clean_text(text: str) -> str | None:
    """The text as diffusers 0.42.1 encodes it (prompt_clean); None: ftfy is not installed, and it may change it.

    ComfyUI cleans nothing.
    """
    try:
        import ftfy
    except ImportError:
        return " ".join(html.unescape(html.unescape(text)).split()) if text.isascii() else None
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split())


def comfyui_text(text: str) -> str:
    """The text that ComfyUI encodes as ai-toolkit encodes `text`: cleaned, its parentheses escaped if that is known."""
    cleaned = clean_text(text)
    text = " ".join(text.split()) if cleaned is None else cleaned
    try:
        return escaped(text)
    except UnreproducibleError:
        return text


def split_of(recipe: Recipe) -> int:
    """Return how many steps of a Wan 2.2 14B preview are the high-noise expert's: those at or above its boundary."""
    sigmas = comfyui_sigmas("euler", "normal", recipe.scheduler.shift, recipe.steps)
    return high_noise_steps(sigmas, recipe.boundary or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """The files of a model, as the official templates name them, or after the checkpoint."""

    unets: tuple[str, ...]
    """One, or high noise and low noise."""
    text_encoder: str
    vae: str
    clip_vision: str
    checkpoint: str
    """The checkpoint's own name."""
    official: bool
    """True if these are the names of Comfy-Org's files."""


_UNETS: dict[str, tuple[str, ...]] = {
    "wan21_14b": ("wan2.1_t2v_14B_bf16.safetensors",),
    "wan21_1b": ("wan2.1_t2v_1.3B_bf16.safetensors",),
    "wan21_i2v_14b": ("wan2.1_i2v_720p_14B_bf16.safetensors",),
    "wan21_i2v_14b480p": ("wan2.1_i2v_480p_14B_bf16.safetensors",),
    "wan22_14b_t2v": (
        "wan2.2_t2v_high_noise_14B_fp16.safetensors",
        "wan2.2_t2v_low_noise_14B_fp16.safetensors",
    ),
    "wan22_14b_i2v": (
        "wan2.2_i2v_high_noise_14B_fp16.safetensors",
        "wan2.2_i2v_low_noise_14B_fp16.safetensors",
    ),
}
"""The names of Comfy-Org's files of each model; the templates of 0.1.123 take some of them in fp8_scaled instead."""


def model_files(recipe: Recipe) -> ModelFiles:
    """The files that ComfyUI needs for a recipe's weights. Their names are what most people have; any name works."""
    name = PurePosixPath(recipe.weights.checkpoint.rstrip("/\\").replace("\\", "/")).name
    model = MODELS.get(recipe.model)
    published = model and {
        model.base_checkpoint.rpartition("/")[2],
        ((model.experts and model.experts.transformers) or "").rpartition("/")[2],
    }
    if model is not None and published and name in published:
        return ModelFiles(
            unets=_UNETS[model.id],
            text_encoder="umt5_xxl_fp16.safetensors",
            vae="wan_2.1_vae.safetensors",
            clip_vision="clip_vision_h.safetensors",
            checkpoint=name,
            official=True,
        )
    parts = ("",) if recipe.boundary is None else ("-high", "-low")
    return ModelFiles(
        unets=tuple(f"{name}{part}.safetensors" for part in parts),
        text_encoder=f"{name}-te.safetensors",
        vae=f"{name}-vae.safetensors",
        clip_vision=f"{name}-clip.safetensors",
        checkpoint=name,
        official=False,
    )


def preview_settings(recipe: Recipe) -> Settings:
    """The settings that come closest to a preview whose seed is known, for Wan 2.1 and Wan 2.2 14B."""
    files, save = model_files(recipe), _save(recipe)
    with_image = recipe.control_image is not None
    with_clip = with_image and recipe.boundary is None
    return Settings(
        stages=_stages(recipe, files.unets),
        prompt=comfyui_text(recipe.prompt),
        negative_prompt=comfyui_text(recipe.negative_prompt),
        text_encoder=files.text_encoder,
        vae=files.vae,
        clip_vision=files.clip_vision if with_clip else None,
        clip_crop="center" if with_clip else None,
        image=image_name(recipe) if with_image else None,
        width=recipe.width.applied,
        height=recipe.height.applied,
        length=recipe.num_frames.applied,
        fps=None if save.node == "SaveImage" else float(recipe.fps),
        save=save,
    )


def _stages(recipe: Recipe, unets: tuple[str, ...]) -> tuple[Stage, ...]:
    first = Stage(
        node="3",
        unet=unets[0],
        loras=_loras(recipe, None),
        shift=recipe.scheduler.shift,
        sampler="euler",
        schedule="normal",
        steps=recipe.steps,
        cfg=float(recipe.guidance),
        seed=(recipe.seed or 0) % 2**64,  # torch takes a negative seed as its two's complement
    )
    if recipe.boundary is None:
        return (first,)
    split = split_of(recipe)
    if split in (0, recipe.steps):  # the other expert has no step
        expert: Expert = "low" if split == 0 else "high"
        return (replace(first, unet=unets[split == 0], loras=_loras(recipe, expert)),)
    high = replace(first, node="57", loras=_loras(recipe, "high"), end=split, leftover_noise=True)
    low = replace(first, node="58", unet=unets[1], loras=_loras(recipe, "low"), seed=0, start=split, add_noise=False)
    return high, low


def _loras(recipe: Recipe, expert: Expert | None) -> tuple[LoraEntry, ...]:
    return tuple(LoraEntry(name=file.path.name, strength=scale) for file, scale in recipe.loras(expert) if scale != 0)


def _save(recipe: Recipe) -> Save:
    """The preview's own format, so that the codec makes no difference: lossy WebP, or PNG for a still."""
    if recipe.codec.format == "webp":
        return Save(node="SaveAnimatedWEBP", format="webp", quality=recipe.codec.quality)
    return Save(node="SaveImage", format="png", lossless=True)


def image_name(recipe: Recipe) -> str:
    """The resized control image's name below ComfyUI's `input`."""
    source = recipe.control_image.source if recipe.control_image is not None else ""
    path = PurePosixPath(source.replace("\\", "/"))
    stem = path.stem if path.suffix and len(path.name) <= 100 else "control-image"
    return f"{stem}-{recipe.width.applied}x{recipe.height.applied}.png"
