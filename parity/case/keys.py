"""The keys of a case file with their types and bounds, and errors that name file, line and the nearest known key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Discriminator, Field, JsonValue, Tag, ValidationError

from parity.results.case import BeyondRecipes
from pipelines.catalog import MODELS
from pipelines.drift import Factor
from pipelines.errors import CaseError
from pipelines.files.document import Document, KeyPath
from pipelines.files.words import did_you_mean, shorten
from pipelines.graph import FrameRuleName, SizeRuleName
from pipelines.recipe import ClipImage, Dtype, EightBit, Filter, LoraApplication, TextEncoding, VaeNorm
from pipelines.reference.request import MEANT, LoraItem, PromptItem, Request

DEFAULT_TOLERANCE = {"psnr": 40.0, "ssim": 0.98}
"""The gates of a case that neither states a tolerance nor expects a difference: PSNR in dB, SSIM."""

Expected = Literal[Factor, BeyondRecipes]
"""The names that `expect` of a case can hold."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class PreviewKeys(_Strict):
    """The video that the trainer generated, and where it came from."""

    config: str | None = Field(
        default=None,
        description="ai-toolkit job config; without it the preview is assumed to have the request's settings",
        examples=["../output/my_job/config.yaml"],
    )
    sample: int | None = Field(
        default=None, ge=0, description="prompt index, from 0; required with config", examples=[0]
    )
    video: str = Field(
        description="the preview: WebP, GIF, mp4, a still, or a folder of PNG frames",
        examples=["../output/my_job/samples/1795289016732__000000500_0.webp"],
    )
    toolkit: str | None = Field(
        default=None,
        description="ai-toolkit version or commit that generated it, in quotes; default: as the LoRA file says",
        examples=["0.12.26"],
    )
    lora: str | None = Field(
        default=None,
        description="the LoRA the preview was generated with, if the job folder lacks it",
        examples=["../loras/my_job_000000500.safetensors"],
    )
    earlier_previews: int | None = Field(
        default=None,
        ge=0,
        description="steps with previews before it in the same process, each of which left rounding errors in the "
        "weights; default: as the samples folder looks",
        examples=[2],
    )
    control_image: str | None = Field(
        default=None,
        description="where the config's ctrl_img is now, if it was moved",
        examples=["../images/start.png"],
    )
    unpairable: str | None = Field(
        default=None,
        min_length=1,
        description="why it cannot be reproduced: the case is reported, never generated, and may lack its LoRA, "
        "control image and prompt",
        examples=["the LoRA of step 250 was pruned"],
    )


class SchedulerKeys(BaseModel):
    """A noise schedule; further keys are settings of the diffusers class."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, bool | int | float | str | None]
    family: Literal["unipc", "flow_match_euler", "comfyui"] = Field(
        description="unipc: UniPCMultistepScheduler. flow_match_euler: FlowMatchEulerDiscreteScheduler, as in "
        "ai-toolkit's previews since 0.9.3. comfyui: a sampler and scheduler of ComfyUI, named by `sampler` and "
        "`schedule`"
    )
    shift: float = Field(
        gt=0, description="shift of the noise levels: higher spends more steps on noise", examples=[3.0, 5.0]
    )


class PrecisionKeys(_Strict):
    """The dtype of the weights, and whether the modules that diffusers keeps in float32 stay so."""

    dtype: Dtype = Field(description="dtype of the weights", examples=["bfloat16"])
    fp32_modules: Literal["kept", "cast"] = Field(
        default="kept",
        description="kept: modules that diffusers keeps in float32 stay so. cast: every module has `dtype`, as in the "
        "trainer",
    )


class ResizeKeys(_Strict):
    """The resize of the control image to the video's size."""

    filter: Filter = Field(default="lanczos", description="resampling filter, by Pillow's names")
    crop: Literal["stretch", "center"] = Field(
        default="stretch", description="stretch: the aspect ratio is ignored. center: scaled to cover, then cropped"
    )


