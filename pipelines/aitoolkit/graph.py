"""The graph that repeats a job's previews."""

from __future__ import annotations

from pipelines.aitoolkit.job import Job
from pipelines.aitoolkit.preview import job_obstacles, preview_recipe
from pipelines.aitoolkit.rules import trainer_frame_rule
from pipelines.catalog import Model
from pipelines.graph import Graph
from pipelines.recipe import Recipe, Resize


def faithful_graph(preview: Recipe, job: Job, model: Model) -> Graph:
    """The graph that repeats a preview: the trainer's wherever server and trainer differ in kind."""
    return Graph(
        checkpoint=preview.checkpoint,
        text_encoder=preview.text_encoder,
        scheduler=preview.scheduler,
        lora_application=preview.lora_application,
        precision=preview.precision,
        frame_rule=trainer_frame_rule(job, model),
        resize=preview.resize or Resize("lanczos", "stretch"),
        vae_tiling=preview.vae_tiling,
        quantization=preview.quantization,
        codec=preview.codec,
        boundary=preview.boundary,
        conditioning=preview.conditioning,
        transformers=preview.transformers,
        vae=preview.vae,
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
    obstacles = job_obstacles(job, model)
    return faithful_graph(unlisted, job, model), tuple(obstacles), unlisted.notes
