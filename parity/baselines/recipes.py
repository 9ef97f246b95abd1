"""A stored recipe compared with another: which of its factors changed, and from what to what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from parity.results.json_text import adapter
from pipelines.drift import FACTORS, LORA_FACTORS, SCHEDULE_PARTS, Factor, differing_factors
from pipelines.recipe import RECIPE_DEFAULTS, RECIPE_KEYS, Recipe, keys_of
from pipelines.weights import WEIGHT_KEYS

_NOT_CONTENT = ("path", "source")
"""Fields with a file's place, which is not compared: its sha256 is."""

_PATHS = (*WEIGHT_KEYS, *_NOT_CONTENT)
"""Fields that can hold a local path. A Hub id is kept."""

_TELLS: dict[str, tuple[Factor, ...]] = {"scheduler": SCHEDULE_PARTS, **dict.fromkeys(LORA_FACTORS, ("extra_loras",))}
"""Factors that tell the changes of others too, which have no field of their own."""

_SHOWN = 40
"""Characters shown of a long text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeChanges:
    """The differences between a recipe and the baseline's."""

    reaching: tuple[str, ...]
    """Changes that can reach the video: `lora_scale 1.0 -> 0.98`."""
    harmless: tuple[str, ...]
    """Changes without effect on the video: a requested size that is rounded to the same one."""


def without_paths(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe of results.json with the names of local files and folders in place of their paths."""
    return {name: _without_paths(name, value) for name, value in recipe.items()}


def _without_paths(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return without_paths(value)
    if isinstance(value, list | tuple):
        return [_without_paths(name, item) for item in value]
    if name in _PATHS and isinstance(value, str):
        if "://" in value:  # an image's URL: its query may be a signature, which must not be published
            return PurePosixPath(urlsplit(value).path).name
        for kind in (PurePosixPath, PureWindowsPath):
            if kind(value).is_absolute():
                return kind(value).name or value
    return value


def compare_recipes(before: Mapping[str, Any], after: Mapping[str, Any]) -> RecipeChanges:
    """Compare two recipes given as dictionaries without paths.

    A field missing from one of them has its default, if it has one: that recipe was written before there was such a
    field. Otherwise it counts as null.
    """
    before, after = RECIPE_DEFAULTS | dict(before), RECIPE_DEFAULTS | dict(after)
    factors = _differing(before, after)
    reaching: list[str] = []
    harmless: list[str] = []
    of_factors: dict[str, Sequence[str]] = {
        factor: [key for name in names for key in keys_of(name)]
        for factor, names in FACTORS.items()
        if not any(factor in others for others in _TELLS.values())
    }
    grouped = {key for keys in of_factors.values() for key in keys}
    groups: dict[str, Sequence[str]] = {
        "pipeline": ("pipeline",),
        **of_factors,
        **{name: (name,) for name in dict.fromkeys((*before, *after)) if name not in grouped and name != "pipeline"},
    }
    for factor, names in groups.items():
        found: list[str] = []
        for name in names:
            root = factor if len(names) == 1 else name
            found += _changes(root, _part(before, factor, name), _part(after, factor, name))
        if factor in factors and any(before.get(name) != after.get(name) for name in names):
            reaching += found or [f"{factor} changed"]
        elif factors.intersection(_TELLS.get(factor, ())):
            reaching += found
        else:
            harmless += found
    return RecipeChanges(reaching=tuple(reaching), harmless=tuple(harmless))


def _part(recipe: Mapping[str, Any], factor: str, name: str) -> Any:
    """A field; of LoRA files and scales, which come as lists, those of the factor's expert."""
    value, files = recipe.get(name), recipe.get("lora_files")
    if factor not in LORA_FACTORS or not isinstance(value, list | tuple) or not isinstance(files, list | tuple):
        return value
    experts = [file.get("expert") if isinstance(file, Mapping) else None for file in files]
    return [item for item, expert in zip(value, experts, strict=False) if expert == LORA_FACTORS[factor]]


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> set[str]:
    """Factors that reach the pixels by `differing_factors`, where both recipes can be read as one of this version."""
    found = {name for name in dict.fromkeys((*before, *after)) if name not in RECIPE_KEYS}
    if before.get("pipeline") != after.get("pipeline"):
        found.add("pipeline")
    try:
        old, new = (_recipe({name: (side.get(name)) for name in RECIPE_KEYS}) for side in (before, after))
    except (ValidationError, TypeError, ValueError, KeyError, AttributeError):
        return found | set(FACTORS)  # edited, or written by another version: every difference counts
    return found | set(differing_factors(old, new))


def _recipe(values: dict[str, Any]) -> Recipe:
    values["weights"] = {key: values.pop(key) for key in WEIGHT_KEYS}
    scheduler = values["scheduler"]
    settings = tuple(sorted(scheduler["settings"].items()))
    values["scheduler"] = {"family": scheduler["family"], "settings": settings}
    if values["control_image"] is not None:
        values["control_image"] = {**values["control_image"], "data": b""}
    recipe: Recipe = adapter(Recipe).validate_python(values)
    return recipe


def _changes(name: str, before: Any, after: Any) -> Iterator[str]:
    """Yield one line for every value that differs."""
    if before == after:
        return
    if _is_asked(before) and _is_asked(after):
        yield f"{name} {_asked(before)} -> {_asked(after)}"
    elif isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys((*before, *after)):
            if key in _NOT_CONTENT or (key == "settings" and before.get("family") != after.get("family")):
                continue  # settings of two families have nothing in common
            if key in ("shift", "flow_shift") and name.endswith(".settings"):
                continue  # named already, as scheduler.shift
            yield from _changes(f"{name}.{key}", before.get(key), after.get(key))
    else:
        old, new = _shown(before), _shown(after)
        if old != new:
            yield "{} {} -> {}".format(name, *_cut(old, new))


def _is_asked(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == {"asked", "applied"}


def _asked(value: Mapping[str, Any]) -> str:
    return f"{value['applied']}" + (f" (asked {value['asked']})" if value["asked"] != value["applied"] else "")


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value)) or "none"
    if isinstance(value, Mapping) and "sha256" in value:
        return f"sha256 {str(value['sha256'])[:12]}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items()) or "none"
    return "none" if value is None else str(value) if not isinstance(value, str) or value else '""'


def _cut(old: str, new: str) -> tuple[str, str]:
    """Shorten long texts to what surrounds their first difference."""
    common = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    start = max(0, common - 15) if max(len(old), len(new)) > _SHOWN else 0

    def part(text: str) -> str:
        end = start + _SHOWN
        return ("…" if start else "") + text[start:end] + ("…" if len(text) > end else "")

    return part(old), part(new)
