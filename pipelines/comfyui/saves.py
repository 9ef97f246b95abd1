"""The node that wrote a file: which one of a graph, what feeds it, how it writes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from pipelines.comfyui.api_graph import ApiGraph, GraphNode, Output
from pipelines.comfyui.nodes import SAVING
from pipelines.comfyui.settings import Save
from pipelines.errors import GraphError
from pipelines.files.words import together

_H264_CRF = 23
"""SaveVideo's, whose node has no quality (0.3.64)."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A save node and what it does."""

    node: GraphNode
    images: Output
    """The output that holds the frames."""
    save: Save
    fps: float | None
    notes: tuple[str, ...] = ()


def saving_nodes(graph: ApiGraph) -> list[GraphNode]:
    """All nodes that save what they are given; those that only show it if there are no others."""
    found = [node for kind in SAVING for node in graph.nodes.values() if node.kind == kind]
    return [node for node in found if node.kind != "PreviewImage"] or found


def saved_by(graph: ApiGraph, node: GraphNode) -> Saved:
    """Read a save node. Raises GraphError for one that changes the frames."""
    match node.kind:
        case "SaveVideo":
            return _video(graph, node)
        case "SaveAnimatedWEBP":
            quality, lossless = graph.whole(node, "quality"), bool(graph.value(node, "lossless"))
            save = Save(node=node.kind, format="webp", quality=quality, lossless=lossless)
            return Saved(node, _images(graph, node), save, graph.number(node, "fps"))
        case "SaveWEBM":
            crf, codec = graph.number(node, "crf"), graph.text(node, "codec")
            notes = [f"{node}: its crf of {crf:g} is taken as {int(crf)}"] if crf != int(crf) else []
            notes += [f"{node}: writes AV1, 10 bit"] if codec == "av1" else []
            save = Save(node=node.kind, format="webm", quality=int(crf))
            return Saved(node, _images(graph, node), save, graph.number(node, "fps"), tuple(notes))
        case "SaveAnimatedPNG":
            save = Save(node=node.kind, format="png", lossless=True)
            return Saved(node, _images(graph, node), save, graph.number(node, "fps"))
        case "VHS_VideoCombine":
            return _video_combine(graph, node)
    return Saved(node, _images(graph, node), Save(node=node.kind, format="png", lossless=True), None)


def _video(graph: ApiGraph, node: GraphNode) -> Saved:
    video = graph.required(node, "video", "VIDEO").node  # of the nodes that are understood only CreateVideo gives one
    asked = graph.text(node, "format")
    save = Save(node=node.kind, format="mp4", quality=_H264_CRF)
    if asked in ("webm", "mkv"):  # 0.38.1; with what quality is not known
        save = Save(node=node.kind, format="webm" if asked == "webm" else "mkv")
    return Saved(node, _images(graph, video), save, graph.number(video, "fps"))


def _video_combine(graph: ApiGraph, node: GraphNode) -> Saved:
    if graph.value(node, "pingpong"):
        raise graph.error(f"{node}: pingpong is not supported yet: its video runs forwards and then backwards")
    asked = graph.text(node, "format")
    fps, images = graph.number(node, "frame_rate"), _images(graph, node)
    container = asked.rpartition("/")[2]
    if container in ("gif", "webp"):
        save = Save(node=node.kind, format="gif" if container == "gif" else "webp", truncates=False)
    elif container.endswith(("mp4", "webm")):
        known = asked == "video/h264-mp4" or node.inputs.get("crf") is not None  # the default of others is not known
        quality = graph.whole(node, "crf") if known else None
        kind: Literal["mp4", "webm"] = "mp4" if container.endswith("mp4") else "webm"
        save = Save(node=node.kind, format=kind, quality=quality, truncates=False)
    else:
        raise graph.error(f"{node}: format {asked[:40]!r} is not supported yet; mp4, webm, webp and gif are")
    return Saved(node, images, save, fps)


def _images(graph: ApiGraph, node: GraphNode) -> Output:
    return graph.required(node, "images", "IMAGE")


def candidates(graph: ApiGraph, filename: str | None) -> list[GraphNode]:
    """The save nodes that may have written a file: those whose prefix and format fit its name, or else all.

    Of several that save the same frames only the first is given. Raises GraphError if there are none.
    """
    nodes = saving_nodes(graph)
    if not nodes:
        raise graph.error(f"has no node that is known to save a video or an image; known are {together(list(SAVING))}")
    if filename is not None:
        name = PurePosixPath(filename.replace("\\", "/"))
        nodes = _fitting(nodes, [_prefix_fits(graph, node, name.name) for node in nodes])
        nodes = _fitting(nodes, [name.suffix.lower() in _suffixes(graph, node) for node in nodes])
    return list({_frames(graph, node): node for node in reversed(nodes)}.values())[::-1]


_SUFFIXES = {
    "SaveVideo": (".mp4", ".mov"),
    "SaveAnimatedWEBP": (".webp",),
    "SaveWEBM": (".webm",),
    "SaveAnimatedPNG": (".png", ".apng"),
    "VHS_VideoCombine": (".mp4", ".webm", ".mkv", ".mov", ".webp", ".gif", ".png"),
    "SaveImage": (".png", ""),
    "PreviewImage": (".png", ""),
}


def _suffixes(graph: ApiGraph, node: GraphNode) -> tuple[str, ...]:
    asked = graph.text(node, "format") if node.kind == "SaveVideo" else ""
    return (f".{asked}",) if asked in ("webm", "mkv") else _SUFFIXES[node.kind]


def _fitting(nodes: list[GraphNode], fits: Sequence[bool]) -> list[GraphNode]:
    return [node for node, fit in zip(nodes, fits, strict=True) if fit] or nodes


def _prefix_fits(graph: ApiGraph, node: GraphNode, name: str) -> bool:
    """Whether a file could have been named by this node: prefix, then a number; `%date:…%` may stand for anything."""
    if node.kind == "PreviewImage":
        return name.startswith("ComfyUI_temp_")
    prefix = graph.text(node, "filename_prefix").replace("\\", "/").rpartition("/")[2]
    parts = re.split(r"%[^%]*%", prefix[:200])
    return re.fullmatch(".*".join(map(re.escape, parts)) + r"_\d+.*", name[:300], re.DOTALL) is not None


def _frames(graph: ApiGraph, node: GraphNode) -> str:
    """The id of the node that gives the frames, behind CreateVideo; of the save node if that cannot be told."""
    try:
        at = graph.source(node, "video" if node.kind == "SaveVideo" else "images")
        if at is not None and at.node.kind == "CreateVideo":
            at = graph.source(at.node, "images")
    except GraphError:
        return node.id
    return "" if at is None else at.node.id
