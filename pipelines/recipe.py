"""The Recipe: everything that decides the pixels of a Wan video, as one frozen value."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from pipelines.catalog import MODELS, PipelineName
from pipelines.quantization import Quantization
from pipelines.scheduler import Scheduler
from pipelines.weights import WEIGHT_KEYS, Weights

MAX_PIXELS = 256 << 20
"""The most pixels of a video's frames together: 291 frames of 1280x720, 768 MiB as RGB and four times that as the VAE's
pixels become RGB. A file of a few kilobytes, and a request, can claim far more."""

LoraApplication = Literal["merged", "side_path", "adapter"]
"""The ways LoRA weights meet the base: merged into it (float32 sum, cast back), a float32 side path cast to the
output's dtype before the addition (both ai-toolkit), or a PEFT adapter (diffusers `load_lora_weights`)."""

Dtype = Literal["bfloat16", "float16", "float32"]

VaeNorm = Literal["float32", "vae_dtype"]
"""The dtype in which the VAE's RMS norms normalize: float32 (diffusers since 5fc2bd2c, 2026-03-24), or the VAE's own,
as in ai-toolkit's own copy of the code."""

Expert = Literal["high", "low"]
"""The two transformers of Wan 2.2: one denoises while there is much noise, the other finishes."""

EXPERT_PARTS: dict[Expert | None, str] = {None: "transformer", "high": "transformer", "low": "transformer_2"}
"""The part of a diffusers pipeline that is each expert. None: the only transformer of Wan 2.1."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A number that the user asked for, and the one that is used."""

    asked: int
    applied: int

    def __str__(self) -> str:
        return str(self.applied) if self.asked == self.applied else f"{self.applied} (asked {self.asked})"


@dataclass(frozen=True, slots=True)
class Precision:
    """The dtype of the weights, and whether the modules that diffusers keeps in float32 stay so."""

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


MISSING = "missing: "
"""The beginning of `sha256` for a file that is not on this machine; its name follows, so that such files compare by it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraFile:
    """A LoRA file, compared by content."""

    path: Path = field(compare=False)
    sha256: str
    """The hash of the file; `MISSING` and its name if it is not on this machine."""
    expert: Expert | None = None
    """The expert it is for; None: the model has one transformer."""

    def __str__(self) -> str:
        missing = self.sha256.startswith(MISSING)
        return f"{self.path.name} ({'not on this machine' if missing else f'sha256 {self.sha256[:12]}'})"


@dataclass(frozen=True, slots=True)
class EarlierMerge:
    """LoRA files that were merged into the weights for earlier previews, and then unmerged."""

    files: tuple[LoraFile, ...]
    """One, or one an expert."""
    scale: float

    def __str__(self) -> str:
        return f"after {' and '.join(str(file) for file in self.files)} at {self.scale:g}"


@dataclass(frozen=True, slots=True, weakref_slot=True, kw_only=True)
class ControlImage:
    """The image that an I2V video starts from, compared by its RGB pixels."""

    source: str = field(compare=False)
    """A path, a URL, or "base64"."""
    data: bytes = field(compare=False, repr=False)
    """The encoded file."""
    sha256: str
    """The hash of the decoded RGB pixels and their size; `MISSING` and its name if it is not on this machine."""
    width: int
    height: int

    def __str__(self) -> str:
        if self.sha256.startswith(MISSING):
            return f"{self.source} (not on this machine)"
        return f"{self.source}, {self.width}x{self.height} (pixels {self.sha256[:12]})"


PillowFilter = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
FILTERS: tuple[PillowFilter, ...] = get_args(PillowFilter)
"""Pillow's resampling filters."""
Filter = Literal[PillowFilter, "bilinear_no_antialias"]
"""Also ComfyUI's own for Wan: torch's bilinear without antialiasing, on floats, of the image as its EXIF data
turn it."""

ClipImage = Literal["resized", "original_stretched", "original_center"]
"""What CLIP sees of a Wan 2.1 control image. resized: the image at the video's size, as diffusers processes it. The
others are ComfyUI's CLIPVisionEncode, which takes the image as it was loaded: stretched to 224x224 (`crop: none`), or
its center."""

Encoder = Literal["text_encoder", "image_encoder"]
"""The parts of a pipeline that encode what the transformer is told."""

