"""The recipe of a graph, by what ComfyUI does: settings + model -> Graph, Recipe, and what neither says.

Facts of ComfyUI 0.3.64 (a125cd84), recorded; where 0.38.1 was read and is the same, nothing is said.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipelines.catalog import Model
from pipelines.comfyui.checks import names_at_odds, stage_obstacles
from pipelines.comfyui.loras import base_name, find_lora, places_below
from pipelines.comfyui.settings import Save, Settings, Stage
from pipelines.comfyui_schedules import NOISY, SAMPLERS
from pipelines.errors import CaseError, GraphError, MediaError
from pipelines.files.content import present
from pipelines.files.shown import shown
from pipelines.files.words import shorten
from pipelines.graph import FRAME_RULES, SIZE_RULES, Graph, fields_of
from pipelines.media.control_image import load as load_control_image
from pipelines.quantization import Quantization
from pipelines.recipe import (
    MISSING,
    Asked,
    ClipImage,
    Codec,
    Conditioning,
    ControlImage,
    Expert,
    LoraFile,
    Precision,
    Recipe,
    Resize,
)
from pipelines.scheduler import COMFYUI, Scheduler
from pipelines.weights import Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Where the files that a graph names may be on this machine."""

    models: Path | None = None
    """ComfyUI's models folder."""
    folders: tuple[Path, ...] = ()
    """Folders that may hold a copy: the job's, the case's."""
    loras: tuple[LoraFile, ...] = ()
    """The job's own LoRA files, wherever they are."""
    image: ControlImage | None = None
    """The job's control image."""


_CLIP_IMAGES: dict[Literal["none", "center"], ClipImage] = {"none": "original_stretched", "center": "original_center"}


def comfyui_graph(
    settings: Settings,
    *,
    model: Model,
    weights: Weights,
    boundary: float | None,
    precision: Precision | None = None,
) -> Graph:
    """The graph behind ComfyUI's settings. The checkpoint's files are taken to hold what `weights` do.

    `precision`: what the file does not say, where the user knows it; default: float16, in which ComfyUI computes a
    file of float16, bfloat16 or float32 on an NVIDIA GPU since Ampere, with the VAE in bfloat16. In float32 the VAE is
    float32 too, as under `--cpu`. Raises GraphError for a scheduler that is not supported yet.
    """
    first, *rest = settings.stages
    precision = precision or Precision("float16", "cast")
    return Graph(
        weights=weights,
        scheduler=_scheduler(first),
        lora_application="merged",
        precision=precision,
        frame_rule="low_vram",
        size_rule="comfyui",
        resize=Resize("bilinear_no_antialias", "center"),
        vae_tiling=False,
        quantization=_quantization(settings),
        codec=codec_of(settings.save),
        boundary=boundary,
        conditioning=Conditioning(latents="mode", rounded=False) if model.own_conditioning else None,
        split=(first.steps if first.end is None else first.end) if rest and model.experts is not None else None,
        text_encoding="comfyui",
        clip_image="resized" if settings.clip_crop is None else _CLIP_IMAGES[settings.clip_crop],
        float32_steps=True,
        vae_dtype=None if precision.dtype == "float32" else "bfloat16",
        vae_norm="vae_dtype",  # with them bfloat16 latents decode to the recorded frames bit for bit
        eight_bit="truncated" if settings.save.truncates else "rounded",
    )


def comfyui_recipe(settings: Settings, graph: Graph, *, model: Model, files: Files, fps: int) -> Recipe:
    """The recipe of a graph's video. What cannot be generated is among its obstacles, with the reason.

    `fps`: the rate of a video that states none, such as a folder of frames. Raises WeightsError and MediaError for a
    file that is found and cannot be read.
    """
    first = settings.stages[0]
    obstacles, notes = list(stage_obstacles(settings, model)), [*settings.notes, *names_at_odds(settings, model)]
    image, reason = _image(settings, files)
    obstacles += [reason] if reason is not None else []
    loras, remarks = _loras(settings, model, files, obstacles)
    loras = sorted((*loras, *graph.extra_loras), key=lambda lora: lora[0].expert or "")  # high before low
    width, height = (Asked(asked, SIZE_RULES[graph.size_rule](asked, model)) for asked in _size(settings))
    frames = Asked(settings.length, max(FRAME_RULES[graph.frame_rule](settings.length), 1))
    if width.applied % 16 or height.applied % 16:
        obstacles.append(
            f"{width.applied}x{height.applied}: sizes that are no multiples of 16 are not supported yet; ComfyUI pads "
            "the latent, diffusers refuses it"
        )
    if settings.batch_size > 1:
        notes.append(
            f"batch_size {settings.batch_size}: the recipe is that of the first video; how a file holds the others was "
            "not recorded"
        )
    rate = fps if settings.fps is None else max(round(settings.fps), 1)
    if settings.fps is not None and rate != settings.fps:
        notes.append(f"{settings.fps:g} frames a second, taken as {rate}")
    return Recipe(
        model=model.id,
        pipeline=model.pipeline(with_image=image is not None),
        prompt=settings.prompt,
        negative_prompt=settings.negative_prompt,
        width=width,
        height=height,
        num_frames=frames,
        steps=first.steps,
        guidance_scale=1.0 if abs(first.cfg - 1) <= 1e-9 else first.cfg,
        seed=first.seed,
        lora_files=tuple(file for file, _ in loras),
        lora_scales=tuple(scale for _, scale in loras),
        control_image=image,
        fps=rate,
        obstacles=tuple(map(shown, obstacles)),
        notes=tuple(map(shown, (*notes, *remarks))),
        **fields_of(graph, with_image=image is not None),
    )


