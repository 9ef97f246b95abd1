"""The Recipe: everything that decides the pixels of a Wan video, as one frozen value.

Drift is the difference of two recipes, a cause is a factor (a group of fields), and a counterfactual
is `take(recipe, factor, other)`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from pipelines.catalog import PipelineName
from pipelines.scheduler import Scheduler

LoraApplication = Literal["merged", "side_path", "adapter"]
"""How LoRA weights meet the base: merged into it (float32 sum, cast back), a float32 side path cast to the
output's dtype before the addition (both ai-toolkit), or a PEFT adapter (diffusers `load_lora_weights`)."""

Dtype = Literal["bfloat16", "float16", "float32"]

Expert = Literal["high", "low"]
"""Wan 2.2's two transformers: one denoises while there is much noise, the other what is left."""

EXPERT_PARTS: dict[Expert | None, str] = {None: "transformer", "high": "transformer", "low": "transformer_2"}
"""Where a diffusers pipeline holds them. Wan 2.1 has one transformer: None."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A number as the user wrote it beside what was done with it."""

    asked: int
    applied: int

    def __str__(self) -> str:
        return str(self.applied) if self.asked == self.applied else f"{self.applied} (asked {self.asked})"


@dataclass(frozen=True, slots=True)
class Precision:
    """The dtype of the weights, and what becomes of the modules diffusers keeps in float32."""

    dtype: Dtype
    fp32_modules: Literal["kept", "cast"]
    """kept: diffusers' `_keep_in_fp32_modules` stay float32. cast: every module has `dtype`."""

    def __post_init__(self) -> None:
        if self.dtype == "float32":  # nothing to keep or to cast: one value, so that equal recipes compare equal
            object.__setattr__(self, "fp32_modules", "kept")

    def __str__(self) -> str:
        if self.dtype == "float32":
            return "float32"
        return f"{self.dtype}, " + ("float32 modules kept" if self.fp32_modules == "kept" else "cast whole")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraFile:
    """A LoRA file, compared by content."""

    path: Path = field(compare=False)
    sha256: str
    expert: Expert | None = None
    """The expert it is for; None: the model has one transformer."""

    def __str__(self) -> str:
        return f"{self.path.name} (sha256 {self.sha256[:12]})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlImage:
    """The image an I2V video starts from, compared by its RGB pixels."""

    source: str = field(compare=False)
    """Where it came from: a path, a URL, or "base64"."""
    data: bytes = field(compare=False, repr=False)
    """The encoded file."""
    sha256: str
    """Of the decoded RGB pixels and their size."""
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.source}, {self.width}x{self.height} (pixels {self.sha256[:12]})"


Filter = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
FILTERS: tuple[Filter, ...] = get_args(Filter)
"""Pillow's resampling filters."""


@dataclass(frozen=True, slots=True)
class Resize:
    """How a control image is brought to the video's size."""

    filter: Filter = "lanczos"
    crop: Literal["stretch", "center"] = "stretch"
    """stretch: the aspect ratio is ignored. center: scaled to cover, then cropped."""

    def __str__(self) -> str:
        return f"{self.filter}, {'aspect ratio ignored' if self.crop == 'stretch' else 'center crop'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditioning:
    """How a Wan 2.2 I2V video is started from its image: there is no CLIP, only latents of noise and of the image."""

    latents: Literal["mode", "sample"]
    """What of the VAE's posterior stands for the image. mode: as WanImageToVideoPipeline of diffusers does it."""
    noise: Literal["seeded", "cuda", "unseeded"] | None = None
    """Where a sample's noise comes from: the seeded generator that drew the latent noise, whose stream goes on; a CUDA
    generator of the same seed, whose numbers depend on the GPU model; torch's global generator, which nobody seeds.
    None for the mode."""
    rounded: bool = True
    """Whether latent noise and pixels are rounded to the weights' dtype first."""

    def __post_init__(self) -> None:
        if self.latents == "mode":
            object.__setattr__(self, "noise", None)

    def __str__(self) -> str:
        sampled = {"seeded": "seeded", "cuda": "seeded on the GPU", "unseeded": "unseeded", None: "noise"}[self.noise]
        what = "mode of the posterior" if self.latents == "mode" else f"posterior sampled ({sampled})"
        return f"{what}, noise {'rounded' if self.rounded else 'in float32'}"


@dataclass(frozen=True, slots=True)
class Quantization:
    """Weights quantized after loading; `None` for a part left as it is."""

    transformer: str | None = None
    text_encoder: str | None = None

    def __bool__(self) -> bool:
        return bool(self.transformer or self.text_encoder)

    def __str__(self) -> str:
        parts = (("transformer", self.transformer), ("text encoder", self.text_encoder))
        return ", ".join(f"{name} {qtype}" for name, qtype in parts if qtype) or "none"


