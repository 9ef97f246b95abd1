"""The ComfyUI graph that a file holds, where in it, or what the file has instead.

Which node writes what: ComfyUI 0.3.64 and ComfyUI-VideoHelperSuite 4ee72c06 (2026-05-13; read, not run).
SaveVideo: mp4 keys `prompt`, `workflow`. SaveWEBM: tags `PROMPT`, `WORKFLOW`. SaveAnimatedWEBP: EXIF 0x0110
`prompt:…`, 0x010f `workflow:…`. SaveAnimatedPNG: chunks `comf` after the pixels. SaveImage: PNG texts.
VHS_VideoCombine: as SaveVideo; nothing in WebP and GIF, but a PNG of the first frame under the same name.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import CaseError, MediaError
from pipelines.files import strict_json
from pipelines.files.content import read_text
from pipelines.files.shown import shown
from pipelines.files.words import cannot_read, listed, shorten
from pipelines.media.bounded import MAX_VALUE, Tag
from pipelines.media.tags import read_tags
from pipelines.media.video import png_frames

_PROGRAMS = {
    "parameters": "AUTOMATIC1111's web UI, or a program that writes the same `parameters`",
    "sui_image_params": "SwarmUI",
    "invokeai_metadata": "InvokeAI",
    "fooocus_scheme": "Fooocus",
    "dream": "InvokeAI",
}
"""Keys that other programs write their settings under."""

_QUIET = ("encoder", "duration", "major_brand", "minor_version", "compatible_brands", "©too")
"""Keys of every encoder, which say nothing about a program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundGraph:
    """The graph in a file. Both texts are as the file holds them: nobody has parsed them yet."""

    path: Path
    """The file that holds it: the one asked for, or of a folder its first frame, or a PNG beside it."""
    where: str | None = None
    """Where in it, e.g. `mp4 key prompt`; None: there is no graph."""
    prompt: str | None = None
    """The API graph, which is what ran."""
    workflow: str | None = None
    """The graph for the browser."""
    made_by: str | None = None
    """The program that the metadata name; None: they name none."""
    others: tuple[str, ...] = ()
    """Names of the other texts in the file."""

    @property
    def graph(self) -> str | None:
        """The text to read: the API graph, which is what ran, or else that for the browser."""
        return self.prompt or self.workflow

    @property
    def origin(self) -> str:
        """Where the graph was found, or what the file has instead, as a part of a sentence."""
        if self.where is not None:
            return f"{self.path.name}: {self.where}"
        if self.made_by is not None:
            return f"{self.path.name} holds no ComfyUI graph, but settings of {self.made_by}"
        if self.others:
            return f"{self.path.name} holds no ComfyUI graph; its metadata are {listed(self.others, 5)}"
        return f"{self.path.name} holds no metadata: saved without, or removed by a program or site that re-encoded it"


def find_graph(path: Path) -> FoundGraph:
    """Look for the graph in a video, an image, a folder of PNG frames, or a JSON file.

    A file without a graph is no error. Raises MediaError for a file that cannot be read or whose metadata are damaged
    or too large, CaseError for a JSON file that is no graph.
    """
    if path.is_dir():
        first = png_frames(path)[0]
        return _in_tags(first, read_tags(first))
    if path.suffix.lower() == ".json":
        return _in_json(path)
    found = _in_tags(path, read_tags(path))
    beside = path.with_suffix(".png")
    if found.graph is None and path.suffix.lower() in (".webp", ".gif") and beside.is_file():
        other = _in_tags(beside, read_tags(beside))  # VHS_VideoCombine
        return other if other.graph is not None else found
    return found


def _in_tags(path: Path, tags: Sequence[Tag]) -> FoundGraph:
    graphs: dict[str, Tag] = {}
    others: dict[str, None] = {}
    for tag in tags:
        key = tag.key.lower()
        if key in ("prompt", "workflow") and tag.text.lstrip().startswith("{"):
            graphs.setdefault(key, tag)
        elif key not in _QUIET:
            others[shown(tag.key)] = None
    used = graphs.get("prompt") or graphs.get("workflow")
    program = next((name for key, name in _PROGRAMS.items() if key in (other.lower() for other in others)), None)
    return FoundGraph(
        path=path,
        where=used.place if used is not None else None,
        prompt=graphs["prompt"].text if "prompt" in graphs else None,
        workflow=graphs["workflow"].text if "workflow" in graphs else None,
        made_by="ComfyUI" if used is not None else program,
        others=tuple(others),
    )


def _in_json(path: Path) -> FoundGraph:
    """A file of either form, or what `POST /prompt` is sent: the API graph under `prompt`."""
    try:
        text = read_text(path, MAX_VALUE)
        data = strict_json.loads(text, constants=True)  # ComfyUI itself writes NaN into `is_changed`
    except (OSError, UnicodeDecodeError) as error:
        raise MediaError(cannot_read(path, error)) from None
    except ValueError as error:
        raise CaseError(
            f"{path}: is not JSON ({shorten(str(error), 120)}); save the workflow in ComfyUI again"
        ) from None
    if isinstance(data, dict) and isinstance(data.get("nodes"), list):
        return FoundGraph(path=path, where="workflow file", workflow=text, made_by="ComfyUI")
    if isinstance(data, dict) and isinstance(data.get("prompt"), dict):
        return FoundGraph(path=path, where="prompt in it", prompt=json.dumps(data["prompt"]), made_by="ComfyUI")
    if isinstance(data, dict) and any(isinstance(node, dict) and "class_type" in node for node in data.values()):
        return FoundGraph(path=path, where="API graph", prompt=text, made_by="ComfyUI")
    raise CaseError(f"{path}: is no ComfyUI graph: neither `nodes`, as Save writes them, nor nodes with a `class_type`")
