"""The YAML of a case: its keys, types and bounds, and errors that name file, line and the nearest known key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from parity.results.case import BeyondRecipes
from pipelines.drift import Factor
from pipelines.errors import CaseError
from pipelines.files.document import Document, KeyPath
from pipelines.files.words import did_you_mean
from pipelines.reference.request import LoraItem, PromptItem, Request

Expected = Literal[Factor, BeyondRecipes]
"""What a case can expect to differ."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class PreviewKeys(_Strict):
    """The video the trainer drew, and where it came from."""

    config: str | None = Field(
        default=None, description="ai-toolkit job config; without it the request's settings are taken for the preview's"
    )
    sample: int | None = Field(default=None, ge=0, description="prompt index, from 0; required with config")
    video: str = Field(description="the preview: WebP, GIF, mp4, a still, or a folder of PNG frames")
    toolkit: str | None = Field(default=None, description="ai-toolkit version or commit that drew it")
    lora: str | None = Field(
        default=None, description="the LoRA the preview was drawn with, if the job folder lacks it"
    )
    control_image: str | None = Field(default=None, description="where the config's ctrl_img lies now, if it moved")
    unpairable: str | None = Field(
        default=None,
        min_length=1,
        description="why nobody can repeat it: the case is reported, never drawn, and may lack its LoRA, control image "
        "and prompt",
    )