class ConditioningKeys(_Strict):
    """The way a Wan 2.2 I2V video starts from its control image."""

    latents: Literal["mode", "sample"] = Field(
        default="sample", description="the mode of the VAE's posterior, or a sample"
    )
    noise: Literal["seeded", "cuda", "unseeded"] = Field(
        default="seeded",
        description="noise of a sample: the request's generator, a CUDA generator of its seed, or an unseeded one",
    )
    rounded: bool = Field(default=True, description="whether noise and pixels are rounded to the weights' dtype first")


class QuantizationKeys(_Strict):
    """Linear layers stored in fewer bits, as ai-toolkit quantizes them."""

    transformer: str | None = Field(
        default=None,
        description="ai-toolkit's qtype of the transformer; default: not quantized",
        examples=["qfloat8", "uint4"],
    )
    text_encoder: str | None = Field(
        default=None, description="qtype of the text encoder; default: not quantized", examples=["qfloat8"]
    )
    kept: list[str] = Field(
        default=[],
        description="beginnings of the names of transformer layers that stay whole",
        examples=[["proj_out", "condition_embedder"]],
    )
    adapter: str | None = Field(
        default=None,
        description="accuracy recovery adapter, relative to the case: it names the layers to quantize",
        examples=["../adapters/wan22_14b_t2i_torchao_uint3.safetensors"],
    )


class PipelineKeys(_Strict):
    """A profile with some of its recipe fields overridden."""

    base: Literal["reference", "faithful", "comfyui"] = Field(
        default="reference",
        description="the profile whose fields are overridden: the inference server's, the trainer's, or a ComfyUI "
        "graph's",
    )
    scheduler: SchedulerKeys | None = Field(
        default=None,
        description="the noise schedule; default: the profile's",
        examples=[{"family": "flow_match_euler", "shift": 3.0}],
    )
    lora_application: LoraApplication | None = Field(
        default=None,
        description="merged: into the base weights, in float32. side_path: beside them, in float32. adapter: a PEFT "
        "adapter, as load_lora_weights of diffusers; default: the profile's",
    )
    precision: PrecisionKeys | None = Field(
        default=None,
        description="dtypes of the weights; default: the profile's",
        examples=[{"dtype": "bfloat16", "fp32_modules": "cast"}],
    )
    quantization: QuantizationKeys | None = Field(
        default=None,
        description="layers stored in fewer bits; default: the profile's",
        examples=[{"transformer": "qfloat8", "text_encoder": "qfloat8"}],
    )
    frame_rule: FrameRuleName | None = Field(
        default=None,
        description="how a number of frames becomes 4n + 1: 40 is 41 by the pipelines of diffusers, 37 under "
        "ai-toolkit's low_vram; default: the profile's",
    )
    size_rule: SizeRuleName | None = Field(
        default=None, description="how sizes are rounded down: as the reference server does, or as the trainer does"
    )
    resize: ResizeKeys | None = Field(
        default=None,
        description="how the control image is brought to the video's size; default: the profile's",
        examples=[{"filter": "bilinear", "crop": "center"}],
    )
    vae_tiling: bool | None = Field(
        default=None, description="whether the VAE works on overlapping tiles; default: the profile's"
    )
    earlier_loras: list[str] | None = Field(
        default=None,
        description="LoRA files merged at 1 and unmerged before, as earlier previews do; [] for none",
        examples=[["../output/my_job/my_job_000000250.safetensors"]],
    )
    vae_norm: VaeNorm | None = Field(default=None, description="the dtype in which the VAE's norms normalize")
    boundary: float | None = Field(
        default=None, gt=0, lt=1, description="Wan 2.2: where the low-noise expert takes over", examples=[0.875]
    )
    split: int | None = Field(
        default=None,
        ge=0,
        description="Wan 2.2: steps of the high-noise expert, as ComfyUI counts them; it replaces `boundary`",
        examples=[10],
    )
    conditioning: ConditioningKeys | None = Field(
        default=None,
        description="Wan 2.2 I2V and 5B: how the video starts from its control image; default: the profile's",
        examples=[{"latents": "sample", "noise": "seeded"}],
    )
    extra_loras: list[LoraItem] | None = Field(
        default=None,
        description="LoRA files besides the request's, relative to the case; the inference server takes none",
        examples=[[{"path": "../loras/lightning.safetensors", "network_multiplier": 1.0}]],
    )
    text_encoding: TextEncoding | None = Field(
        default=None,
        description="diffusers: cleaned, cut at 512 tokens. comfyui: (words:1.4) are weights, nothing is cut, computed "
        "in float32; default: the profile's",
    )
    clip_image: ClipImage | None = Field(
        default=None,
        description="Wan 2.1 I2V: what CLIP sees. resized: the image at the video's size. Else the image as loaded, as "
        "in ComfyUI: original_stretched, original_center",
    )
    float32_steps: bool | None = Field(
        default=None, description="whether all between two passes of the transformer is float32, as in ComfyUI"
    )
    vae_dtype: Dtype | None = Field(
        default=None, description="dtype of the VAE, if it is not that of `precision`", examples=["bfloat16"]
    )
    eight_bit: EightBit | None = Field(
        default=None, description="how pixels become 8 bit: rounded, or truncated as by ComfyUI's save nodes"
    )
    compiled: bool | None = Field(default=None, description="Wan 2.2 on CUDA: torch.compile, as on the server")
    graph: str | None = Field(
        default=None,
        description="comfyui: a file that holds the graph, saved video or workflow JSON; default: the case's `output`",
        examples=["../comfyui/my_workflow.json"],
    )
    models: str | None = Field(
        default=None,
        description="comfyui: ComfyUI's models folder on this machine, where the graph's LoRA files are looked for "
        "besides the job folder; default: the one beside the output folder that holds the video",
        examples=["../ComfyUI/models"],
    )


