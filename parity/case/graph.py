"""The graph a case is served with: a profile, with the overrides of the case's `pipeline`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parity.case.comfyui import graph_of_settings, pipeline_keys, precision_of
from parity.case.document import CaseDocument
from parity.case.keys import PipelineKeys
from pipelines.aitoolkit.graph import faithful_graph
from pipelines.aitoolkit.job import Job
from pipelines.aitoolkit.job_folder import parse_video_name
from pipelines.aitoolkit.preview import origin_of
from pipelines.aitoolkit.quantization import recovery_adapter
from pipelines.comfyui.settings import Settings
from pipelines.errors import CaseError
from pipelines.files.words import shorten
from pipelines.graph import Graph
from pipelines.lora_files import lora_file
from pipelines.quantization import Quantization, unsupported
from pipelines.recipe import Conditioning, EarlierMerge, Expert, LoraFile, Recipe, Resize
from pipelines.reference.inference import reference_graph
from pipelines.scheduler import COMFYUI, Scheduler, comfyui_schedule, flow_schedule


def graph_of_case(
    file: CaseDocument,
    preview: Recipe | None,
    job: Job | None,
    checkpoint: str | None,
    settings: Settings | None = None,
) -> Graph:
    """The graph that `pipeline` asks for.

    `checkpoint`: a folder or Hub id used instead of the model's own; `settings`: those of a ComfyUI graph, which is
    then the profile. Raises CaseError and WeightsError.
    """
    keys = pipeline_keys(file)
    if settings is not None:
        profile = graph_of_settings(file, settings, preview, checkpoint)
    else:
        profile = _profile(file, keys, preview, job, checkpoint)
    overrides = _overrides(file, keys)
    _check_model(file, keys)
    return dataclasses.replace(profile, **overrides)


def _profile(
    file: CaseDocument, keys: PipelineKeys, preview: Recipe | None, job: Job | None, checkpoint: str | None
) -> Graph:
    """The graph of the profile that the overrides start from."""
    if keys.base == "reference":
        return reference_graph(file.model, checkpoint)
    if preview is None or job is None:
        raise file.document.error(
            ("pipeline",), "faithful reproduces what preview.config says; name the config, or use reference"
        )
    named = parse_video_name(Path(file.keys.preview.video).name)
    return faithful_graph(preview, job, file.model, origin_of(file.keys.preview.toolkit, named))


def _overrides(file: CaseDocument, keys: PipelineKeys) -> dict[str, Any]:
    """The fields of a graph that the case sets itself."""
    values = {
        "scheduler": _scheduler(file, keys),
        "lora_application": keys.lora_application,
        "precision": precision_of(keys),
        "quantization": _quantization(file, keys),
        "frame_rule": keys.frame_rule,
        "size_rule": keys.size_rule,
        "resize": keys.resize and Resize(keys.resize.filter, keys.resize.crop),
        "vae_tiling": keys.vae_tiling,
        "vae_norm": keys.vae_norm,
        "earlier_merges": _earlier_merges(file, keys),
        "boundary": keys.boundary,
        "conditioning": keys.conditioning
        and Conditioning(
            latents=keys.conditioning.latents, noise=keys.conditioning.noise, rounded=keys.conditioning.rounded
        ),
        "compiled": keys.compiled,
        "split": keys.split,
        "extra_loras": _extra_loras(file, keys),
        "text_encoding": keys.text_encoding,
        "clip_image": keys.clip_image,
        "float32_steps": keys.float32_steps,
        "vae_dtype": keys.vae_dtype,
        "eight_bit": keys.eight_bit,
    }
    return {name: value for name, value in values.items() if value is not None}


def _earlier_merges(file: CaseDocument, keys: PipelineKeys) -> tuple[EarlierMerge, ...] | None:
    if keys.earlier_loras is None:
        return None
    experts: tuple[Expert, ...] = ("high", "low") if file.model.experts is not None else ()
    merges = []
    for name in keys.earlier_loras:
        path = file.folder / name
        if not path.is_file():
            raise file.document.error(("pipeline", "earlier_loras"), f"{name} does not exist")
        named = tuple(expert for expert in experts if f"_{expert}_noise" in path.name)
        merges.append(EarlierMerge(tuple(lora_file(path, expert) for expert in named or experts or (None,)), 1.0))
    return tuple(merges)


def _scheduler(file: CaseDocument, keys: PipelineKeys) -> Scheduler | None:
    scheduler = keys.scheduler
    if scheduler is None:
        return None
    given = scheduler.model_extra or {}
    try:
        if scheduler.family == COMFYUI:
            return _comfyui_schedule(scheduler.shift, given)
        return flow_schedule(scheduler.family, scheduler.shift, **given)
    except CaseError as error:
        raise file.document.error(("pipeline", "scheduler"), str(error)) from None


def _comfyui_schedule(shift: float, given: Mapping[str, Any]) -> Scheduler:
    """A schedule by ComfyUI's names. Raises CaseError."""
    kinds: dict[str, type | tuple[type, ...]]
    kinds = {"sampler": str, "schedule": str, "denoise": (int, float), "basic": bool}
    for name in ("sampler", "schedule"):
        if name not in given:
            raise CaseError(f"family comfyui needs {name}, e.g. {{sampler: euler, schedule: simple}}")
    for name, value in given.items():
        if name not in kinds:
            raise CaseError(f"family comfyui has no setting {name}; it has {', '.join(kinds)} and shift")
        if not isinstance(value, kinds[name]) or (name == "denoise" and isinstance(value, bool)):
            raise CaseError(f"{name} cannot be {shorten(repr(value), 60)}")
    return comfyui_schedule(shift=shift, **given)


