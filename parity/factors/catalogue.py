"""The factors that can drift: what each is called, what to change, and a page of explanation.

Written once: findings, diagnoses, reports and `parity explain` all read this catalogue.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipelines.drift import FACTORS, LORA_FACTORS, lora_field
from pipelines.errors import UsageError
from pipelines.files.words import did_you_mean
from pipelines.recipe import EXPERT_PARTS, Conditioning, Recipe
from pipelines.scheduler import CLASSES

_PAGES = Path(__file__).parent / "explain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """One cause of drift."""

    name: str
    note: str
    """What a difference means, in a line."""
    fix: Callable[[Recipe], str]
    """The preview's recipe -> what to change in the inference code or the request, with its values."""


def _asked(name: str, value: Callable[[Recipe], object]) -> Callable[[Recipe], str]:
    return lambda recipe: f"send {name} {value(recipe)} in the request"


def _scheduler(recipe: Recipe) -> str:
    settings = ", ".join(f"{key}={value!r}" for key, value in recipe.scheduler.settings)
    return f"pipe.scheduler = {CLASSES[recipe.scheduler.family]}({settings})"


def _scale(factor: str) -> Callable[[Recipe], str]:
    """How to send the scale of one expert's LoRA, or of a model's only one."""
    expert = LORA_FACTORS[factor]
    where = "in the request" if expert is None else f"with the LoRA of transformer {expert}"
    return lambda recipe: (
        f"send network_multiplier {', '.join(f'{scale:g}' for scale in lora_field(recipe, factor)) or 'none'} {where}"
    )


def _lora_file(factor: str) -> Callable[[Recipe], str]:
    expert = LORA_FACTORS[factor]

    def fix(recipe: Recipe) -> str:
        files = ", ".join(str(file) for file in lora_field(recipe, factor))
        if expert is None:
            return f"load {files}" if files else "serve without a LoRA: the preview was drawn without one"
        if not files:
            return f"send no LoRA with transformer {expert}: the preview was drawn without one"
        return f"load {files} into {EXPERT_PARTS[expert]} (transformer {expert})"

    return fix


def _boundary(recipe: Recipe) -> str:
    if recipe.boundary is None:
        return "use the first transformer alone"
    return f"pipe.register_to_config(boundary_ratio={recipe.boundary:g})"


def _conditioning(recipe: Recipe) -> str:
    how = recipe.conditioning
    if how is None or how == Conditioning(latents="mode", rounded=False):
        return "leave the control image's latents to the diffusers pipeline"
    source = {"seeded": "generator", "cuda": "torch.Generator('cuda').manual_seed(seed)", "unseeded": "None"}
    take = "mode()" if how.noise is None else f"sample({source[how.noise]})"
    rounded = f", noise and pixels rounded to {recipe.precision.dtype} before" if how.rounded else ""
    return f"image latents: pipe.vae.encode(video).latent_dist.{take}{rounded}"


def _compilation(recipe: Recipe) -> str:
    return "compile the transformers' blocks, too" if recipe.compiled else "do not call compile_repeated_blocks"


def _lora_application(recipe: Recipe) -> str:
    if recipe.lora_application == "merged":
        return "merge the LoRA into the weights in float32 and cast back: W = (W.float() + scale * (B @ A)).to(W.dtype)"
    if recipe.lora_application == "side_path":
        return "do not merge: y + (B(A(x.float())) * scale).to(y.dtype) in every linear layer the LoRA touches"
    return "load the LoRA as a PEFT adapter: pipe.load_lora_weights(…); pipe.set_adapters([name], [scale])"


def _precision(recipe: Recipe) -> str:
    dtype = recipe.precision.dtype
    if recipe.precision.fp32_modules == "cast":
        return f"after loading, cast every part whole: part.to(torch.{dtype}), float32 modules included"
    kept = "" if dtype == "float32" else ", and leave the modules diffusers keeps in float32 as they are"
    return f"from_pretrained(…, dtype=torch.{dtype}){kept}"


def _quantization(recipe: Recipe) -> str:
    return f"quantize as the trainer did: {recipe.quantization}" if recipe.quantization else "serve unquantized weights"


def _control_image(recipe: Recipe) -> str:
    return f"send the preview's own control image: {recipe.control_image}" if recipe.control_image else "send no image"


def _resize(recipe: Recipe) -> str:
    if recipe.resize is None:
        return "do not resize"
    how = f"image.convert('RGB').resize(({recipe.width.applied}, {recipe.height.applied}), "
    how += f"PIL.Image.Resampling.{recipe.resize.filter.upper()})"
    return how if recipe.resize.crop == "stretch" else f"{how}, after cropping the center to the video's aspect ratio"


def _tiling(recipe: Recipe) -> str:
    return f"pipe.vae.{'enable' if recipe.vae_tiling else 'disable'}_tiling()"