TextEncoding = Literal["diffusers", "comfyui"]
"""How a prompt becomes numbers. diffusers: cleaned, cut at 512 tokens, computed in the text encoder's dtype. comfyui:
not cleaned, never cut, `(words:1.4)` is a weight, computed in float32 from weights stored in float16."""

EightBit = Literal["rounded", "truncated"]
"""How pixels of 0 to 1 become 8 bit: rounded (diffusers), or truncated (ComfyUI's save nodes)."""


@dataclass(frozen=True, slots=True)
class Resize:
    """The resize of a control image to the video's size."""

    filter: Filter = "lanczos"
    crop: Literal["stretch", "center"] = "stretch"
    """stretch: the aspect ratio is ignored. center: scaled to cover, then cropped."""

    def __str__(self) -> str:
        return f"{self.filter}, {'aspect ratio ignored' if self.crop == 'stretch' else 'center crop'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditioning:
    """The start of a Wan 2.2 video from its image: there is no CLIP, only latents of noise and of the image."""

    latents: Literal["mode", "sample"]
    """The image's latents, as the VAE's posterior gives them. mode: as in diffusers' WanImageToVideoPipeline."""
    noise: Literal["seeded", "cuda", "unseeded"] | None = None
    """The source of a sample's noise: the seeded generator of the latent noise, whose stream goes on; a CUDA
    generator of the same seed, whose numbers depend on the GPU model; torch's global generator, which is not seeded.
    None for the mode."""
    rounded: bool = True
    """True if latent noise and pixels are rounded to the weights' dtype first; for 5B also each step's timestep."""

    def __post_init__(self) -> None:
        if self.latents == "mode":
            object.__setattr__(self, "noise", None)

    def __str__(self) -> str:
        sampled = {"seeded": "seeded", "cuda": "seeded on the GPU", "unseeded": "unseeded", None: "noise"}[self.noise]
        latents = "mode of the posterior" if self.latents == "mode" else f"posterior sampled ({sampled})"
        return f"{latents}, noise {'rounded' if self.rounded else 'in float32'}"


CodecFormat = Literal["webp", "jpeg", "png", "apng", "gif", "mp4", "webm", "mkv"]
"""webp, jpeg, png (a still), apng and gif as Pillow writes them; mp4 and mkv: H.264, webm: VP9, both 4:2:0."""


