"""The LoRA files of a graph: where they are on this machine, and what ComfyUI makes of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath

from pipelines.comfyui.lora_layouts import what_else_does_not_load, why_nothing_loads
from pipelines.errors import UnreproducibleError
from pipelines.files.content import present
from pipelines.files.shown import shown
from pipelines.files.words import shorten
from pipelines.lora_files import lora_file, read_header, why_not_applied
from pipelines.recipe import MISSING, Expert, LoraFile

_MOST_FILES = 20_000
"""The most files that are looked through below a models folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLora:
    """What a LoRA loader of a graph loads."""

    file: LoraFile | None
    """None: ComfyUI loads nothing of it."""
    obstacle: str | None = None
    """Why it cannot be generated with it here."""
    notes: tuple[str, ...] = ()


def base_name(name: str) -> str:
    """The file's own name in a graph's path, which may be one of Windows."""
    return PurePosixPath(name.replace("\\", "/")).name


def find_lora(
    name: str, expert: Expert | None, *, models: Path | None, folders: Sequence[Path], known: Sequence[LoraFile]
) -> FoundLora:
    """The file behind a LoRA's name in a graph.

    Looked for below `models`/loras, by its path and then by its file name; in `folders`; and among `known`, the job's
    own files. Of several places the first counts: ComfyUI's own folder holds what it loaded. Raises WeightsError for a
    file that cannot be read.
    """
    path = _find(name, models, folders) or next(
        (file.path for file in known if file.path.name == base_name(name)), None
    )
    if path is None:
        missing = LoraFile(path=Path(shown(base_name(name) or name, 200)), sha256=f"{MISSING}{name}", expert=expert)
        where = "name ComfyUI's models folder as pipeline.models, or copy the file into the job's folder"
        return FoundLora(file=missing, obstacle=f"the LoRA {shorten(name, 120)} is not on this machine; {where}")
    notes = [note] if (note := _of_the_other_expert(path.name, expert)) is not None else []
    keys = read_header(path).shapes
    if (reason := why_nothing_loads(keys)) is not None:
        return FoundLora(file=None, notes=(*notes, f"ComfyUI loads nothing of {path.name}: {reason}"))
    if models is not None and not path.is_relative_to(models):
        notes.append(f"{path.name} is not below {models / 'loras'}; taken is the one in {path.parent}")
    try:
        file = lora_file(path, expert)
    except UnreproducibleError as error:
        unread = LoraFile(path=path, sha256=f"{MISSING}{name}", expert=expert)
        return FoundLora(file=unread, obstacle=str(error), notes=tuple(notes))
    if (rest := what_else_does_not_load(keys)) is not None:
        notes.append(f"{path.name}: {rest}; here all that fit are applied")
    return FoundLora(file=file, obstacle=why_not_applied(path, "merged", expert), notes=tuple(notes))


def _of_the_other_expert(name: str, expert: Expert | None) -> str | None:
    other = noise_of(name)
    if None in (expert, other) or other == expert:
        return None
    return f"{name} is loaded into the {expert}-noise expert, but its name says {other} noise; ComfyUI loads it anyway"


def noise_of(name: str) -> str | None:
    """The expert that a file's name says, high or low; None: neither, or both."""
    found = set(re.findall(r"(?<![a-z])(high|low)(?![a-z])", name.lower()))
    return found.pop() if len(found) == 1 else None


def places_below(folder: Path, name: str) -> list[Path]:
    """Where a folder may hold what a graph names: by its path, unless that leads out of the folder, and by its name."""
    parts, bare = PurePosixPath(name.replace("\\", "/")).parts, base_name(name)
    inside = not any(part in ("..", "/") or ":" in part for part in parts)  # a graph may name any place
    return [*([folder.joinpath(*parts)] if inside else []), folder / bare] if bare else []


def _find(name: str, models: Path | None, folders: Sequence[Path]) -> Path | None:
    below_models: Iterator[Path] = iter(())
    if models is not None and base_name(name):
        loras = models / "loras"
        same_name = (path for path in _files_below(loras) if path.name == base_name(name))
        below_models = chain(places_below(loras, name), same_name)
    places = chain(below_models, *(places_below(folder, name) for folder in folders))
    return next((place for place in places if _is_file(place)), None)


def _is_file(path: Path) -> bool:
    return present(path) and path.is_file()


def _files_below(folder: Path) -> Iterator[Path]:
    for number, path in enumerate(folder.rglob("*")):
        if number >= _MOST_FILES:
            return
        if path.suffix == ".safetensors" and path.is_file():
            yield path
