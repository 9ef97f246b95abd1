"""What the inference server does: request + prompt index + graph -> Recipe.

Facts of runcomfy-com/ai-toolkit-inference at af4aec1 (src/pipelines/wan21.py, base.py, src/tasks/executor.py).
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pipelines.catalog import Model
from pipelines.control_image import load as load_control_image
from pipelines.job import Job
from pipelines.lora import lora_file
from pipelines.preview import frame_rule, job_obstacles, low_vram_frame_rule, preview_recipe
from pipelines.recipe import Asked, Codec, LoraApplication, Precision, Quantization, Recipe, Resize
from pipelines.request import LoraItem, PromptItem, Request
from pipelines.scheduler import Scheduler

FrameRule = Callable[[int], int]
FRAME_RULES: dict[str, FrameRule] = {"diffusers": frame_rule, "low_vram": low_vram_frame_rule}
"""How a number of frames becomes one the VAE can hold (4n + 1), by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """How a server draws, whatever it is asked to draw: the profile half of an inference recipe."""

    checkpoint: str
    text_encoder: str | None
    scheduler: Scheduler
    lora_application: LoraApplication
    precision: Precision
    frame_rule: str
    resize: Resize
    vae_tiling: bool
    quantization: Quantization
    codec: Codec


def reference_graph(checkpoint: str, scheduler: Scheduler) -> Graph:
    """The reference server's graph on a GPU with bfloat16.

    `scheduler`: the checkpoint's own. On a CPU the server itself would run float32; the case asks what is served,
    so the recipe stays bfloat16 wherever it is replayed.
    """
    return Graph(
        checkpoint=checkpoint,
        text_encoder=None,
        scheduler=scheduler,
        lora_application="adapter",
        precision=Precision("bfloat16", "kept"),
        frame_rule="diffusers",
        resize=Resize("lanczos", "stretch"),
        vae_tiling=False,
        quantization=Quantization(),
        codec=Codec("webp", 80),
    )


def faithful_graph(preview: Recipe, job: Job) -> Graph:
    """The graph that repeats a preview: the trainer's wherever server and trainer differ in kind."""
    low_vram = job.low_vram and preview.pipeline == "WanPipeline"
    return Graph(
        checkpoint=preview.checkpoint,
        text_encoder=preview.text_encoder,
        scheduler=preview.scheduler,
        lora_application=preview.lora_application,
        precision=preview.precision,
        frame_rule="low_vram" if low_vram else "diffusers",
        resize=preview.resize or Resize("lanczos", "stretch"),
        vae_tiling=preview.vae_tiling,
        quantization=preview.quantization,
        codec=preview.codec,
    )


def trainer_graph(
    job: Job, *, model: Model, checkpoint: str | None, toolkit: str | None
) -> tuple[Graph, tuple[str, ...], tuple[str, ...]]:
    """The graph of a job's previews whatever the prompt, what nobody can repeat of them, and what had to be assumed.

    `checkpoint`, `toolkit`: as for `preview_recipe`. Raises CaseError as it does.
    """
    unlisted = preview_recipe(
        job, len(job.samples), model=model, checkpoint=checkpoint, toolkit=toolkit, unpairable="a prompt of no preview"
    )
    obstacles = job_obstacles(job, model.needs_control_image)
    return faithful_graph(unlisted, job), tuple(obstacles), unlisted.notes


def inference_recipe(request: Request, index: int, graph: Graph, *, model: Model, folder: Path) -> Recipe:
    """The recipe of prompt `index` of a request.

    `folder`: what relative paths in the request are relative to.
    Raises WeightsError and MediaError for a LoRA or control image that cannot be read.
    """
    item = request.prompts[index]
    defaults = model.defaults
    trigger = item.trigger_word or request.trigger_word
    prompt = item.prompt.replace("[trigger]", trigger) if trigger else item.prompt
    seed = defaults.seed + index if item.seed is None else item.seed
    width = _or(item.width, defaults.width)
    height = _or(item.height, defaults.height)
    num_frames = _or(item.num_frames, defaults.num_frames)
    image = load_control_image(item.control_images()[0], folder) if model.needs_control_image else None
    scales = [lora.network_multiplier for lora in request.loras]
    return Recipe(
        model=model.id,
        pipeline=model.pipeline,
        checkpoint=graph.checkpoint,
        text_encoder=graph.text_encoder,
        prompt=prompt,
        negative_prompt=defaults.neg if item.neg is None else item.neg,
        width=Asked(width, width // model.size_divisor * model.size_divisor),
        height=Asked(height, height // model.size_divisor * model.size_divisor),
        num_frames=Asked(num_frames, FRAME_RULES[graph.frame_rule](num_frames)),
        steps=_or(item.sample_steps, defaults.sample_steps),
        guidance_scale=defaults.guidance_scale if item.guidance_scale is None else item.guidance_scale,
        seed=None if seed < 0 else seed,
        scheduler=graph.scheduler,
        lora_files=tuple(lora_file(folder / lora.path) for lora in request.loras),
        lora_scales=tuple(defaults.network_multiplier if scale is None else scale for scale in scales),
        lora_application=graph.lora_application,
        precision=graph.precision,
        control_image=image,
        resize=graph.resize if model.needs_control_image else None,
        vae_tiling=graph.vae_tiling,
        quantization=graph.quantization,
        codec=graph.codec,
        fps=_or(item.fps, defaults.fps),
    )


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def request_of_preview(preview: Recipe) -> Request:
    """The config's sample as a request: the same numbers, flags and seed rules applied, sizes and frames as asked.

    Raises pydantic's ValidationError where the API cannot express it (a size above 4096, 25 guidance …).
    """
    item = PromptItem(
        prompt=preview.prompt,
        width=preview.width.asked,
        height=preview.height.asked,
        guidance_scale=preview.guidance_scale,
        sample_steps=preview.steps,
        neg=preview.negative_prompt,
        seed=-1 if preview.seed is None else preview.seed,
        num_frames=preview.num_frames.asked,
        fps=preview.fps,
        ctrl_img=base64.b64encode(preview.control_image.data).decode() if preview.control_image else None,
    )
    loras = [
        LoraItem(path=str(file.path.resolve()), network_multiplier=scale)
        for file, scale in zip(preview.lora_files, preview.lora_scales, strict=True)
    ]
    return Request(model=preview.model, loras=loras, prompts=[item])


def cannot_be_asked(error: ValidationError) -> str:
    """Why `request_of_preview` failed, in one sentence."""
    first = error.errors(include_url=False)[0]
    field_name = first["loc"][-1] if first["loc"] else "request"
    return f"the sample's {field_name} {first['input']} cannot be asked of the API: {first['msg']}"