@dataclass(frozen=True, slots=True)
class Codec:
    """The format of a video's file. All but PNG and lossless WebP lose something."""

    format: CodecFormat = "webp"
    quality: int | None = 80
    """WebP and JPEG: Pillow's quality, 0 to 100; mp4, mkv and webm: the crf. None: a lossless WebP, a format without
    such a number, or a crf that is not known."""
    method: int | None = None
    """WebP: libwebp's effort, 0 to 6. None: Pillow's default, which is 0 for several frames; ComfyUI's nodes take 4."""

    @property
    def lossless(self) -> bool:
        """True if the file holds the frames as they were."""
        return self.format in ("png", "apng") or (self.format == "webp" and self.quality is None)

    def __str__(self) -> str:
        if self.format == "webp" and self.quality is None:
            return "webp, lossless"
        if self.quality is None:
            return self.format
        effort = "" if self.method is None else f", method {self.method}"
        return f"{self.format}, {'quality' if self.format in ('webp', 'jpeg') else 'crf'} {self.quality}{effort}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The complete description of one video, and the engine's only input."""

    model: str
    """API model id."""
    pipeline: PipelineName
    weights: Weights
    prompt: str
    negative_prompt: str
    width: Asked
    height: Asked
    num_frames: Asked
    steps: int
    guidance_scale: float
    """Classifier-free guidance runs only above 1."""
    seed: int | None
    """The seed; None: chosen at random, so the video cannot be reproduced."""
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
    """The share of the 1000 timesteps above which the high-noise expert works. None: there is one transformer."""
    conditioning: Conditioning | None = None
    """The start of a Wan 2.2 video from its image; None: as in the diffusers pipeline, or from noise alone."""
    vae_norm: VaeNorm = "float32"
    """The dtype of the VAE's norms; without effect in float32. It reaches a control image's latents, and the decode."""
    earlier_merges: tuple[EarlierMerge, ...] = ()
    """What earlier previews of the same process merged and unmerged, oldest first: each leaves rounding errors."""
    compiled: bool = False
    """True if the transformers' blocks go through torch.compile, which fuses operations and so rounds differently."""
    split: int | None = None
    """Steps of the high-noise expert, as ComfyUI's KSamplerAdvanced counts them; it replaces `boundary`. None: none."""
    text_encoding: TextEncoding = "diffusers"
    """The way from prompts to embeddings."""
    clip_image: ClipImage = "resized"
    """What CLIP sees of a control image; without effect where there is no CLIP."""
    float32_steps: bool = False
    """True if everything outside the transformer and the VAE is float32: their input is cast, their output cast back,
    so that guidance, schedule, latents and the way to 8 bit round nothing. Without effect in float32."""
    vae_dtype: Dtype | None = None
    """The VAE's dtype, if it is not that of `precision`."""
    eight_bit: EightBit = "rounded"
    """The way from decoded pixels to 8 bit."""
    obstacles: tuple[str, ...] = ()
    """The reasons why the video cannot be reproduced; empty for most."""
    notes: tuple[str, ...] = ()
    """Remarks on what lies outside the recipe, and on what had to be assumed."""

    @property
    def guidance(self) -> float:
        """The guidance that reaches the pixels: at 1 and below, both pipelines skip it."""
        return self.guidance_scale if self.guidance_scale > 1 else 1.0

    @property
    def passes(self) -> int:
        """Passes of the transformer: one a step, but for some samplers. With guidance each is two calls."""
        return len(self.scheduler.progress(self.steps))

    @property
    def vae_computes(self) -> Dtype:
        """The VAE's dtype."""
        return self.vae_dtype or self.precision.dtype

    @property
    def repeats(self) -> bool:
        """True if generating it again can give the same video."""
        return self.conditioning is None or self.conditioning.noise != "unseeded"

    @property
    def float16_encoders(self) -> tuple[Encoder, ...]:
        """The encoders that run as ComfyUI's do: weights stored in float16, computed in float32."""
        text: tuple[Encoder, ...] = ("text_encoder",) if self.text_encoding == "comfyui" else ()
        return text if self.clip_image == "resized" else (*text, "image_encoder")

    def loras(self, expert: Expert | None) -> tuple[tuple[LoraFile, float], ...]:
        """An expert's LoRAs with their scales."""
        pairs = zip(self.lora_files, self.lora_scales, strict=True)
        return tuple((file, scale) for file, scale in pairs if file.expert == expert)

    @property
    def expand_timesteps(self) -> bool:
        """True if each token has a timestep of its own, as in Wan 2.2 5B."""
        return self.model in MODELS and MODELS[self.model].expand_timesteps

    @property
    def encodes_tiled(self) -> bool:
        """True if the control image goes through the VAE in tiles. 5B encodes it whole (wan22_5b_model.py)."""
        return self.tiles and self.control_image is not None and not self.expand_timesteps

    @property
    def tiles(self) -> bool:
        """True if the VAE really decodes in tiles: AutoencoderKLWan (diffusers 0.42.1) does above 256 pixels."""
        return self.vae_tiling and max(self.width.applied, self.height.applied) > 256


def frame_duration(fps: int) -> int:
    """Milliseconds a frame in the file: 1000 // fps (ai-toolkit at 27a03a91), int(1000 / fps) (server at af4aec1).

    0 for a config's 0 fps, with which nothing can be saved.
    """
    return 1000 // fps if fps > 0 else 0


def keys_of(name: str) -> tuple[str, ...]:
    """The keys that a field of a recipe has in `to_dict`: the weights have four, any other field has its name."""
    return WEIGHT_KEYS if name == "weights" else (name,)


def value_of(recipe: Recipe, key: str) -> Any:
    """The value behind a key of `to_dict`."""
    return getattr(recipe.weights if key in WEIGHT_KEYS else recipe, key)


RECIPE_KEYS: tuple[str, ...] = tuple(
    key for item in dataclasses.fields(Recipe) if item.name not in ("obstacles", "notes") for key in keys_of(item.name)
)
"""The keys of `to_dict`."""


RECIPE_DEFAULTS: dict[str, Any] = {
    item.name: item.default
    for item in dataclasses.fields(Recipe)
    if item.name in RECIPE_KEYS and item.default is not dataclasses.MISSING
}
"""The values of the fields that are newer than a `to_dict` without them."""


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """JSON-ready fields; `{asked, applied}` where the two can differ. Image bytes and remarks are left out."""
    return {key: _plain(value_of(recipe, key)) for key in RECIPE_KEYS}


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