class TargetKeys(_Strict):
    """A server that speaks the API and generates the request."""

    url: str = Field(description="http://host:port; no credentials", examples=["http://gpu1:8000"])
    lora_root: str | None = Field(
        default=None,
        description="the server's LoRA root as this machine sees it; LoRA paths are sent relative to it",
        examples=["/mnt/gpu1/loras"],
    )
    disk: dict[str, str] = Field(
        default={},
        description="a shared disk: the server's folder -> where it is mounted on this machine",
        examples=[{"/data/results": "/mnt/gpu1/results"}],
    )
    token_env: str | None = Field(
        default=None,
        description="WAN_PARITY_…: variable that holds the bearer token, if not WAN_PARITY_TARGET_TOKEN",
        examples=["WAN_PARITY_GPU1_TOKEN"],
    )


class ToleranceKeys(_Strict):
    """Gates: on the mean over all frames, or, with `_min` or `_max`, on the worst frame; and one on the time."""

    psnr: float | None = Field(default=None, ge=0, description="dB, at least", examples=[40])
    psnr_min: float | None = Field(default=None, ge=0, description="dB, at least, worst frame", examples=[35])
    ssim: float | None = Field(default=None, ge=-1, le=1, description="at least", examples=[0.98])
    ssim_min: float | None = Field(default=None, ge=-1, le=1, description="at least, worst frame", examples=[0.95])
    lpips: float | None = Field(default=None, ge=0, description="at most", examples=[0.02])
    lpips_max: float | None = Field(default=None, ge=0, description="at most, worst frame", examples=[0.05])
    vmaf: float | None = Field(default=None, ge=0, le=100, description="at least, of 100", examples=[90])
    vmaf_min: float | None = Field(default=None, ge=0, le=100, description="at least, worst frame", examples=[80])
    seconds_ratio: float | None = Field(
        default=None,
        ge=1,
        description="times the seconds of the accepted baseline that the generation may take, at most; judged with "
        "baselines, on the kind of machine where it was accepted",
        examples=[1.2],
    )


