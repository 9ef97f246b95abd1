"""The catalogue of factors that can drift: their names, notes, fixes and explanation pages.

Findings, diagnoses, reports and `parity explain` all read this catalogue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from parity.factors.troubleshooting import find_symptoms
from parity.results.case import BeyondRecipes
from pipelines.comfyui.preview import comfyui_text
from pipelines.drift import LORA_FACTORS, Factor, lora_field
from pipelines.errors import UsageError
from pipelines.experts import steps_before
from pipelines.files.words import did_you_mean, near
from pipelines.recipe import EXPERT_PARTS, Conditioning, Recipe
from pipelines.schedule_parts import Parts, parts_of
from pipelines.scheduler import CLASSES, COMFYUI

_PAGES = Path(__file__).parent / "explain"


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """One cause of drift."""

    name: Factor
    note: str
    """One line that says what a difference in this factor means."""
    fix: Callable[[Recipe], str]
    """Takes the preview's recipe and returns what to change in the inference code or the request, with its values."""


def _send(name: str, value: Callable[[Recipe], object]) -> Callable[[Recipe], str]:
    return lambda recipe: f"send {name} {value(recipe)} in the request"


def _scheduler(recipe: Recipe) -> str:
    if recipe.scheduler.family == COMFYUI:
        return f"sample with {recipe.scheduler}"
    settings = ", ".join(f"{key}={value!r}" for key, value in recipe.scheduler.settings)
    return f"pipe.scheduler = {CLASSES[recipe.scheduler.family]}({settings})"


def _node(text: str, value: Callable[[Parts], object]) -> Callable[[Recipe], str]:
    """The fix for one part of a schedule, in ComfyUI's nodes: a graph is on the other side."""

    def fix(recipe: Recipe) -> str:
        parts = parts_of(recipe.scheduler)
        return f"no node of ComfyUI has {recipe.scheduler}" if parts is None else text.format(value(parts))

    return fix


def _text_encoding(recipe: Recipe) -> str:
    if recipe.text_encoding == "comfyui":
        return "encode the prompts as ComfyUI's CLIPTextEncode does"
    if any(char in recipe.prompt + recipe.negative_prompt for char in "()"):
        return f"in CLIPTextEncode escape what would be weights: {comfyui_text(recipe.prompt)!r}"
    return "write the text without weights such as (red:1.4); the rest rounds and cannot be set in ComfyUI"


def _clip_image(recipe: Recipe) -> str:
    if recipe.clip_image != "resized":
        return f"let CLIP see the {recipe.clip_image.replace('_', ', ')} image"
    width, height = recipe.width.applied, recipe.height.applied
    return f"resize the image to {width}x{height} before CLIPVisionEncode, with crop center: LANCZOS, stretched"


def _eight_bit(recipe: Recipe) -> str:
    if recipe.eight_bit == "truncated":
        return "cut pixels to 8 bit: (pixels * 255).astype('uint8')"
    return "round pixels to 8 bit: (pixels * 255).round().astype('uint8'); ComfyUI's own save nodes cannot"


def _extra_loras(recipe: Recipe) -> str:
    loras = ", ".join(f"{file} at {scale:g}" for file, scale in zip(recipe.lora_files, recipe.lora_scales, strict=True))
    both = {file.expert for file in recipe.lora_files}
    refused = "; the reference API takes one a transformer" if len(both) < len(recipe.lora_files) else ""
    return f"load {loras} and no other LoRA{refused}" if loras else "load no LoRA"


def _scale(factor: Factor) -> Callable[[Recipe], str]:
    """The fix for the scale of one expert's LoRA, or of the only LoRA of a model without experts."""
    expert = LORA_FACTORS[factor]
    place = "in the request" if expert is None else f"with the LoRA of transformer {expert}"
    return lambda recipe: (
        f"send network_multiplier {', '.join(f'{scale:g}' for scale in lora_field(recipe, factor)) or 'none'} {place}"
    )


def _lora_file(factor: Factor) -> Callable[[Recipe], str]:
    expert = LORA_FACTORS[factor]

    def fix(recipe: Recipe) -> str:
        files = ", ".join(str(file) for file in lora_field(recipe, factor))
        if expert is None:
            return f"load {files}" if files else "serve without a LoRA: the preview was generated without one"
        if not files:
            return f"send no LoRA with transformer {expert}: the preview was generated without one"
        return f"load {files} into {EXPERT_PARTS[expert]} (transformer {expert})"

    return fix


def _boundary(recipe: Recipe) -> str:
    if recipe.boundary is None:
        return "use only the first transformer"
    at = steps_before(recipe, recipe.boundary)
    nodes = "" if at is None else f"  # ComfyUI: end_at_step and start_at_step {at} of {recipe.steps}"
    return f"pipe.register_to_config(boundary_ratio={recipe.boundary:g}){nodes}"


