"""Cases with a ComfyUI graph: which file holds it, and the recipe of what it asks for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from parity.case.document import CaseDocument
from parity.case.keys import PipelineKeys
from pipelines.aitoolkit.job import Job
from pipelines.comfyui.graph import read_graph
from pipelines.comfyui.metadata import FoundGraph, find_graph
from pipelines.comfyui.recipe import Files, comfyui_graph, comfyui_recipe, unknown_of
from pipelines.comfyui.settings import Settings
from pipelines.errors import CaseError, GraphError, MediaError
from pipelines.files.content import present, real_path
from pipelines.files.document import Document
from pipelines.graph import Graph
from pipelines.recipe import Precision, Recipe
from pipelines.weights import Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseGraph:
    """What is known of a video made elsewhere, or of the graph that a case generates."""

    found: FoundGraph | None
    """The file that was looked into; None: there is none to look into."""
    settings: Settings | None
    """None: there is no graph, or none that is understood, or `pipeline` says what to expect instead."""
    why_not: str | None = None
    """Why a graph that was found is not used."""

    @property
    def unknown(self) -> tuple[str, ...]:
        """What decides pixels and is not said by the file, one sentence each."""
        if self.settings is not None:
            return unknown_of(self.settings)
        reason = self.why_not or (None if self.found is None else f"{self.found.origin}.")
        if reason is None:
            return ()
        return (f"Every setting but size, frame count and frame rate, which the file shows: {reason}",)


def with_graph(document: Document, video: Path) -> Document:
    """A case with another video as its output, or with a graph from a JSON file, whatever else it says.

    Where the video holds a graph, that is what was asked for: the case's own request, and a pipeline that is not
    comfyui, are left out.
    """
    data = dict(document.data) if isinstance(document.data, Mapping) else {}
    for name in ("output", "target"):
        data.pop(name, None)
    is_graph = video.suffix.lower() == ".json"
    if not is_graph:
        data["output"] = str(video.absolute())
    if is_graph or find_graph(video).graph is not None:
        data.pop("request", None)
        given = data.get("pipeline")
        keys = dict(given) if isinstance(given, Mapping) and given.get("base") == "comfyui" else {}
        keys.pop("graph", None)
        data["pipeline"] = {**keys, "base": "comfyui"} | ({"graph": str(video.absolute())} if is_graph else {})
    return dataclasses.replace(document, data=data)


def pipeline_keys(file: CaseDocument) -> PipelineKeys:
    """The case's `pipeline` as a mapping.

    Of a video made elsewhere nothing is expected that the case does not state: where a config says what the trainer
    does, that is where a search begins.
    """
    pipeline = file.keys.pipeline
    keys = PipelineKeys(base=pipeline) if isinstance(pipeline, str) else pipeline
    if file.keys.output is not None and file.keys.preview.config is not None and not states_base(file):
        return keys.model_copy(update={"base": "faithful"})
    return keys


def states_base(file: CaseDocument) -> bool:
    """True if the case itself says which profile it is about."""
    pipeline = file.keys.pipeline
    if isinstance(pipeline, str):
        return "pipeline" in file.keys.model_fields_set
    return "base" in pipeline.model_fields_set


def output_of(file: CaseDocument) -> Path | None:
    """The video made elsewhere. Raises CaseError if it does not exist, or a server is asked too."""
    name = file.keys.output
    if name is None:
        return None
    path = file.folder / name
    if not name or not present(path):
        raise file.document.error(("output",), f"{name} does not exist")
    if path.suffix.lower() == ".json":
        graph = "is a graph, not a video; write it as `pipeline: {base: comfyui, graph: …}`"
        raise file.document.error(("output",), graph)
    if file.target is not None:
        raise file.document.error(("output",), "is a video that was made already, and `target` a server to make one")
    return path


def read_case_graph(file: CaseDocument, output: Path | None) -> CaseGraph:
    """The graph of a case: of `pipeline.graph`, or of its output unless `pipeline` says reference or faithful.

    Raises CaseError if `pipeline` asks for a graph and there is none, or none that is supported.
    """
    keys = pipeline_keys(file)
    stated = states_base(file)
    asked = stated and keys.base == "comfyui"
    if (keys.graph is not None or keys.models is not None) and stated and not asked:
        name = "graph" if keys.graph is not None else "models"
        raise file.document.error(("pipeline", name), f"is for comfyui, and `base` is {keys.base}")
    path = file.folder / keys.graph if keys.graph is not None else output
    if keys.graph is not None and not present(file.folder / keys.graph):
        raise file.document.error(("pipeline", "graph"), f"{keys.graph} does not exist")
    if path is None:
        if asked:
            raise file.document.error(
                ("pipeline",), "comfyui reads a graph: name a video it made as `output`, or a graph as pipeline.graph"
            )
        return CaseGraph(found=None, settings=None)
    if asked and file.target is not None:
        raise file.document.error(("pipeline",), "comfyui says what ComfyUI makes, and `target` is a server of the API")
    if stated and not asked:
        return _not_read(path, keys.base)
    try:
        found = find_graph(path)
    except MediaError as error:
        if asked or keys.graph is not None:
            raise
        return CaseGraph(found=None, settings=None, why_not=f"{error}.")  # its pixels may be whole; a run says if not
    where = ("pipeline", "graph") if keys.graph is not None else ("output",)
    if found.graph is None:
        if asked or keys.graph is not None:
            raise file.document.error(
                where, f"{found.origin}; name a graph (a video, or the workflow saved as JSON) as pipeline.graph"
            )
        return CaseGraph(found=found, settings=None)
    video = output or path
    named = None if video.suffix.lower() == ".json" else video.name
    try:
        settings = read_graph(found.graph, filename=named, where=found.origin)
    except GraphError as error:
        if asked or keys.graph is not None:
            raise file.document.error(where, str(error)) from None
        return CaseGraph(found=found, settings=None, why_not=f"its graph cannot be read: {error}.")
    return CaseGraph(found=found, settings=settings)


def _not_read(path: Path, base: str) -> CaseGraph:
    """What is said of a graph that the case does not want; metadata that cannot be read are no hindrance then."""
    try:
        found = find_graph(path)
    except MediaError as error:
        return CaseGraph(found=None, settings=None, why_not=f"{error}.")
    why_not = f"`pipeline` says {base}, so its graph is not read." if found.graph is not None else None
    return CaseGraph(found=found, settings=None, why_not=why_not)


def precision_of(keys: PipelineKeys) -> Precision | None:
    """The precision that the case states."""
    given = keys.precision
    return None if given is None else Precision(given.dtype, given.fp32_modules)


def graph_of_settings(file: CaseDocument, settings: Settings, preview: Recipe | None, checkpoint: str | None) -> Graph:
    """The graph behind ComfyUI's settings: weights and boundary are the preview's, if there is a config.

    Raises CaseError for what is not supported yet.
    """
    model = file.model
    own = Weights(checkpoint or model.base_checkpoint)
    boundary = None if model.experts is None else model.experts.boundary
    try:
        return comfyui_graph(
            settings,
            model=model,
            weights=own if preview is None else preview.weights,
            boundary=boundary if preview is None else preview.boundary,
            precision=precision_of(pipeline_keys(file)),
        )
    except GraphError as error:
        raise file.document.error(("pipeline",), str(error)) from None


def recipe_of_settings(
    file: CaseDocument, made: CaseGraph, graph: Graph, preview: Recipe | None, job: Job | None
) -> Recipe:
    """The recipe of a graph, with the files that it names looked for on this machine. Raises CaseError."""
    settings = made.settings
    assert settings is not None
    models = _models(file, made)
    folders = [*([job.folder] if job is not None else []), file.folder]
    files = Files(
        models=models,
        folders=tuple(dict.fromkeys(folders)),
        loras=() if preview is None else preview.lora_files,
        image=None if preview is None else preview.control_image,
    )
    try:
        return comfyui_recipe(
            settings, graph, model=file.model, files=files, fps=16 if preview is None else preview.fps
        )
    except CaseError as error:
        raise file.document.error(("pipeline",), str(error)) from None


def _models(file: CaseDocument, made: CaseGraph) -> Path | None:
    """ComfyUI's models folder: the case's, or the one of the ComfyUI whose output folder holds the video."""
    given = pipeline_keys(file).models
    if given is not None:
        models = real_path(file.folder / given)
        if not models.is_dir():
            raise file.document.error(("pipeline", "models"), f"folder not found: {given}")
        return models
    path = None if made.found is None else made.found.path
    for parent in () if path is None else (*path.absolute().parents, *real_path(path).parents):
        if parent.name == "output" and (parent.parent / "models" / "loras").is_dir():
            return parent.parent / "models"
    return None