def _kind(value: Any) -> str:
    return "name" if isinstance(value, str) else "keys"


PipelineChoice = Annotated[
    Annotated[Literal["reference", "faithful", "comfyui"], Tag("name")] | Annotated[PipelineKeys, Tag("keys")],
    Discriminator(_kind),
]
TargetChoice = Annotated[Annotated[str, Tag("name")] | Annotated[TargetKeys, Tag("keys")], Discriminator(_kind)]
RequestChoice = Annotated[Annotated[str, Tag("name")] | Annotated[Request, Tag("keys")], Discriminator(_kind)]


class CaseKeys(_Strict):
    """A case: an ai-toolkit preview on one side, an API request on the other. Paths are relative to the case file."""

    id: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="the case's name in reports and baselines; default: the file name",
        examples=["guitar-step-500"],
    )
    model: str = Field(
        description="API model id; `parity models` lists them", json_schema_extra={"enum": list[JsonValue](MODELS)}
    )
    checkpoint: str | None = Field(
        default=None,
        description="folder or Hub id used instead of the model's own",
        examples=["../models/wan", "Wan-AI/Wan2.1-T2V-14B-Diffusers"],
    )
    preview: PreviewKeys = Field(description="the video that the trainer generated, and where it came from")
    request: RequestChoice | None = Field(
        default=None,
        description="the API request: inline, or a JSON file; default: the sample's own",
        examples=["my_request.json"],
    )
    pipeline: PipelineChoice = Field(
        default="reference",
        description="how the request is generated. reference: as the inference server does. faithful: as the trainer "
        "does. comfyui: as the graph in `output` says. Keys: one of them, with parts overridden",
    )
    output: str | None = Field(
        default=None,
        description="a video made elsewhere, compared with the preview instead of generating: any format that "
        "`preview.video` takes; the graph that ComfyUI saved in it is read",
        examples=["../comfyui/output/ComfyUI_00001_.mp4"],
    )
    target: TargetChoice | None = Field(
        default=None,
        description="the server that generates it, by URL or keys; `pipeline` then says what is expected of it",
        examples=["http://gpu1:8000"],
    )
    tolerance: ToleranceKeys | None = Field(
        default=None,
        description="limits that fail the case; default, without `expect`: "
        + ", ".join(f"{name} {value:g}" for name, value in DEFAULT_TOLERANCE.items()),
        examples=[{"psnr": 40, "ssim": 0.98}],
    )
    metrics: list[Literal["lpips", "vmaf"]] = Field(
        default=[],
        description="measured beside PSNR, SSIM and LPIPS of the worst frames. vmaf: VMAF. lpips: LPIPS of every "
        "frame, however large the video. A tolerance measures what it limits without this",
        examples=[["vmaf"]],
    )
    expect: list[Expected] | None = Field(
        default=None,
        description="factors known to differ; green while exactly these",
        examples=[["scheduler", "lora_application", "precision"]],
    )
    tags: list[str] = Field(
        default=[], description="words that `--tag` and `-k` select by", examples=[["t2v", "smoke"]]
    )


_SCHEMAS: dict[tuple[str, ...], type[BaseModel]] = {
    (): CaseKeys,
    ("preview",): PreviewKeys,
    ("tolerance",): ToleranceKeys,
    ("target",): TargetKeys,
    ("pipeline",): PipelineKeys,
    ("pipeline", "scheduler"): SchedulerKeys,
    ("pipeline", "precision"): PrecisionKeys,
    ("pipeline", "quantization"): QuantizationKeys,
    ("pipeline", "resize"): ResizeKeys,
    ("pipeline", "conditioning"): ConditioningKeys,
    ("pipeline", "extra_loras"): LoraItem,
    ("request",): Request,
    ("request", "prompts"): PromptItem,
    ("request", "loras"): LoraItem,
}