def _conditioning(recipe: Recipe) -> str:
    conditioning = recipe.conditioning
    if conditioning is None or conditioning == Conditioning(latents="mode", rounded=False):
        return "let the diffusers pipeline compute the control image's latents"
    source = {"seeded": "generator", "cuda": "torch.Generator('cuda').manual_seed(seed)", "unseeded": "None"}
    take = "mode()" if conditioning.noise is None else f"sample({source[conditioning.noise]})"
    rounded = f", noise and pixels rounded to {recipe.precision.dtype} first" if conditioning.rounded else ""
    return f"image latents: pipe.vae.encode(video).latent_dist.{take}{rounded}"


def _compilation(recipe: Recipe) -> str:
    return "compile the transformers' blocks as well" if recipe.compiled else "do not call compile_repeated_blocks"


def _lora_application(recipe: Recipe) -> str:
    if recipe.lora_application == "merged":
        return "merge the LoRA into the weights in float32 and cast back: W = (W.float() + scale * (B @ A)).to(W.dtype)"
    if recipe.lora_application == "side_path":
        return "do not merge: y + (B(A(x.float())) * scale).to(y.dtype) in every linear layer the LoRA touches"
    return "load the LoRA as a PEFT adapter: pipe.load_lora_weights(…); pipe.set_adapters([name], [scale])"


def _precision(recipe: Recipe) -> str:
    dtype = recipe.precision.dtype
    if recipe.precision.fp32_modules == "cast":
        return (
            f"after loading, cast every part, including the modules diffusers keeps in float32: part.to(torch.{dtype})"
        )
    kept = "" if dtype == "float32" else ", and leave the modules diffusers keeps in float32 as they are"
    return f"from_pretrained(…, dtype=torch.{dtype}){kept}"


def _quantization(recipe: Recipe) -> str:
    return f"quantize as the trainer did: {recipe.quantization}" if recipe.quantization else "serve unquantized weights"


def _control_image(recipe: Recipe) -> str:
    return f"send the preview's own control image: {recipe.control_image}" if recipe.control_image else "send no image"


def _resize(recipe: Recipe) -> str:
    if recipe.resize is None:
        return "do not resize"
    code = f"image.convert('RGB').resize(({recipe.width.applied}, {recipe.height.applied}), "
    code += f"PIL.Image.Resampling.{recipe.resize.filter.upper()})"
    return code if recipe.resize.crop == "stretch" else f"{code}, after cropping the center to the video's aspect ratio"


def _tiling(recipe: Recipe) -> str:
    return f"pipe.vae.{'enable' if recipe.vae_tiling else 'disable'}_tiling()"


def _merge_residue(recipe: Recipe) -> str:
    if not recipe.earlier_merges:
        return "generate with weights into which no LoRA was merged before"
    return "merge and unmerge the LoRAs of the earlier previews first, in the weights' dtype: see the page"


def _vae_norm(recipe: Recipe) -> str:
    if recipe.vae_norm == "float32":
        return "decode with diffusers' AutoencoderKLWan since 2026-03-24 (5fc2bd2c), whose norms go through float32"
    return "let WanRMS_norm normalize in the VAE's dtype: F.normalize(x, dim=1) * self.scale * self.gamma + self.bias"


def _snapping(recipe: Recipe) -> str:
    return f"generate {recipe.width.applied}x{recipe.height.applied}: send exactly this width and height"


def _checkpoint(recipe: Recipe) -> str:
    weights = recipe.weights
    encoder = f", text encoder from {weights.text_encoder}" if weights.text_encoder else ""
    return f"load {weights.checkpoint}{encoder}"


