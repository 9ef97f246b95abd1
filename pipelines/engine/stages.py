"""The stages of one generation on a real diffusers Wan pipeline: conditioning, denoising, decoding.

The pipeline's own `__call__` does the work. This module passes it encodings of earlier generations, records
intermediate tensors, and stops before the decode, so that latents can be decoded more than once.
It holds for WanPipeline and WanImageToVideoPipeline of diffusers 0.42.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.engine.conditioning import latents_and_condition
from pipelines.engine.images import clip_embeddings, first_frame
from pipelines.errors import MediaError, NotANumberError
from pipelines.media.video import Frames
from pipelines.phases import OnPhase, unheard
from pipelines.recipe import Recipe
from pipelines.schedule_parts import canonical
from pipelines.scheduler import COMFYUI

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from pipelines.engine.encoders import Encoders

OnStep = Callable[[int, int], None]
"""Called with the number of denoising steps done and their total."""


@dataclass(slots=True)
class Work:
    """Counts what an engine did so far, in the units that cost time."""

    loads: int = 0
    """The number of loaded checkpoints."""
    denoising_steps: int = 0
    """The number of passes through the transformer, each two calls with guidance. A step is one pass, but for two
    samplers of ComfyUI's, which take two."""
    encodings: int = 0
    """The number of texts and images encoded, and of control images encoded by the VAE."""
    decodes: int = 0
    """The number of decodes by the VAE."""
    reused_encodings: int = 0
    """The number of those that were kept, in memory or in a store."""
    encoder_loads: int = 0
    """The number of loaded text encoders and CLIP models."""


@dataclass(slots=True)
class Trace:
    """The intermediate tensors of one denoising run, on the CPU. `denoise` fills it.

    It holds one latent per step: 16 x 21 x 90 x 160 float32 (19 MB) for 81 frames at 1280x720. For Wan 2.2 5B their
    first frame means nothing before the last step if there is a control image, which takes its place.
    """

    noise: torch.Tensor | None = None
    """The initial noise, of shape (1, 16, latent frames, height / 8, width / 8), float32; 5B: 48 channels, / 16."""
    conditioning: dict[str, torch.Tensor] = field(default_factory=dict)
    """Holds `prompt`, with guidance `negative_prompt`, for I2V `image` (CLIP) and `image_latents` (VAE, with mask)."""
    sigmas: tuple[float, ...] = ()
    """The sigmas of the schedule, one more than steps."""
    timesteps: tuple[float, ...] = ()
    """The timesteps passed to the transformer, one per pass."""
    first_prediction: torch.Tensor | None = None
    """The prediction of the first step, after guidance."""
    latents: list[torch.Tensor] = field(default_factory=list)
    """The latents after each step."""


def scheduler(recipe: Recipe) -> Any:
    """Build a recipe's scheduler. One of ComfyUI's is told its seed, and where the second sampler node begins."""
    schedule = canonical(recipe.scheduler)
    built: Any = schedule.build()
    if schedule.family == COMFYUI:
        built.split, built.seed = recipe.split, recipe.seed
    return built


def boundary(recipe: Recipe) -> float | None:
    """Return the share of the 1000 timesteps above which the high-noise expert works; None: there is one transformer.

    A split by steps becomes the middle between the timesteps before and after it.
    """
    if recipe.split is None or recipe.boundary is None:
        return recipe.boundary
    built: Any = canonical(recipe.scheduler).build()
    built.set_timesteps(recipe.steps)
    timesteps = [2000.0, *(float(timestep) for timestep in built.timesteps), 0.0]
    place = min(max(recipe.split, 0), len(timesteps) - 2)
    return (timesteps[place] + timesteps[place + 1]) / 2000


