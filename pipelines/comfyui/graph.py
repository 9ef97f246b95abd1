"""ComfyUI's graphs into `Settings`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain

from pipelines.comfyui.api_graph import ApiGraph, names_of
from pipelines.comfyui.nodes import NODES
from pipelines.comfyui.saves import candidates
from pipelines.comfyui.settings import Settings
from pipelines.comfyui.walk import Walk
from pipelines.comfyui.workflow import flatten, is_workflow
from pipelines.errors import GraphError
from pipelines.files.strict_json import loads
from pipelines.files.words import listed

MAX_BYTES = 16 << 20
"""The largest graph; that of the largest official Wan template has 0.2 MiB."""


def read_graph(source: str | Mapping[str, object], *, filename: str | None = None, where: str = "graph") -> Settings:
    """Read what a graph asks for: an API graph, or a workflow as the browser saves it; as JSON or parsed.

    `filename`: the name of the video it is about, which decides where a graph saves several; `where`: what messages
    begin with. Raises GraphError, one message, for a damaged graph and for nodes that are not supported yet.
    """
    graph = _graph(_parsed(source, where), where)
    nodes = candidates(graph, filename)
    needed = [graph.needed(node) for node in nodes]
    unsupported = [[node for node in entry if node.kind not in NODES] for entry in needed]
    if all(unsupported):
        raise graph.error(
            f"nodes that are not supported yet: {names_of([*chain(*unsupported)])}. Understood are ComfyUI's own nodes "
            "for Wan 2.1 and 2.2 14B, text to video and image to video; parity compare works with any two videos"
        )
    if len(nodes) > 1:
        named = f", and the file name {filename[:100]!r} does not say which" if filename is not None else ""
        raise graph.error(
            f"saves several videos{named}: {names_of(nodes)}; "
            "give the file one of them wrote, under its own name, or a graph with one of them"
        )
    linked, others = (graph.unknown_inputs(needed[0], linked=linked) for linked in (True, False))
    if linked:
        raise graph.error(f"inputs that are not supported yet: {listed(linked, 10)}")
    read = Walk(graph).settings(nodes[0])
    return replace(read, notes=(*read.notes, *(f"{entry}: not known here, not looked at" for entry in others[:10])))


def _graph(data: Mapping[str, object], where: str) -> ApiGraph:
    if not is_workflow(data):
        return ApiGraph.of(data, where)
    flat = flatten(data, where)
    return ApiGraph.of(flat.nodes, where, flat.controls)


def _parsed(source: str | Mapping[str, object], where: str) -> Mapping[str, object]:
    data: object = source
    if isinstance(source, str):
        if len(source) > MAX_BYTES:
            raise GraphError(f"{where}: has {len(source) >> 20} MiB of JSON, more than {MAX_BYTES >> 20}")
        try:
            data = loads(source, constants=True)  # an is_changed of NaN is usual, and beside the point
        except ValueError as error:
            raise GraphError(f"{where}: is no readable JSON: {error}") from None
    posted = data.get("prompt") if isinstance(data, Mapping) else None
    if isinstance(posted, Mapping) and "class_type" not in posted:
        return posted  # as it is sent to ComfyUI
    if not isinstance(data, Mapping):
        raise GraphError(f"{where}: is no ComfyUI graph: JSON, but not an object of nodes")
    return data