_ENTRIES: tuple[tuple[Factor, str, Callable[[Recipe], str]], ...] = (
    (
        "frame_count",
        "different number of frames: send the sample's num_frames; neither side changes 4n + 1",
        _send("num_frames", lambda recipe: recipe.num_frames.applied),
    ),
    (
        "snapping",
        "different frame size: send the sample's width and height; neither side changes multiples of 16",
        _snapping,
    ),
    (
        "seed",
        "different noise: send the sample's seed (the API's default is 42 + prompt index)",
        _send("seed", lambda recipe: recipe.seed),
    ),
    (
        "scheduler",
        "different scheduler: build the preview's in the inference code instead of the checkpoint's",
        _scheduler,
    ),
    (
        "sampler",
        "different sampler: the preview's is euler, which ComfyUI has too",
        _node("set sampler_name {} in KSampler", lambda parts: parts.show("sampler")),
    ),
    (
        "schedule",
        "different noise levels: ComfyUI's scheduler `normal` has the trainer's",
        _node("set scheduler {} in KSampler", lambda parts: parts.show("schedule")),
    ),
    (
        "shift",
        "different shift of the noise levels: a graph without ModelSamplingSD3 has 8",
        _node("set shift {} in ModelSamplingSD3, one for each transformer", lambda parts: parts.show("shift")),
    ),
    (
        "extra_loras",
        "one side has more LoRAs, such as a lightning LoRA: load the preview's and no other",
        _extra_loras,
    ),
    ("checkpoint", "different weights: serve the checkpoint the LoRA was trained on", _checkpoint),
    (
        "boundary",
        "the experts switch at another timestep: set the preview's boundary_ratio, or in ComfyUI its step",
        _boundary,
    ),
    (
        "conditioning",
        "the control image's latents are computed differently or from other noise; no request key sets this",
        _conditioning,
    ),
    ("lora_file", "different LoRA file: serve the one of the preview's step", _lora_file("lora_file")),
    (
        "lora_file_high",
        "different LoRA file for the high-noise expert: serve the preview's, or none if it had none",
        _lora_file("lora_file_high"),
    ),
    (
        "lora_file_low",
        "different LoRA file for the low-noise expert: serve the preview's, or none if it had none",
        _lora_file("lora_file_low"),
    ),
    ("lora_scale", "different LoRA scale: send the sample's network_multiplier", _scale("lora_scale")),
    (
        "lora_scale_high",
        "different scale of the high-noise LoRA: send the sample's network_multiplier for both experts",
        _scale("lora_scale_high"),
    ),
    (
        "lora_scale_low",
        "different scale of the low-noise LoRA: send the sample's network_multiplier for both experts",
        _scale("lora_scale_low"),
    ),
    (
        "steps",
        "different number of steps: send the sample's sample_steps",
        _send("sample_steps", lambda recipe: recipe.steps),
    ),
    (
        "guidance",
        "different guidance: send the sample's guidance_scale",
        _send("guidance_scale", lambda recipe: f"{recipe.guidance_scale:g}"),
    ),
    ("control_image", "different control image: send the exact file that the sample names", _control_image),
    ("resize", "the control image is resized differently: use the preview's filter and crop", _resize),
    (
        "clip_image",
        "CLIP sees the control image before it was resized: resize it first, and crop its center",
        _clip_image,
    ),
    (
        "prompt",
        "different text: check the trigger word and inline flags (ai-toolkit cuts the prompt at every --)",
        _send("prompt", lambda recipe: repr(recipe.prompt)),
    ),
    (
        "negative_prompt",
        "different negative prompt: send the sample's as `neg`",
        _send("neg", lambda recipe: repr(recipe.negative_prompt)),
    ),
    (
        "text_encoding",
        "ComfyUI reads (words) as weights and encodes text in float32: escape the parentheses",
        _text_encoding,
    ),
    (
        "quantization",
        "the weights are quantized differently, or on one side alone: quantize as the trainer did",
        _quantization,
    ),
    (
        "lora_application",
        "the LoRA is applied differently: do as the trainer does; a PEFT adapter rounds differently",
        _lora_application,
    ),
    (
        "precision",
        "different dtype: cast every module, as the trainer does, or keep float32 modules on both sides",
        _precision,
    ),
    (
        "compilation",
        "torch.compile fuses operations, which changes the rounding: compile on both sides or on neither",
        _compilation,
    ),
    (
        "vae_tiling",
        "different VAE tiling: decode with the preview's setting; tiles can leave visible seams",
        _tiling,
    ),
    (
        "vae_norm",
        "the VAE's norms round differently: ComfyUI's, and ai-toolkit's before 2026-07-10, in the VAE's dtype",
        _vae_norm,
    ),
    (
        "merge_residue",
        "earlier previews merged and unmerged LoRAs, which leaves rounding errors in the weights",
        _merge_residue,
    ),
    (
        "eight_bit",
        "pixels are truncated to 8 bit instead of rounded: half of all values are lower by 1 of 255",
        _eight_bit,
    ),
    (
        "codec",
        "written in another format or quality: encode both files the same way before comparing them",
        lambda recipe: f"write {recipe.codec}",
    ),
    (
        "fps",
        "different frame duration in the file; the frames themselves are the same",
        _send("fps", lambda recipe: recipe.fps),
    ),
)

CATALOGUE: dict[Factor, CatalogueEntry] = {
    name: CatalogueEntry(name=name, note=note, fix=fix) for name, note, fix in _ENTRIES
}
"""The factors, sorted by likelihood and usual size of their effect. Experiments run in this order, and factors with
equal figures are listed in it."""

BEYOND_RECIPES: dict[BeyondRecipes, str] = {
    "environment": "equal recipes, different bits",
    "broken_output": "a video is NaN, black or frozen",
}
"""The findings that are not factors of a recipe, each with a line that says what it means."""

PAGES = (*CATALOGUE, *BEYOND_RECIPES)
"""Everything `parity explain` has a page for. `environment` is found when recipes are equal and frames are not,
`broken_output` when the generated frames are not a usable video."""


def likeliest_first(names: Iterable[Factor]) -> list[Factor]:
    """Sort factors into the catalogue's order."""
    return sorted(names, key=list(CATALOGUE).index)


def explain(name: str) -> str:
    """Return the page of a factor.

    Raises UsageError for an unknown one, which names the nearest factor, or the symptom if it is one.
    """
    if name not in PAGES:
        symptom = f"; as a symptom: parity explain --symptom {name}" if _is_symptom(name) else ""
        raise UsageError(
            f"unknown factor {name!r}{near(name, list(PAGES)) or symptom or did_you_mean(name, list(PAGES))}"
        )
    return (_PAGES / f"{name}.md").read_text(encoding="utf-8")


def _is_symptom(words: str) -> bool:
    try:
        return bool(words.strip() and find_symptoms(words))
    except UsageError:
        return False