class SchedulerKeys(BaseModel):
    """A noise schedule; further keys are settings of the diffusers class."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, bool | int | float | str | None]
    family: Literal["unipc", "flow_match_euler"]
    shift: float = Field(gt=0)


class PrecisionKeys(_Strict):
    """Weights' dtype, and whether diffusers' float32 modules stay."""

    dtype: Literal["bfloat16", "float16", "float32"]
    fp32_modules: Literal["kept", "cast"] = "kept"


class ResizeKeys(_Strict):
    """How the control image is brought to size."""

    filter: Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"] = "lanczos"
    crop: Literal["stretch", "center"] = "stretch"


class ConditioningKeys(_Strict):
    """How a Wan 2.2 I2V video starts from its control image."""

    latents: Literal["mode", "sample"] = Field(default="sample", description="what of the VAE's posterior")
    noise: Literal["seeded", "cuda", "unseeded"] = Field(
        default="seeded", description="of a sample: the request's generator, a CUDA generator of its seed, or nobody's"
    )
    rounded: bool = Field(default=True, description="whether noise and pixels are rounded to the weights' dtype first")


class PipelineKeys(_Strict):
    """A profile with some of its recipe fields overridden."""

    base: Literal["reference", "faithful"] = "reference"
    scheduler: SchedulerKeys | None = None
    lora_application: Literal["merged", "side_path", "adapter"] | None = None
    precision: PrecisionKeys | None = None
    frame_rule: Literal["diffusers", "low_vram"] | None = None
    resize: ResizeKeys | None = None
    vae_tiling: bool | None = None
    boundary: float | None = Field(default=None, gt=0, lt=1, description="Wan 2.2: where the experts change over")
    conditioning: ConditioningKeys | None = None
    compiled: bool | None = Field(default=None, description="Wan 2.2 on CUDA: torch.compile, as the server does")


class TargetKeys(_Strict):
    """A server that speaks the API: the request is drawn there."""

    url: str = Field(description="http://host:port; no credentials")
    lora_root: str | None = Field(
        default=None, description="the server's LoRA root as this machine sees it; LoRA paths are sent relative to it"
    )
    disk: dict[str, str] = Field(
        default={}, description="a shared disk: folder of the server's -> where it is mounted here"
    )
    token_env: str | None = Field(
        default=None, description="WAN_PARITY_…: variable that holds the bearer token, if not WAN_PARITY_TARGET_TOKEN"
    )


class ToleranceKeys(_Strict):
    """Gates. Without `_min` or `_max`: the mean over frames; with it: the worst frame."""

    psnr: float | None = Field(default=None, ge=0, description="dB, at least")
    psnr_min: float | None = Field(default=None, ge=0, description="dB, at least, worst frame")
    ssim: float | None = Field(default=None, ge=-1, le=1, description="at least")
    ssim_min: float | None = Field(default=None, ge=-1, le=1, description="at least, worst frame")
    lpips: float | None = Field(default=None, ge=0, description="at most")
    lpips_max: float | None = Field(default=None, ge=0, description="at most, worst frame")


def _kind(value: Any) -> str:
    return "name" if isinstance(value, str) else "keys"


PipelineChoice = Annotated[
    Annotated[Literal["reference", "faithful"], Tag("name")] | Annotated[PipelineKeys, Tag("keys")],
    Discriminator(_kind),
]
TargetChoice = Annotated[Annotated[str, Tag("name")] | Annotated[TargetKeys, Tag("keys")], Discriminator(_kind)]
RequestChoice = Annotated[Annotated[str, Tag("name")] | Annotated[Request, Tag("keys")], Discriminator(_kind)]


class CaseKeys(_Strict):
    """A case: an ai-toolkit preview on one side, an API request on the other."""

    id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="default: the file name")
    model: str = Field(description="API model id, e.g. wan21_14b")
    checkpoint: str | None = Field(default=None, description="folder or Hub id used instead of the model's own")
    preview: PreviewKeys
    request: RequestChoice | None = Field(default=None, description="inline, or a JSON file; default: the sample's own")
    pipeline: PipelineChoice = "reference"
    target: TargetChoice | None = Field(
        default=None, description="a server's URL, or keys: drawn there; `pipeline` is then what is expected of it"
    )
    tolerance: ToleranceKeys | None = None
    expect: list[Expected] | None = Field(
        default=None, description="factors known to differ; green while exactly these"
    )
    tags: list[str] = []


_SCHEMAS: dict[tuple[str, ...], type[BaseModel]] = {
    (): CaseKeys,
    ("preview",): PreviewKeys,
    ("tolerance",): ToleranceKeys,
    ("target",): TargetKeys,
    ("pipeline",): PipelineKeys,
    ("pipeline", "scheduler"): SchedulerKeys,
    ("pipeline", "precision"): PrecisionKeys,
    ("pipeline", "resize"): ResizeKeys,
    ("pipeline", "conditioning"): ConditioningKeys,
    ("request",): Request,
    ("request", "prompts"): PromptItem,
    ("request", "loras"): LoraItem,
}

Keys = TypeVar("Keys", bound=BaseModel)


def validate(document: Document, schema: type[Keys], prefix: tuple[str, ...] = ()) -> Keys:
    """Check a document against a schema. Raises one CaseError with a line per mistake.

    `prefix`: where `schema` stands among the case's keys, for the known keys of an error.
    """
    if not isinstance(document.data, Mapping):
        raise document.error((), f"must be a mapping of keys, is {_short(document.data)}")
    try:
        return schema.model_validate(document.data)
    except ValidationError as error:
        messages = [_explain(document, dict(item), prefix) for item in error.errors(include_url=False)]
        raise CaseError("\n".join(dict.fromkeys(messages))) from None


def _explain(document: Document, error: dict[str, Any], prefix: tuple[str, ...]) -> str:
    """One pydantic error as `file:line: key: what is wrong`."""
    where = _in_document(document.data, error["loc"])
    kind, given = error["type"], error["input"]
    if kind == "extra_forbidden":
        parents = (*prefix, *(part for part in where[:-1] if isinstance(part, str)))
        known = list(_SCHEMAS[parents].model_fields)
        return str(document.error(where, f"unknown key{did_you_mean(str(where[-1]), known)}"))
    if kind == "missing":
        return str(document.error(where, "is missing"))
    if kind == "literal_error" and where[:1] == ("expect",):
        return str(
            document.error(where, f"{given!r} is no factor{did_you_mean(str(given), sorted(get_args(Expected)))}")
        )
    if kind in ("model_type", "model_attributes_type"):
        return str(document.error(where, f"must be a mapping of keys, is {_short(given)}"))
    message = re.sub(r"^\w+ should ", "", error["msg"])
    return str(document.error(where, f"must {message}, is {_short(given)}"))


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
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