def denoise(
    pipe: Any,
    recipe: Recipe,
    *,
    encoders: Encoders,
    device: torch.device,
    work: Work,
    on_step: OnStep | None = None,
    on_phase: OnPhase = unheard,
    trace: Trace | None = None,
) -> torch.Tensor:
    """Return the final latents of a recipe: (1, 16, latent frames, height / 8, width / 8), float32, on the CPU.

    Those of Wan 2.2 5B are (1, 48, latent frames, height / 16, width / 16).
    `pipe` has the recipe's weights, precision, LoRAs, scheduler and tiling, and `encoders` are its own. Raises
    MediaError for an I2V recipe without a control image.
    """
    import torch

    width, height, num_frames = recipe.width.applied, recipe.height.applied, recipe.num_frames.applied

    if trace is not None:  # it may be the second attempt
        trace.latents.clear()
        trace.first_prediction = None
    inputs: dict[str, Any] = {"prompt_embeds": encoders.text(recipe.prompt, recipe, on_phase)}
    if recipe.guidance > 1:
        inputs["negative_prompt_embeds"] = encoders.text(recipe.negative_prompt, recipe, on_phase)
    assert recipe.seed is not None

    def mark_step() -> None:
        if recipe.compiled:  # otherwise a CUDA graph of the next step overwrites the output of this one
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]

    schedule = canonical(recipe.scheduler)
    levels, progress = schedule.sigmas(recipe.steps), schedule.progress(recipe.steps)

    def pass_done(_pipe: Any, index: int, _timestep: torch.Tensor, tensors: dict[str, Any]) -> dict[str, Any]:
        work.denoising_steps += 1
        mark_step()
        if progress[index] == (progress[index - 1] if index else 0):
            return tensors  # half a step
        if trace is not None:
            trace.latents.append(tensors["latents"].detach().cpu().clone())
        if on_step is not None:
            on_step(progress[index], progress[-1])
        return tensors

    with ExitStack() as taps:
        if recipe.pipeline == "WanImageToVideoPipeline":
            inputs["image"] = taps.enter_context(_from_image(pipe, recipe, encoders, device, on_phase))
        if schedule.family == COMFYUI:
            taps.enter_context(_tapped(pipe, "prepare_latents", partial(_started, levels[0])))
        if trace is not None:
            taps.enter_context(_traced(pipe, trace))
        if not recipe.encodes_tiled:
            pipe.vae.disable_tiling()  # `decode` enables it again
        mark_step()
        on_phase("denoise", "")
        latents: torch.Tensor = pipe(
            **inputs,
            width=width,
            height=height,
            num_frames=num_frames,
            num_inference_steps=recipe.steps,
            guidance_scale=recipe.guidance_scale,
            # Both sides generate float32 noise on the CPU, so that it does not depend on the GPU.
            generator=torch.Generator("cpu").manual_seed(recipe.seed),
            output_type="latent",
            callback_on_step_end=pass_done,
        ).frames
    if trace is not None:
        _finish(trace, pipe, inputs, levels)
    _check_finite(latents, f"the latents after {recipe.steps} steps")
    return latents.cpu()


