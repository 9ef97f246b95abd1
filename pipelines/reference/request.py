"""The API's request body: fields, bounds and the rules the reference server checks.

Source: src/schemas/request.py and src/api/v1/inference.py of runcomfy-com/ai-toolkit-inference at af4aec1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipelines.catalog import Model
from pipelines.limits import why_too_many_pixels
from pipelines.prompts import MAX_CHARACTERS, with_trigger

Text = Annotated[str, Field(max_length=MAX_CHARACTERS)]
Size = Annotated[int, Field(ge=64, le=4096)]


class _Strict(BaseModel):
    # The server ignores unknown keys. Here a typo is an error, because a misspelt key is drift that goes unnoticed.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class LoraItem(_Strict):
    """A LoRA of a request."""

    path: str = Field(description="LoRA file; relative to the file with the request")
    transformer: Literal["low", "high"] | None = Field(
        default=None, description="the expert it is for; Wan 2.2 14B only"
    )
    network_multiplier: float | None = Field(default=None, ge=-2, le=2, description="LoRA scale, default 1.0")


class PromptItem(_Strict):
    """A video of a request. A field that is left out gets the model's default."""

    prompt: Text = Field(description="the prompt; [trigger] is replaced by the trigger word")
    trigger_word: Text | None = Field(default=None, description="this prompt's trigger word, before the request's")
    width: Size | None = Field(default=None, description="pixels; floored to the model's divisor")
    height: Size | None = Field(default=None, description="pixels; floored to the model's divisor")
    guidance_scale: float | None = Field(default=None, ge=0, le=20, description="classifier-free guidance")
    sample_steps: int | None = Field(default=None, ge=1, le=150, description="denoising steps")
    neg: Text | None = Field(default=None, description="negative prompt")
    seed: int | None = Field(default=None, ge=-1, description="-1: random; default 42 + prompt index")
    sampler: str | None = Field(default=None, description="read by no Wan pipeline")
    num_frames: int | None = Field(default=None, ge=1, le=1000, description="frames")
    fps: int | None = Field(default=None, ge=1, le=120, description="frames a second of the file")
    resolution: Literal["Default"] | None = Field(default=None, description="Wan has no other than Default")
    ctrl_img: str | None = Field(default=None, description="control image: base64, data URL, http(s) URL or file")
    ctrl_img_1: str | None = Field(default=None, description="control image; wins over ctrl_img")
    ctrl_img_2: str | None = Field(default=None, description="read by no Wan pipeline")
    ctrl_img_3: str | None = Field(default=None, description="read by no Wan pipeline")

    def control_images(self) -> list[str]:
        """The images the server would load, in its order: the numbered ones, else `ctrl_img`."""
        numbered = [image for image in (self.ctrl_img_1, self.ctrl_img_2, self.ctrl_img_3) if image]
        return numbered or ([self.ctrl_img] if self.ctrl_img else [])


class Request(_Strict):
    """The body of POST /v1/inference."""

    model: str = Field(description="API model id")
    loras: list[LoraItem] = Field(description="one; for Wan 2.2 14B one for each expert, or for one of them")
    prompts: list[PromptItem] = Field(min_length=1, description="the videos to generate")
    trigger_word: Text | None = Field(default=None, description="replaces [trigger] in prompts")
    hf_token: str | None = Field(default=None, repr=False, description="Hub token for gated checkpoints")

    def trigger_of(self, index: int) -> str | None:
        """The trigger word of prompt `index`. An empty one is none, for the server."""
        return self.prompts[index].trigger_word or self.trigger_word or None

    def prompt_of(self, index: int) -> str:
        """Prompt `index` with its trigger word. Raises ValueError for one that gets too long."""
        return with_trigger(self.prompts[index].prompt, self.trigger_of(index))


