"""The graph a case is served with: a profile, with the overrides of the case's `pipeline`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from parity.case.document import CaseDocument
from parity.case.keys import PipelineKeys
from pipelines.aitoolkit.graph import faithful_graph
from pipelines.aitoolkit.job import Job
from pipelines.aitoolkit.job_folder import parse_video_name
from pipelines.aitoolkit.preview import origin_of
from pipelines.aitoolkit.quantization import recovery_adapter
from pipelines.errors import CaseError
from pipelines.graph import Graph
from pipelines.lora_files import lora_file
from pipelines.quantization import Quantization, unsupported
from pipelines.recipe import Conditioning, EarlierMerge, Expert, Precision, Recipe, Resize
from pipelines.reference.inference import reference_graph
from pipelines.scheduler import Scheduler, flow_schedule


def graph_of_case(file: CaseDocument, preview: Recipe | None, job: Job | None, checkpoint: str | None) -> Graph:
    """The graph that `pipeline` asks for.

    `checkpoint`: a folder or Hub id used instead of the model's own. Raises CaseError and WeightsError.
    """
    pipeline = file.keys.pipeline
    keys = PipelineKeys(base=pipeline) if isinstance(pipeline, str) else pipeline
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
        "precision": keys.precision and Precision(keys.precision.dtype, keys.precision.fp32_modules),
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
    try:
        return flow_schedule(scheduler.family, scheduler.shift, **scheduler.model_extra or {})
    except CaseError as error:
        raise file.document.error(("pipeline", "scheduler"), str(error)) from None


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
    ):
        if getattr(keys, name) is not None and not fits:
            raise file.document.error(("pipeline", name), f"is for {kind}, not for {file.model.id}")