@contextmanager
def _from_image(
    pipe: Any, recipe: Recipe, encoders: Encoders, device: torch.device, on_phase: OnPhase
) -> Iterator[Image.Image]:
    """Let the pipeline start from the recipe's control image, which is returned at the video's size.

    What CLIP and the VAE make of it is kept. Raises MediaError if there is no image.
    """
    image, resize = recipe.control_image, recipe.resize
    if image is None or resize is None:
        raise MediaError(f"{recipe.model} needs a control image")
    assert recipe.seed is not None
    resized, pixels = first_frame(image, resize, recipe.width.applied, recipe.height.applied)

    def seen(original: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        by_pipeline = partial(original, *args, **kwargs)
        by_comfyui = partial(clip_embeddings, pipe, image, recipe.clip_image, device)
        embeddings = encoders.image(recipe, by_pipeline if recipe.clip_image == "resized" else by_comfyui, on_phase)
        on_phase("denoise", "")
        return embeddings

    def encoded(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        latents = encoders.video(recipe, partial(original, *args, **kwargs), on_phase)
        on_phase("denoise", "")
        return latents

    with ExitStack() as taps:
        taps.enter_context(_tapped(pipe, "encode_image", seen))
        taps.enter_context(_tapped(pipe.vae, "encode", encoded))
        conditioned = partial(latents_and_condition, pipe, pixels, recipe.conditioning, recipe.seed)
        taps.enter_context(_tapped(pipe, "prepare_latents", conditioned))
        yield resized


def _started(sigma: float, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Scale the initial noise by the first sigma, as ComfyUI does; it is 1 in most schedules."""
    prepared = original(*args, **kwargs)
    return (prepared[0] * sigma, *prepared[1:]) if isinstance(prepared, tuple) else prepared * sigma


def _finish(trace: Trace, pipe: Any, inputs: Mapping[str, Any], levels: tuple[float, ...]) -> None:
    """Record the conditioning and the schedule of a finished run."""
    trace.conditioning["prompt"] = inputs["prompt_embeds"].cpu()
    if "negative_prompt_embeds" in inputs:
        trace.conditioning["negative_prompt"] = inputs["negative_prompt_embeds"].cpu()
    trace.sigmas = levels
    trace.timesteps = tuple(float(timestep) for timestep in pipe.scheduler.timesteps)


def _check_finite(values: torch.Tensor, name: str) -> None:
    import torch

    if not torch.isfinite(values).all():
        raise NotANumberError(
            f"{name} contain NaN or infinity: damaged weights, a LoRA scale or guidance out of range, or a precision "
            "or driver that overflows; try `precision: {dtype: float32}` in the case's pipeline"
        )


def scaled(latents: torch.Tensor, vae: Any, recipe: Recipe, device: torch.device) -> torch.Tensor:
    """Return latents on the scale and in the dtype of the VAE."""
    import torch

    latents = latents.to(device, dtype=torch.float32 if recipe.float32_steps else vae.dtype)
    shape = (1, vae.config.z_dim, 1, 1, 1)
    mean = torch.tensor(vae.config.latents_mean).view(shape).to(latents.device, latents.dtype)
    # Divide by the reciprocal instead of multiplying: in bfloat16 the two round differently.
    std = 1.0 / torch.tensor(vae.config.latents_std).view(shape).to(latents.device, latents.dtype)
    return (latents / std + mean).to(vae.dtype)


def decode(pipe: Any, latents: torch.Tensor, recipe: Recipe, device: torch.device, work: Work) -> Frames:
    """Decode latents of `denoise` to frames (T, H, W, 3), as the end of both pipelines' `__call__` does.

    With `float32_steps` only the VAE itself computes in its dtype, as in ComfyUI.
    """
    video = pipe.vae.decode(scaled(latents, pipe.vae, recipe, device), return_dict=False)[0]
    if recipe.float32_steps:
        video = video.float()
    work.decodes += 1
    _check_finite(video, "the decoded pixels")
    pixels = pipe.video_processor.postprocess_video(video, output_type="np")[0] * np.float32(255)
    pipe.maybe_free_model_hooks()
    frames: Frames = (pixels if recipe.eight_bit == "truncated" else pixels.round()).astype(np.uint8)
    return frames


@contextmanager
def _tapped(owner: Any, name: str, around: Callable[..., Any]) -> Iterator[None]:
    """Replace a method of one object by `around(original, …)` inside the `with` block."""
    original, tapped_before = getattr(owner, name), name in vars(owner)
    setattr(owner, name, lambda *args, **kwargs: around(original, *args, **kwargs))
    try:
        yield
    finally:
        if tapped_before:
            setattr(owner, name, original)
        else:
            delattr(owner, name)


@contextmanager
def _traced(pipe: Any, trace: Trace) -> Iterator[None]:
    """Record noise, image conditioning and the first prediction in `trace`."""

    def prepare(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        prepared = original(*args, **kwargs)
        noise, *condition = prepared if isinstance(prepared, tuple) else (prepared,)
        trace.noise = noise.detach().cpu().clone()
        if condition:
            trace.conditioning["image_latents"] = condition[0].detach().cpu()
        return prepared

    def image(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        embeddings = original(*args, **kwargs)
        trace.conditioning["image"] = embeddings.detach().cpu()
        return embeddings

    def step(original: Callable[..., Any], prediction: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if trace.first_prediction is None:
            trace.first_prediction = prediction.detach().cpu().clone()
        return original(prediction, *args, **kwargs)

    with ExitStack() as taps:
        taps.enter_context(_tapped(pipe, "prepare_latents", prepare))
        taps.enter_context(_tapped(pipe.scheduler, "step", step))
        if hasattr(pipe, "encode_image"):
            taps.enter_context(_tapped(pipe, "encode_image", image))
        yield
