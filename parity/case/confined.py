"""What a case of a stranger must not name, checked before and after its files are read (`$WAN_PARITY_CONFINED`).

Weights are checked where they are found (`pipelines/hub.py`), images where they are read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from parity.case.document import CaseDocument
from pipelines.errors import CaseError
from pipelines.files.confined import confinement, why_not_asked, why_outside
from pipelines.files.shown import shown
from pipelines.hub import is_folder
from pipelines.recipe import Recipe

_TEXTS = frozenset(("prompt", "neg", "trigger_word", "unpairable", "hf_token", "tags", "id", "ctrl_img"))
"""Keys whose values name no file, or, as `ctrl_img`, only if it is there: `pipelines/media/control_image.py` looks."""


def check_names(file: CaseDocument) -> None:
    """Refuse a case file that names a file outside the folders, or a server. Raises CaseError; reads nothing."""
    if confinement() is None:
        return
    if file.target is not None and "--target" not in file.target.arguments:
        raise file.document.error(("target",), f"{shown(file.target.url, 200)} {why_not_asked()}; pass --target")
    for path, text in _texts(file.keys.model_dump(), ()):
        place = file.folder / text
        for each in (place, *(_linked(place) if path[-1] in ("video", "output") else ())):
            reason = why_outside(each)
            if reason is not None:
                raise file.document.error(path, f"{shown(text if each == place else each, 200)} {reason}")


def _linked(folder: Path) -> list[Path]:
    """The links in a folder of frames."""
    return [path for path in folder.iterdir() if path.is_symlink()] if is_folder(str(folder)) else []


def check_recipe(file: CaseDocument, recipe: Recipe) -> None:
    """Refuse a recipe of a case with a file outside the folders. Raises CaseError."""
    if confinement() is None:
        return
    for path in _paths(recipe):
        reason = why_outside(path)
        if reason is not None:
            raise CaseError(f"{file.document.path}: {shown(path, 200)} {reason}")


def _texts(value: Any, keys: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """All texts of a case file that may name a file, with their keys."""
    if isinstance(value, str):
        yield keys, value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            if name not in _TEXTS:
                yield from _texts(each, (*keys, name))
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from _texts(each, (*keys, number))


def _paths(value: Any) -> Iterator[Path]:
    """All paths in a recipe."""
    if isinstance(value, Path):
        yield value
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _paths(getattr(value, field.name))
    elif isinstance(value, tuple):
        for each in value:
            yield from _paths(each)