MEANT: Mapping[str, str] = {
    "negative_prompt": "neg",
    "negative": "neg",
    "num_inference_steps": "sample_steps",
    "inference_steps": "sample_steps",
    "steps": "sample_steps",
    "cfg": "guidance_scale",
    "cfg_scale": "guidance_scale",
    "guidance": "guidance_scale",
    "lora_scale": "network_multiplier",
    "strength": "network_multiplier",
    "strength_model": "network_multiplier",
    "scale": "network_multiplier",
    "weight": "network_multiplier",
    "image": "ctrl_img",
    "control_image": "ctrl_img",
    "init_image": "ctrl_img",
    "start_image": "ctrl_img",
    "frames": "num_frames",
    "length": "num_frames",
    "frame_rate": "fps",
    "noise_seed": "seed",
    "text": "prompt",
    "lora": "loras",
    "lora_path": "path",
    "expert": "transformer",
    "token": "hf_token",
    "trigger": "trigger_word",
}
"""Names that diffusers, ComfyUI and ai-toolkit's flags have for what these keys say."""


Problem = tuple[tuple[str | int, ...], str]
"""The key it is about, and the message with the server's error code."""


def check_request(request: Request, model: Model) -> Problem | None:
    """The first problem that the server's own checks beyond the schema find; None: it accepts the request."""
    return (
        check_loras(request, model)
        or check_control_images(request, model)
        or check_numbers(request, model)
        or check_prompts(request)
    )


def check_numbers(request: Request, model: Model) -> Problem | None:
    """The first prompt whose numbers the schema permits one by one, and on which the server fails as it generates."""
    defaults = model.defaults
    for i, item in enumerate(request.prompts):
        if item.seed is not None and item.seed >= 2**64:
            return ("prompts", i, "seed"), "does not fit into the 64 bits that torch supports"
        size = (item.width or defaults.width, item.height or defaults.height, item.num_frames or defaults.num_frames)
        if (reason := why_too_many_pixels(*size)) is not None:
            return ("prompts", i), reason
    return None


def check_prompts(request: Request) -> Problem | None:
    """The first prompt that is too long with its trigger word. The reference server has no limit."""
    for i in range(len(request.prompts)):
        try:
            request.prompt_of(i)
        except ValueError as error:
            return ("prompts", i, "prompt"), str(error)
    return None


def check_loras(request: Request, model: Model) -> Problem | None:
    """The first problem with `loras`. The server checks these first, then the files, then the control images."""
    if not request.loras:
        return ("loras",), "LORA_FILE_REQUIRED: at least one LoRA is required"
    sides = [item.transformer for item in request.loras]
    if model.experts is not None:
        if None in sides:
            return ("loras",), f"MOE_FORMAT_REQUIRED: {model.id} has two transformers; say `transformer: high` or `low`"
        if len(set(sides)) < len(sides):
            return ("loras",), f"SINGLE_MOE_CONFIG_ONLY: {model.id} takes one LoRA for high and one for low, not more"
        return None
    if any(sides):
        return ("loras",), f"MOE_FORMAT_NOT_SUPPORTED: {model.id} has one transformer; leave out `transformer`"
    if len(request.loras) > 1:
        return ("loras",), f"SINGLE_LORA_ONLY: {model.id} takes one LoRA, not {len(request.loras)}"
    return None


def check_control_images(request: Request, model: Model) -> Problem | None:
    """The first problem with `ctrl_img`."""
    if not model.takes_control_image:
        return None
    # Given several, the server's pipelines read none: I2V fails, 5B generates a video without an image.
    blamed = "the server fails on it" if model.needs_control_image else "the server would use none of them"
    for i, item in enumerate(request.prompts):
        images = item.control_images()
        if not images and model.needs_control_image:
            return ("prompts", i), f"CONTROL_IMAGE_REQUIRED: {model.id} needs ctrl_img"
        if len(images) > 1:
            return ("prompts", i), f"{model.id} takes one control image, not {len(images)}; {blamed}"
    return None