@dataclass(frozen=True, slots=True)
class Codec:
    """The file a video is delivered in. Pillow's settings; WebP is lossy unless said otherwise."""

    format: Literal["webp", "jpeg", "png"] = "webp"
    quality: int | None = 80

    def __str__(self) -> str:
        return self.format if self.quality is None else f"{self.format}, quality {self.quality}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One video, completely described. The engine knows no other input."""

    model: str
    """API model id."""
    pipeline: PipelineName
    checkpoint: str
    """Absolute folder, or Hub id, in diffusers layout."""
    text_encoder: str | None
    """Where the text encoder comes from when not from the checkpoint."""
    prompt: str
    negative_prompt: str
    width: Asked
    height: Asked
    num_frames: Asked
    steps: int
    guidance_scale: float
    """Classifier-free guidance runs only above 1."""
    seed: int | None
    """None: drawn at random, so nobody can repeat it."""
    scheduler: Scheduler
    lora_files: tuple[LoraFile, ...]
    lora_scales: tuple[float, ...]
    lora_application: LoraApplication
    precision: Precision
    control_image: ControlImage | None
    resize: Resize | None
    vae_tiling: bool
    quantization: Quantization
    codec: Codec
    fps: int
    boundary: float | None = None
    """Share of the 1000 timesteps: from it upwards the high-noise expert works. None: there is one transformer."""
    conditioning: Conditioning | None = None
    """None: the diffusers pipeline's own."""
    transformers: str | None = None
    """Where both experts come from when not from the checkpoint."""
    vae: str | None = None
    """Where the VAE comes from when not from the checkpoint."""
    compiled: bool = False
    """Whether the transformers' blocks go through torch.compile, which fuses operations and so rounds otherwise."""
    obstacles: tuple[str, ...] = ()
    """Reasons why this recipe cannot be repeated by anyone; empty for most."""
    notes: tuple[str, ...] = ()
    """What is known to lie outside the recipe, and what had to be assumed."""

    @property
    def guidance(self) -> float:
        """The guidance that reaches the pixels: at 1 and below, both pipelines skip it."""
        return self.guidance_scale if self.guidance_scale > 1 else 1.0

    @property
    def repeats(self) -> bool:
        """Whether drawing it again can give the same video."""
        return self.conditioning is None or self.conditioning.noise != "unseeded"

    def loras(self, expert: Expert | None) -> tuple[tuple[LoraFile, float], ...]:
        """An expert's LoRAs with their scales."""
        pairs = zip(self.lora_files, self.lora_scales, strict=True)
        return tuple((file, scale) for file, scale in pairs if file.expert == expert)

    @property
    def tiles(self) -> bool:
        """Whether the VAE really decodes in tiles: AutoencoderKLWan (diffusers 0.42.1) does above 256 pixels."""
        return self.vae_tiling and max(self.width.applied, self.height.applied) > 256


def frame_duration(fps: int) -> int:
    """Milliseconds a frame in the file: 1000 // fps (ai-toolkit at 27a03a91), int(1000 / fps) (server at af4aec1).

    0 for a config's 0 fps, with which nothing can be saved.
    """
    return 1000 // fps if fps > 0 else 0


FACTORS: dict[str, tuple[str, ...]] = {
    "checkpoint": ("checkpoint", "text_encoder", "transformers", "vae"),
    "prompt": ("prompt",),
    "negative_prompt": ("negative_prompt",),
    "snapping": ("width", "height"),
    "frame_count": ("num_frames",),
    "steps": ("steps",),
    "guidance": ("guidance_scale",),
    "seed": ("seed",),
    "scheduler": ("scheduler",),
    "boundary": ("boundary",),
    "lora_file": ("lora_files",),
    "lora_file_high": ("lora_files",),
    "lora_file_low": ("lora_files",),
    "lora_scale": ("lora_scales",),
    "lora_scale_high": ("lora_scales",),
    "lora_scale_low": ("lora_scales",),
    "lora_application": ("lora_application",),
    "precision": ("precision",),
    "quantization": ("quantization",),
    "control_image": ("control_image",),
    "resize": ("resize",),
    "conditioning": ("conditioning",),
    "compilation": ("compiled",),
    "vae_tiling": ("vae_tiling",),
    "codec": ("codec",),
    "fps": ("fps",),
}
"""The fields behind every factor that can drift between two recipes."""


LORA_FACTORS: dict[str, Expert | None] = {
    "lora_file": None,
    "lora_file_high": "high",
    "lora_file_low": "low",
    "lora_scale": None,
    "lora_scale_high": "high",
    "lora_scale_low": "low",
}
"""Factors about the LoRA of one expert; None: of a model's only transformer."""


def lora_field(recipe: Recipe, factor: str) -> tuple[LoraFile | float, ...]:
    """What one of LORA_FACTORS is about: files or scales."""
    which = 0 if factor.startswith("lora_file") else 1
    return tuple(pair[which] for pair in recipe.loras(LORA_FACTORS[factor]))


