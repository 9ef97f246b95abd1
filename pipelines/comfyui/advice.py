"""What to set in ComfyUI for a preview: the settings that give it, what cannot be had there, and what to do by hand.

Measured on ComfyUI a125cd84 (0.3.64, 2025-10-12), on small checkpoints: with these settings its latents meet the
preview's at 146 dB in float32 (image to video: 90, Wan 2.2: 118) and at 57 to 59 dB in bfloat16.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.catalog import MODELS
from pipelines.comfyui.lora_layouts import why_not_loaded
from pipelines.comfyui.nodes import NODES
from pipelines.comfyui.preview import clean_text, image_name, model_files, preview_settings, split_of
from pipelines.comfyui.settings import Settings
from pipelines.comfyui.write import nodes_of
from pipelines.comfyui_text import escaped
from pipelines.errors import UnreproducibleError, WeightsError
from pipelines.files.words import together
from pipelines.lora_files import read_header
from pipelines.recipe import Dtype, LoraFile, Recipe


@dataclass(frozen=True, slots=True)
class Missing:
    """Something of a preview that ComfyUI cannot give."""

    what: str
    """A noun phrase, e.g. "the UniPC schedule"."""
    why: str
    """One sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What gives a preview in ComfyUI."""

    settings: Settings | None
    """As close as ComfyUI gets; None: nothing there gives this preview."""
    missing: tuple[Missing, ...] = ()
    """What differs all the same, in more than rounding."""
    rounding: tuple[str, ...] = ()
    """What rounds in another way, one sentence each."""
    first: tuple[str, ...] = ()
    """What no node does: how to start ComfyUI, which files it needs, one sentence each."""

    @property
    def answer(self) -> str:
        """What can be had, in one sentence."""
        if self.settings is None:
            return "; ".join(each.why for each in self.missing)
        but = f", except for {together([each.what for each in self.missing])}" if self.missing else ""
        return f"ComfyUI can give this preview up to rounding{but}."

    @property
    def short(self) -> str | None:
        """The settings that matter most, in one sentence; None: nothing there gives this preview."""
        if self.settings is None:
            return None
        first, *second = self.settings.stages
        both, split = (" on both models", f", split at step {first.end}") if second else ("", "")
        return (
            f"In short: sampler {first.sampler}, scheduler {first.schedule}, shift {first.shift:g}{both}, "
            f"{first.steps} steps{split}, cfg {first.cfg:g}, seed {first.seed}."
        )


def advise(recipe: Recipe) -> Advice:
    """Say what to set in ComfyUI for the preview of a recipe. Reads the headers of its LoRA files."""
    if recipe.obstacles:
        return _nobody("; ".join(recipe.obstacles))
    model = MODELS.get(recipe.model)
    if model is not None and model.expand_timesteps:
        return Advice(settings=None, missing=(Missing(model.title, _NO_5B),))
    if recipe.seed is None:
        return _nobody("its seed was random and is not known")
    settings = preview_settings(recipe)
    return Advice(
        settings=settings,
        missing=(*_missing(recipe), *_out_of_range(settings)),
        rounding=tuple(_rounding(recipe)),
        first=tuple(_first(recipe)),
    )


def _nobody(reason: str) -> Advice:
    why = f"This preview cannot be reproduced, in ComfyUI as little as elsewhere: {reason}"
    return Advice(settings=None, missing=(Missing("the preview", why),))


_NO_5B = (
    "What to set in ComfyUI for this preview is not known: what its node for Wan 2.2 5B (Wan22ImageToVideoLatent) "
    "computes was not measured"
)

_UNIPC = Missing(
    "its UniPC schedule",
    "before 2026-04-16 (ab1ee4df, in 0.9.3) ai-toolkit's previews were made with Diffusers' UniPC, which no sampler of "
    "ComfyUI repeats: its uni_pc is another method (36 dB from Diffusers'), euler is closer (47 dB)",
)


def _missing(recipe: Recipe) -> Iterator[Missing]:
    if recipe.scheduler.family == "unipc":
        yield _UNIPC
    elif others := [name for name, _ in recipe.scheduler.settings if name != "shift"]:
        yield Missing(
            f"its scheduler's {together(others)}", f"no node sets what {recipe.scheduler} has beside its shift"
        )
    quantized = recipe.quantization.effective
    if quantized:
        yield Missing(
            f"its quantized weights ({quantized})",
            "ai-toolkit quantized the weights in memory by rules of its own; fp8 files for ComfyUI are rounded "
            "otherwise (fp8 against whole weights: 43.6 dB), so the whole weights are the closest there is",
        )
    if recipe.conditioning is not None and recipe.conditioning.latents == "sample":
        yield Missing(
            "the noise in its control image's latents",
            "ai-toolkit samples the image's latents from the VAE's posterior, ComfyUI takes its mode"
            + (", and the noise depends on the GPU model" if recipe.conditioning.noise == "cuda" else ""),
        )
    if recipe.tiles:
        yield Missing(
            "the tiles of its VAE",
            "ai-toolkit decoded in overlapping tiles (low_vram); ComfyUI's tiles have other sizes and seams",
        )
    for name, text in (("prompt", recipe.prompt), ("negative prompt", recipe.negative_prompt)):
        try:
            escaped(clean_text(text) or text)
        except UnreproducibleError as error:
            yield Missing(f"a parenthesis of its {name}", str(error))
    for file in recipe.lora_files:
        if (reason := why_not_loaded(_keys(file))) is not None:
            yield Missing(f"the LoRA {file.path.name} as it is", f"{file.path.name}: {reason}")
    if recipe.codec.format == "jpeg":
        yield Missing("its JPEG", "no node saves JPEG; SaveImage's PNG holds the picture before that loss")


def _out_of_range(settings: Settings) -> Iterator[Missing]:
    """The values that ComfyUI's nodes refuse: ai-toolkit has no such limits."""
    for node in nodes_of(settings):
        for entry in NODES[node.kind].widgets:
            try:
                entry.check(node.widgets.get(entry.name, entry.default))
            except ValueError as error:
                value = node.widgets[entry.name]
                yield Missing(f"its {entry.name} of {value}", f"{entry.name} of {node.title} must be {error}")