def _extra_loras(file: CaseDocument, keys: PipelineKeys) -> tuple[tuple[LoraFile, float], ...] | None:
    if keys.extra_loras is None:
        return None
    found = []
    for number, item in enumerate(keys.extra_loras):
        path = file.folder / item.path
        place = ("pipeline", "extra_loras", number)
        if not path.is_file():
            raise file.document.error(place, f"{item.path} does not exist")
        if (item.transformer is None) != (file.model.experts is None):
            right = "has one transformer: leave out `transformer`"
            if file.model.experts is not None:
                right = "has two transformers: say `transformer: high` or `low`"
            raise file.document.error(place, f"{file.model.id} {right}")
        scale = 1.0 if item.network_multiplier is None else item.network_multiplier
        found.append((lora_file(path, item.transformer), scale))
    return tuple(found)


def _quantization(file: CaseDocument, keys: PipelineKeys) -> Quantization | None:
    given = keys.quantization
    if given is None:
        return None
    adapter = None
    if given.adapter is not None:
        path = file.folder / given.adapter
        if not path.is_file():
            raise file.document.error(("pipeline", "quantization", "adapter"), f"{given.adapter} does not exist")
        adapter = recovery_adapter(path)
    quantization = Quantization(given.transformer, given.text_encoder, tuple(given.kept), adapter)
    if (reason := unsupported(quantization)) is not None:
        raise file.document.error(("pipeline", "quantization"), reason)
    return quantization


def _check_model(file: CaseDocument, keys: PipelineKeys) -> None:
    """Raises CaseError for an override that the case's model does not have."""
    has_experts = file.model.experts is not None
    for name, fits, kind in (
        ("boundary", has_experts, "Wan 2.2 14B"),
        ("conditioning", file.model.own_conditioning, "Wan 2.2 I2V and 5B"),
        ("compiled", has_experts, "Wan 2.2 14B"),
        ("split", has_experts, "Wan 2.2 14B"),
        ("clip_image", file.model.needs_control_image and not has_experts, "Wan 2.1 I2V"),
    ):
        if getattr(keys, name) is not None and not fits:
            raise file.document.error(("pipeline", name), f"is for {kind}, not for {file.model.id}")
