"""The graph that reproduces a job's previews."""

from __future__ import annotations

import dataclasses

from pipelines.aitoolkit.job import Job
from pipelines.aitoolkit.preview import origin_of, preview_recipe
from pipelines.aitoolkit.remarks import job_obstacles
from pipelines.aitoolkit.rules import trainer_conditioning, trainer_frame_rule
from pipelines.aitoolkit.versions import Origin
from pipelines.catalog import Model
from pipelines.graph import Graph, graph_of
from pipelines.recipe import Recipe


def faithful_graph(preview: Recipe, job: Job, model: Model, origin: Origin) -> Graph:
    """The graph that reproduces a preview: the trainer's wherever server and trainer differ in kind.

    It has the conditioning of a video with a control image, also if this preview has none: a request may have one.
    """
    graph = graph_of(preview, trainer_frame_rule(job, model, origin), "trainer")
    return dataclasses.replace(graph, conditioning=trainer_conditioning(model, job.device))


def trainer_graph(
    job: Job, *, model: Model, checkpoint: str | None, toolkit: str | None
) -> tuple[Graph, tuple[str, ...], tuple[str, ...]]:
    """The graph of a job's previews whatever the prompt, what of them cannot be reproduced, and what was assumed.

    `checkpoint`, `toolkit`: as for `preview_recipe`. Raises CaseError as it does.
    """
    unlisted = preview_recipe(
        job, len(job.samples), model=model, checkpoint=checkpoint, toolkit=toolkit, unpairable="a prompt of no preview"
    )
    graph = faithful_graph(unlisted, job, model, origin_of(toolkit, None))
    return graph, tuple(job_obstacles(job, model)), unlisted.notes