_MOST_MISTAKES = 50
"""The most mistakes of one document that are listed: a file of a megabyte may have a hundred thousand."""

Keys = TypeVar("Keys", bound=BaseModel)


def validate(document: Document, schema: type[Keys], prefix: tuple[str, ...] = ()) -> Keys:
    """Check a document against a schema. Raises one CaseError with a line per mistake.

    `prefix`: where `schema` stands among the case's keys, for the known keys of an error.
    """
    if not isinstance(document.data, Mapping):
        # Without its content: a stranger's case can name a file that is none, such as one with a token.
        kind = {str: "text", list: "a list", type(None): "empty"}.get(type(document.data), "one value")
        raise document.error((), f"must be a mapping of keys, is {kind}")
    try:
        return schema.model_validate(document.data)
    except ValidationError as error:
        mistakes = error.errors(include_url=False)
        messages = [_explain(document, dict(item), prefix) for item in mistakes[:_MOST_MISTAKES]]
        if len(mistakes) > _MOST_MISTAKES:
            messages.append(f"{document.path}: and {len(mistakes) - _MOST_MISTAKES} more mistakes")
        raise CaseError(*dict.fromkeys(messages)) from None


def _explain(document: Document, error: dict[str, Any], prefix: tuple[str, ...]) -> str:
    """A pydantic error as `file:line: key: message`."""
    where = _in_document(document.data, error["loc"])
    kind, given = error["type"], error["input"]
    if kind == "extra_forbidden":
        parents = (*prefix, *(part for part in where[:-1] if isinstance(part, str)))
        known = list(_SCHEMAS[parents].model_fields)
        return str(document.error(where, f"unknown key{_meant(str(where[-1]), known, parents)}"))
    if kind == "missing":
        return str(document.error(where, "is missing"))
    if kind == "literal_error" and where[:1] == ("expect",):
        nearest = did_you_mean(str(given), sorted(get_args(Expected)))
        return str(document.error(where, f"unknown factor {given!r}{nearest}"))
    if kind in ("model_type", "model_attributes_type"):
        return str(document.error(where, f"must be a mapping of keys, is {_short(given)}"))
    if kind == "list_type" and isinstance(given, str):
        return str(document.error(where, f"must be a list, e.g. [{shorten(repr(given)[1:-1], 60)}]"))
    message = f"be {_TYPES[kind]}" if kind in _TYPES else re.sub(r"^\w+ should ", "", error["msg"])
    return str(document.error(where, f"must {message}, is {_short(given)}"))


def _meant(word: str, known: list[str], parents: tuple[str, ...]) -> str:
    """What an unknown key may mean: a key here by meaning or spelling, or one that stands elsewhere in the request."""
    meaning = MEANT.get(word.lower(), word)
    place = next(
        (
            path
            for path in (("request",), ("request", "prompts"), ("request", "loras"))
            if parents[:1] in ((), ("request",)) and meaning in _SCHEMAS[path].model_fields
        ),
        None,
    )
    if place is None or place == parents:
        return did_you_mean(word, known, MEANT)
    return f"; did you mean {meaning} in {'.'.join(place)}?"


_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping of keys",
}
"""Plain words for pydantic's errors about types."""


def _in_document(data: Any, location: tuple[str | int, ...]) -> KeyPath:
    """A pydantic location without the parts that name union branches instead of keys."""
    path: list[str | int] = []
    for number, part in enumerate(location):
        if (isinstance(data, Mapping) and part in data) or (isinstance(data, list) and isinstance(part, int)):
            data = data[part]  # type: ignore[index]
            path.append(part)
        elif isinstance(data, Mapping) and number == len(location) - 1:
            path.append(part)
    return tuple(path)


def _short(value: Any) -> str:
    return shorten(repr(value), 60)