def unknown_of(settings: Settings) -> tuple[str, ...]:
    """What decides pixels and neither the file nor its graph says, one sentence each."""
    files = dict.fromkeys([*(stage.unet for stage in settings.stages), settings.text_encoder, settings.vae])
    names = ", ".join(shorten(base_name(name), 60) for name in files)
    several = len(settings.stages) > 1
    found = [
        f"Which weights the files hold: the graph names {names} without a hash; taken for the case's checkpoint.",
        "In which dtype it computed: ComfyUI's command line and the GPU decide; taken is its default on NVIDIA GPUs "
        "since Ampere, float16 with the VAE in bfloat16 (`pipeline: {base: comfyui, precision: …}` says otherwise).",
        "Whether the model fitted into the GPU's memory: weights that stay in RAM (usual for 14B on 24 GB) are patched "
        "with a LoRA in their own dtype instead of float32, which differs by rounding."
        if any(stage.loras for stage in settings.stages)
        else "Which attention computed (`--use-sage-attention`, say): it differs by rounding.",
        "Whether the VAE decoded in tiles: it does so by itself, and says nothing, when memory runs out.",
    ]
    if any(stage.loras for stage in settings.stages):
        which = " and ".join(
            dict.fromkeys(shorten(base_name(lora.name), 60) for stage in settings.stages for lora in stage.loras)
        )
        found.insert(
            1, f"What the LoRA files hold{' that each expert loaded' if several else ''}: {which} by name alone."
        )
    noisy = [stage.sampler for stage in settings.stages if stage.sampler in NOISY]
    if noisy:
        found.append(f"Where {noisy[0]} took its noise from: taken for the CPU, as recorded; on a GPU it is not known.")
    if settings.image is not None:
        found.append(f"What the image {shorten(base_name(settings.image), 60)} showed: the graph names the file alone.")
    return tuple(map(shown, found))


def codec_of(save: Save) -> Codec:
    """The format in which a save node writes."""
    if save.format == "webp":
        # SaveAnimatedWEBP's default method is Pillow's 4; of VHS_VideoCombine the quality is not known.
        return Codec("webp", None if save.lossless else save.quality, method=4)
    if save.format == "png":
        return Codec("apng" if save.node == "SaveAnimatedPNG" else "png", None)
    return Codec(save.format, save.quality)


def _scheduler(stage: Stage) -> Scheduler:
    """The schedule, also of a sampler that is not supported yet: its name is a difference all the same."""
    try:
        if stage.sampler in SAMPLERS:
            return stage.scheduler
        settings = dict(dataclasses.replace(stage, sampler="euler").scheduler.settings)
    except CaseError as error:
        raise GraphError(f"node {stage.node}: {error}") from None
    settings["sampler"] = shown(stage.sampler, 60)
    return Scheduler(COMFYUI, tuple(sorted(settings.items())))


def _size(settings: Settings) -> tuple[int, int]:
    return settings.width, settings.height


def _quantization(settings: Settings) -> Quantization:
    """Weights of fewer bits, by UNETLoader's weight_dtype and the names of the files."""
    transformers = dict.fromkeys(
        stage.weight_dtype if stage.weight_dtype != "default" else _bits(stage.unet) for stage in settings.stages
    )
    return Quantization(next((name for name in transformers if name), None), _bits(settings.text_encoder))


def _bits(name: str) -> str | None:
    """The fp8 format that a file's name states; None: it states none."""
    name = base_name(name).lower()
    kinds = ("fp8_scaled", "fp8_e4m3fn", "fp8_e5m2", "fp8")
    if "fp8" in name and "scaled" in name:
        return kinds[0]
    return next((kind for kind in kinds if kind in name), None)


def _loras(
    settings: Settings, model: Model, files: Files, obstacles: list[str]
) -> tuple[list[tuple[LoraFile, float]], list[str]]:
    """The LoRA files with their scales, high noise before low, and remarks; what hinders goes to `obstacles`."""
    experts: tuple[Expert | None, ...] = ("high", "low") if model.experts is not None else (None,)
    found: list[tuple[LoraFile, float]] = []
    remarks: list[str] = []
    for expert, stage in zip(experts, settings.stages, strict=False):
        for entry in stage.loras:
            lora = find_lora(entry.name, expert, models=files.models, folders=files.folders, known=files.loras)
            obstacles += [lora.obstacle] if lora.obstacle is not None else []
            remarks += lora.notes
            if lora.file is not None:
                found.append((dataclasses.replace(lora.file, expert=expert), round(entry.strength, 9)))
    return found, list(dict.fromkeys(remarks))


def _image(settings: Settings, files: Files) -> tuple[ControlImage | None, str | None]:
    """The image that LoadImage names, and why there is none to generate with."""
    if settings.image is None:
        return None, None
    name = settings.image.removesuffix(" [input]")
    places = [folder / base_name(name) for folder in files.folders]
    if files.models is not None:
        places = [*places_below(files.models.parent / "input", name), *places]
    path = next((place for place in places if base_name(name) and present(place) and place.is_file()), None)
    if files.image is not None and base_name(files.image.source) == base_name(name) and files.models is None:
        return files.image, None
    if path is not None:
        try:
            return load_control_image(str(path), path.parent), None
        except MediaError as error:
            return _unseen(name), str(error)
    if files.image is not None and base_name(files.image.source) == base_name(name):
        return files.image, None
    return _unseen(name), (
        f"the image {shorten(name, 120)} is not on this machine; name ComfyUI's models folder as pipeline.models, "
        "beside which its input folder lies, or copy the image beside the case"
    )


def _unseen(name: str) -> ControlImage:
    return ControlImage(source=shown(base_name(name)), data=b"", sha256=f"{MISSING}{name}", width=0, height=0)
