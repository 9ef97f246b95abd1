"""The recipe of a request, by what the inference server does: request + prompt index + graph -> Recipe.

Facts of runcomfy-com/ai-toolkit-inference at af4aec1 (src/pipelines/wan21.py, base.py, src/tasks/executor.py).
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from pipelines.catalog import Model
from pipelines.errors import CaseError
from pipelines.graph import FRAME_RULES, SIZE_RULES, Graph, fields_of
from pipelines.hub import folder_of
from pipelines.lora_files import left_out, lora_file, why_not_applied
from pipelines.media.control_image import load as load_control_image
from pipelines.quantization import Quantization
from pipelines.recipe import Asked, Codec, Conditioning, Precision, Recipe, Resize
from pipelines.reference.request import LoraItem, PromptItem, Request
from pipelines.scheduler import Scheduler, checkpoint_boundary, checkpoint_scheduler, flow_schedule
from pipelines.weights import Weights


def reference_graph(model: Model, checkpoint: str | None = None, *, token: str | None = None) -> Graph:
    """The reference server's graph on a GPU with bfloat16. Fetches the schedule of a checkpoint on the Hub.

    `checkpoint`: a folder or Hub id used instead of all of the model's own. `token`: a Hub token. On a CPU the
    server itself would run float32; a case is about what is served, so the recipe stays bfloat16 on every machine.
    Its Wan 2.2 14B pipelines also go through torch.compile; that is left out until asked for (`compiled`).
    Raises WeightsError.
    """
    source, experts = checkpoint or model.base_checkpoint, model.experts
    graph = Graph(
        weights=Weights(source),
        scheduler=_server_schedule(model, source, token),
        lora_application="adapter",
        precision=Precision("bfloat16", "kept"),
        # wan22_i2v.py makes latents of (num_frames - 1) // 4 + 1 frames itself; wan22_5b.py rounds the same way.
        frame_rule="low_vram" if model.rounds_frames_down else "diffusers",
        size_rule="reference",
        resize=Resize("lanczos", "stretch"),
        vae_tiling=False,
        quantization=Quantization(),
        codec=Codec("webp", 80),
    )
    if model.own_conditioning:
        # wan22_i2v.py and wan22_5b.py encode the image themselves, and sample its latents with no generator.
        graph = dataclasses.replace(graph, conditioning=Conditioning(latents="sample", noise="unseeded"))
    if experts is None:
        return graph
    if checkpoint is None:
        weights = Weights(source, text_encoder=experts.text_encoder, transformers=experts.transformers, vae=experts.vae)
        graph = dataclasses.replace(graph, weights=weights)
    boundary = experts.boundary
    if boundary is None:
        boundary = checkpoint_boundary(folder_of(source, token=token, only=["model_index.json"]))
    return dataclasses.replace(graph, boundary=boundary)


def _server_schedule(model: Model, source: str, token: str | None) -> Scheduler:
    if model.server_shift is not None:
        return flow_schedule("unipc", model.server_shift)
    return checkpoint_scheduler(folder_of(source, token=token, only=["scheduler/*"]))


def inference_recipe(request: Request, index: int, graph: Graph, *, model: Model, folder: Path) -> Recipe:
    """The recipe of prompt `index` of a request.

    `folder`: the folder that paths in the request are relative to.
    Raises WeightsError and MediaError for a LoRA or control image that cannot be read, CaseError for a prompt that is
    too long with its trigger word.
    """
    item, floored = request.prompts[index], SIZE_RULES[graph.size_rule]
    defaults = model.defaults
    try:
        prompt = request.prompt_of(index)
    except ValueError as error:
        raise CaseError(f"prompt {index} of the request {error}") from None
    seed = defaults.seed + index if item.seed is None else item.seed
    width = _or(item.width, defaults.width)
    height = _or(item.height, defaults.height)
    num_frames = _or(item.num_frames, defaults.num_frames)
    images = item.control_images() if model.takes_control_image else []
    image = load_control_image(images[0], folder) if images else None
    asked = [
        (
            lora_file(folder / lora.path, lora.transformer),
            defaults.network_multiplier if lora.network_multiplier is None else lora.network_multiplier,
        )
        for lora in request.loras
    ]
    loras = sorted((*asked, *graph.extra_loras), key=lambda lora: lora[0].expert or "")  # high before low
    files = tuple(file for file, _ in loras)
    return Recipe(
        model=model.id,
        pipeline=model.pipeline(with_image=image is not None),
        prompt=prompt,
        negative_prompt=defaults.neg if item.neg is None else item.neg,
        width=Asked(width, floored(width, model)),
        height=Asked(height, floored(height, model)),
        num_frames=Asked(num_frames, FRAME_RULES[graph.frame_rule](num_frames)),
        steps=_or(item.sample_steps, defaults.sample_steps),
        guidance_scale=defaults.guidance_scale if item.guidance_scale is None else item.guidance_scale,
        seed=None if seed < 0 else seed,
        lora_files=files,
        lora_scales=tuple(scale for _, scale in loras),
        control_image=image,
        fps=_or(item.fps, defaults.fps),
        obstacles=_each(why_not_applied(file.path, graph.lora_application, file.expert) for file in files),
        notes=_each(left_out(file.path, file.expert) for file in files),
        **fields_of(graph, with_image=image is not None),
    )


def _each(remarks: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(remark for remark in remarks if remark is not None)


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def request_of_preview(preview: Recipe) -> Request:
    """The config's sample as a request: the same numbers, flags and seed rules applied, sizes and frames as asked.

    Raises pydantic's ValidationError for what the API does not accept (a size above 4096, a guidance of 25 …).
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
        LoraItem(path=str(file.path.resolve()), transformer=file.expert, network_multiplier=scale)
        for file, scale in zip(preview.lora_files, preview.lora_scales, strict=True)
    ]
    return Request(model=preview.model, loras=loras, prompts=[item])


def cannot_be_asked(error: ValidationError) -> str:
    """The reason why `request_of_preview` failed, in one sentence."""
    first = error.errors(include_url=False)[0]
    field_name = first["loc"][-1] if first["loc"] else "request"
    return f"the sample's {field_name} {first['input']} cannot be sent to the API: {first['msg']}"