_MEASURED: dict[Dtype, str] = {
    "float32": "latents 146 dB from the preview's (image to video 90, Wan 2.2 118)",
    "bfloat16": "latents 57 to 59 dB from the preview's, frames 46 to 50 dB",
    "float16": "latents 76 dB from the preview's, frames 52 dB",
}
"""ComfyUI with these settings against the preview: PSNR of normalised latents, and of frames before any codec."""


def _rounding(recipe: Recipe) -> Iterator[str]:
    dtype = recipe.precision.dtype
    yield f"measured on small checkpoints, so set: {_MEASURED[dtype]}"
    yield (
        "the text encoder's weights are stored in float16 and compute in float32"
        + ("" if dtype == "float32" else f", where ai-toolkit's are {dtype}")
        + "; guidance, schedule and latents stay float32"
    )
    yield "pixels are cut to 8 bit where ai-toolkit rounds: half of all values are 1 lower"
    if recipe.lora_files and recipe.lora_application == "side_path" and dtype != "float32":
        yield "the LoRA is merged into the weights, ai-toolkit computed it beside them"
    if recipe.earlier_merges and dtype != "float32":
        yield "earlier previews left rounding errors in ai-toolkit's weights, which ComfyUI does not repeat"
    if recipe.vae_norm == "float32" and dtype != "float32":
        yield "the VAE normalizes in its own dtype, ai-toolkit's in float32 (bfloat16 frames differ by 56 dB)"
    if recipe.control_image is not None and recipe.conditioning is None:
        yield "CLIP's picture is scaled by torch, not by Pillow (latents 90 dB in float32)"


def _keys(file: LoraFile) -> tuple[str, ...]:
    """A LoRA file's keys; none if it is gone, though its hash was taken a moment ago."""
    try:
        return tuple(read_header(file.path).shapes)
    except WeightsError:
        return ()


HOW_TO_START: dict[Dtype, str] = {
    "bfloat16": "start ComfyUI with --bf16-unet: without it a GPU computes in float16, whatever the file holds",
    "float16": "start ComfyUI with --fp16-vae: the preview's VAE was float16, a GPU's default is bfloat16",
    "float32": "start ComfyUI with --fp32-unet --fp32-vae, or --cpu: without it a GPU computes in 16 bit",
}
"""What makes ComfyUI compute in a preview's dtype: no node does."""
_LONG = 1000
"""Characters of a prompt which may be more than the 512 tokens that ai-toolkit keeps."""


def _first(recipe: Recipe) -> Iterator[str]:
    yield HOW_TO_START[recipe.precision.dtype]
    files = model_files(recipe)
    own = "" if files.official else f"; they must hold the weights of {files.checkpoint}"
    kind = "an fp32" if recipe.precision.dtype == "float32" else "a bf16 or fp16"
    yield f"take the model as {kind} file and the text encoder in fp16, not fp8 or fp8_scaled{own}"
    if recipe.lora_files:
        names = together([file.path.name for file in recipe.lora_files])
        both = "; a file of the other expert loads without a word" if recipe.boundary is not None else ""
        yield f"copy {names} to ComfyUI's models/loras{both}"
    for file in recipe.lora_files:
        if any(".lokr_" in key for key in _keys(file)):
            yield "its loader knows LoKr, but that was not tried here: look for 'lora key not loaded' in its console"
    if recipe.control_image is not None:
        width, height = recipe.width.applied, recipe.height.applied
        resize = (
            f"Image.open(…).convert('RGB').resize(({width}, {height}), Image.Resampling.LANCZOS)"
            f".save('{image_name(recipe)}')"
        )
        yield f"resize the control image as ai-toolkit does, stretched, and put it into ComfyUI's input: {resize}"
    for name, text in (("prompt", recipe.prompt), ("negative prompt", recipe.negative_prompt)):
        yield from _remarks_on_text(name, text)
    if recipe.boundary is not None and len(preview_settings(recipe).stages) == 1:
        expert = "low" if split_of(recipe) == 0 else "high"
        yield f"every step is the {expert}-noise expert's: one KSampler with it alone"
    if round(recipe.guidance, 2) != recipe.guidance:
        yield f"ComfyUI's page rounds cfg {recipe.guidance:g} to 0.01: run the API graph"
    if recipe.seed is not None and recipe.seed % 2**64 > 2**53:
        yield "a browser rounds seeds above 2^53: run the API graph, do not type the seed"


def _remarks_on_text(name: str, text: str) -> Iterator[str]:
    if re.search(r"[()]", text):
        yield f"the {name}'s parentheses are escaped, \\( and \\): without the backslash they weigh words"
    if re.search(r"\{.*\|.*\}", text, re.DOTALL):
        yield f"the {name} has {{a|b}}, of which ComfyUI's page picks one: run the API graph instead"
    if len(text) > _LONG:
        yield f"the {name} is long: ai-toolkit cuts it at 512 tokens, ComfyUI does not; cut it there"
    if not text.isascii() and clean_text(text) is None:
        yield f"the {name} may hold characters that ai-toolkit replaced before encoding: install ftfy to see them here"
