"""The recipes of a request in the server's profile, from the same functions as for cases, so with the same bits."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from parity.server.settings import Settings
from pipelines.aitoolkit.graph import trainer_graph
from pipelines.aitoolkit.job import read_job
from pipelines.aitoolkit.job_folder import all_lora_files, toolkit_version
from pipelines.aitoolkit.preview import assumed_recipe
from pipelines.catalog import Model
from pipelines.graph import Graph
from pipelines.recipe import Codec, Recipe
from pipelines.reference.inference import inference_recipe, reference_graph
from pipelines.reference.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPlan:
    """The recipes of a request, and the job they come from."""

    recipes: tuple[Recipe, ...]
    """One recipe per prompt."""
    config: str | None = None
    """The job config that the graph comes from, as a path in the LoRA root; None if no job was found."""
    toolkit: str | None = None
    """The ai-toolkit version in the LoRA's metadata."""


def plan(request: Request, model: Model, settings: Settings, token: str | None) -> RequestPlan:
    """Make the recipes of a request whose LoRA paths are absolute, without links, and whose images are data URLs.

    With `faithful`, the request's values go into the graph of the job beside the LoRA, or, without a job, into the
    trainer's usual graph.
    Raises CaseError, WeightsError, MediaError and UnreproducibleError.
    """
    if settings.profile == "reference":
        return RequestPlan(recipes=_recipes(request, _reference(model, settings, token), model, settings))
    loras = [Path(lora.path) for lora in request.loras]
    config = loras[0].parent / "config.yaml"  # ai-toolkit writes it into the job's output folder, beside the LoRAs
    if not config.is_file() or not config.resolve().is_relative_to(settings.lora_root):
        recipes = _recipes(request, _reference(model, settings, token), model, settings)
        return RequestPlan(recipes=tuple(assumed_recipe(recipe) for recipe in recipes))
    job, toolkit = read_job(config), toolkit_version(loras[0])
    graph, obstacles, notes = trainer_graph(
        job, model=model, checkpoint=settings.checkpoints.get(model.id), toolkit=toolkit
    )
    known = all_lora_files(job)
    notes += tuple(
        f"{lora.name} does not follow the file names of job {job.name}; treated as one of its LoRAs"
        for lora in loras
        if lora not in known
    )
    # A single frame is an image to the trainer, in the format of its config; the API answers with WebP.
    graph = dataclasses.replace(graph, codec=Codec("webp", 80))
    recipes = _recipes(request, graph, model, settings)
    return RequestPlan(
        recipes=tuple(
            dataclasses.replace(recipe, obstacles=(*obstacles, *recipe.obstacles), notes=(*notes, *recipe.notes))
            for recipe in recipes
        ),
        config=str(config.relative_to(settings.lora_root)),
        toolkit=toolkit,
    )


def _reference(model: Model, settings: Settings, token: str | None) -> Graph:
    return reference_graph(model, settings.checkpoints.get(model.id), token=token)


def _recipes(request: Request, graph: Graph, model: Model, settings: Settings) -> tuple[Recipe, ...]:
    return tuple(
        inference_recipe(request, index, graph, model=model, folder=settings.lora_root)
        for index in range(len(request.prompts))
    )