def _snapping(recipe: Recipe) -> str:
    return f"draw {recipe.width.applied}x{recipe.height.applied}: send exactly that width and height"


def _checkpoint(recipe: Recipe) -> str:
    encoder = f", text encoder from {recipe.text_encoder}" if recipe.text_encoder else ""
    return f"load {recipe.checkpoint}{encoder}"


CATALOGUE: dict[str, Factor] = {
    name: Factor(name=name, note=note, fix=fix)
    for name, note, fix in (
        (
            "frame_count",
            "other number of frames: send the sample's num_frames; both sides leave 4n + 1 alone",
            _asked("num_frames", lambda recipe: recipe.num_frames.applied),
        ),
        (
            "snapping",
            "other frame size: send the sample's width and height; both sides leave multiples of 16 alone",
            _snapping,
        ),
        (
            "seed",
            "other noise: send the sample's seed (the API's default is 42 + prompt index)",
            _asked("seed", lambda recipe: recipe.seed),
        ),
        (
            "scheduler",
            "build the preview's scheduler in the inference code instead of the checkpoint's",
            _scheduler,
        ),
        ("checkpoint", "other weights: serve the checkpoint the LoRA was trained on", _checkpoint),
        (
            "boundary",
            "the experts change over at another timestep: set the preview's boundary_ratio on the pipeline",
            _boundary,
        ),
        (
            "conditioning",
            "the control image's latents are made another way, or with other noise: no key sets it",
            _conditioning,
        ),
        ("lora_file", "other LoRA weights: serve the file of the preview's step", _lora_file("lora_file")),
        (
            "lora_file_high",
            "other LoRA weights for the high-noise expert: serve the preview's, or none if it had none",
            _lora_file("lora_file_high"),
        ),
        (
            "lora_file_low",
            "other LoRA weights for the low-noise expert: serve the preview's, or none if it had none",
            _lora_file("lora_file_low"),
        ),
        ("lora_scale", "send the sample's network_multiplier", _scale("lora_scale")),
        ("lora_scale_high", "send the sample's network_multiplier for both experts", _scale("lora_scale_high")),
        ("lora_scale_low", "send the sample's network_multiplier for both experts", _scale("lora_scale_low")),
        ("steps", "send the sample's sample_steps", _asked("sample_steps", lambda recipe: recipe.steps)),
        (
            "guidance",
            "send the sample's guidance_scale",
            _asked("guidance_scale", lambda recipe: f"{recipe.guidance_scale:g}"),
        ),
        ("control_image", "other control image: send the very file the sample names", _control_image),
        ("resize", "resize the control image with the preview's filter and crop", _resize),
        (
            "prompt",
            "other text: check the trigger word and inline flags (ai-toolkit cuts the prompt at every --)",
            _asked("prompt", lambda recipe: repr(recipe.prompt)),
        ),
        (
            "negative_prompt",
            "other negative prompt: send the sample's as `neg`",
            _asked("neg", lambda recipe: repr(recipe.negative_prompt)),
        ),
        (
            "quantization",
            "the preview was drawn by quantized weights, the inference is not (or the other way round)",
            _quantization,
        ),
        (
            "lora_application",
            "apply the LoRA as the trainer does; a PEFT adapter rounds differently from merged weights",
            _lora_application,
        ),
        (
            "precision",
            "cast the transformer whole, as the trainer does, or keep float32 modules on both sides",
            _precision,
        ),
        (
            "compilation",
            "torch.compile fuses operations, which round otherwise: leave it out on both sides, or on neither",
            _compilation,
        ),
        ("vae_tiling", "decode with the preview's VAE tiling: tiles show at their seams", _tiling),
        (
            "codec",
            "written in another format or quality: compare files only after encoding them alike",
            lambda recipe: f"write {recipe.codec}",
        ),
        (
            "fps",
            "other frame duration in the file; the frames themselves are not touched",
            _asked("fps", lambda recipe: recipe.fps),
        ),
    )
}
"""By likelihood and usual size of the effect: the order in which experiments are run, and in which factors that
cannot be told apart by their figures are listed."""

PAGES = (*CATALOGUE, "environment", "broken_output")
"""Everything `parity explain` has a page for. `environment` is found when recipes are equal and bits are not,
`broken_output` when what was drawn is no video."""

assert set(CATALOGUE) == set(FACTORS)


def likeliest_first(names: list[str]) -> list[str]:
    """Factors in the catalogue's order."""
    return sorted(names, key=list(CATALOGUE).index)


def explain(name: str) -> str:
    """The page of a factor. Raises UsageError naming the nearest factor for an unknown one."""
    if name not in PAGES:
        raise UsageError(f"{name} is no factor{did_you_mean(name, list(PAGES))}")
    return (_PAGES / f"{name}.md").read_text(encoding="utf-8")