def _effective(recipe: Recipe, name: str) -> Any:
    """What of a field reaches the pixels, so that a difference without effect is not called drift."""
    value = getattr(recipe, name)
    if name == "prompt" or name == "negative_prompt":
        return " ".join(value.split())  # diffusers' prompt_clean folds white space
    if name in ("width", "height", "num_frames"):
        return value.applied
    if name == "guidance_scale":
        return recipe.guidance
    if name == "checkpoint":
        return recipe.transformers or recipe.checkpoint
    if name in ("text_encoder", "vae"):
        return value or recipe.checkpoint
    if name == "vae_tiling":
        return recipe.tiles
    return frame_duration(value) if name == "fps" else value


def differing_factors(preview: Recipe, inference: Recipe) -> list[str]:
    """The factors in which two recipes draw differently, in FACTORS order."""
    found = []
    for factor, names in FACTORS.items():
        if factor in LORA_FACTORS:
            ours, theirs = lora_field(preview, factor), lora_field(inference, factor)
            missing = factor.startswith("lora_scale") and not (ours and theirs)  # the missing file is the factor
            if ours != theirs and not missing:
                found.append(factor)
            continue
        if factor == "negative_prompt" and preview.guidance <= 1 and inference.guidance <= 1:
            continue  # never read without guidance
        if factor == "lora_application" and not (preview.lora_files and inference.lora_files):
            continue  # the missing file is the factor
        if factor == "fps" and preview.num_frames.applied == inference.num_frames.applied == 1:
            continue  # a still is shown for ever
        if any(_effective(preview, name) != _effective(inference, name) for name in names):
            found.append(factor)
    return found


_FILE_ONLY = ("codec", "fps")


def drawing_key(recipe: Recipe) -> tuple[Any, ...]:
    """Recipes with equal keys draw equal frames: everything but what only touches the file."""
    if recipe.guidance <= 1:
        recipe = dataclasses.replace(recipe, negative_prompt="")
    if not recipe.lora_files:
        recipe = dataclasses.replace(recipe, lora_scales=(), lora_application="merged")
    names = (name for factor, fields in FACTORS.items() if factor not in _FILE_ONLY for name in fields)
    return (recipe.pipeline, *(_effective(recipe, name) for name in dict.fromkeys(names)))


def latents_key(recipe: Recipe) -> tuple[Any, ...]:
    """Recipes with equal keys denoise to equal latents.

    Tiling counts for I2V alone, whose control image goes through the VAE first; for T2V it is a matter of the decode.
    """
    tiling = recipe.vae_tiling and recipe.control_image is not None
    return drawing_key(dataclasses.replace(recipe, vae_tiling=tiling))


def take(recipe: Recipe, factor: str, other: Recipe) -> Recipe:
    """`recipe` with one factor's fields taken from `other`."""
    if factor in LORA_FACTORS:
        return _take_lora(recipe, factor, other)
    return dataclasses.replace(recipe, **{name: getattr(other, name) for name in FACTORS[factor]})


def _take_lora(recipe: Recipe, factor: str, other: Recipe) -> Recipe:
    expert = LORA_FACTORS[factor]
    ours, theirs = recipe.loras(expert), other.loras(expert)
    if ours and theirs:
        is_file = factor.startswith("lora_file")
        pairs = zip(theirs if is_file else ours, ours if is_file else theirs, strict=True)
        taken = tuple((file, scale) for (file, _), (_, scale) in pairs)
    else:
        taken = theirs  # no file, no scale
    changed = with_loras(recipe, taken, expert)
    if recipe.lora_files and other.lora_files:
        return changed
    return dataclasses.replace(changed, lora_application=other.lora_application)


def with_loras(recipe: Recipe, loras: Sequence[tuple[LoraFile, float]], expert: Expert | None) -> Recipe:
    """`recipe` with other LoRAs, given with their scales, for one expert, or for a model's only transformer."""
    sides = {each: recipe.loras(each) for each in EXPERT_PARTS} | {expert: tuple(loras)}
    pairs = [pair for each in EXPERT_PARTS for pair in sides[each]]
    files, scales = tuple(file for file, _ in pairs), tuple(scale for _, scale in pairs)
    return dataclasses.replace(recipe, lora_files=files, lora_scales=scales)


def take_all(recipe: Recipe, factors: Iterable[str], other: Recipe) -> Recipe:
    """`recipe` with several factors' fields taken from `other`."""
    for factor in factors:
        recipe = take(recipe, factor, other)
    return recipe


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """JSON-ready fields; `{asked, applied}` where the two can differ. Image bytes and remarks are left out."""
    names = (item.name for item in dataclasses.fields(recipe) if item.name not in ("obstacles", "notes"))
    return {name: _plain(getattr(recipe, name)) for name in names}


def _plain(value: Any) -> Any:
    if isinstance(value, Scheduler):
        return {"family": value.family, "shift": value.shift, "settings": dict(value.settings)}
    if dataclasses.is_dataclass(value):
        return {
            item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value) if item.name != "data"
        }
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
