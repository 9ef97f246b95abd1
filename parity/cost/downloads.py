"""What of the weights lies on the Hub and would be downloaded: asked there if it can be, else estimated."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from parity.cost.census import PARTS_OF_SOURCE, folder_of_part, published, weight_files
from pipelines.downloads import offline, why_not_fetched
from pipelines.hub import PIPELINE_FILES, is_folder, is_hub_id
from pipelines.recipe import Recipe
from pipelines.weights import Source

ASK_SECONDS = 2.0
"""How long the Hub may take to say how large a repository is."""


@dataclass(frozen=True, slots=True)
class Need:
    """A repository on the Hub, and what of it is read."""

    place: str
    patterns: frozenset[str]
    parts: Mapping[str, int] = field(compare=False)
    """The parts read from it, as folders of it, each with the numbers it has as published."""
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """A repository on the Hub, and the bytes of it that are not on this machine."""

    place: str
    missing: int
    basis: Literal["cached", "hub", "estimate"]
    """cached: all of it is here. hub: the Hub gave the sizes. estimate: from the published number of parameters."""
    why_estimated: str = ""
    """Why the Hub could not be asked, and what to do."""


def needs_of(recipes: Iterable[tuple[Recipe, str | None]]) -> list[Need]:
    """What these recipes, each with its token, need of the Hub; each repository once."""
    found: dict[str, Need] = {}
    for recipe, token in recipes:
        sources = recipe.weights.sources(experts=recipe.boundary is not None)
        for part, source in sources.items():
            if is_hub_id(source.place) and not is_folder(source.place):
                new = _need(recipe, part, source, token)
                known = found.get(source.place)
                found[source.place] = new if known is None else _both(known, new)
    return list(found.values())


def _need(recipe: Recipe, part: str, source: Source, token: str | None) -> Need:
    numbers = {name: sum(tensor.numbers for tensor in tensors) for name, tensors in published(recipe.model).items()}
    if recipe.boundary is None:
        numbers.pop("transformer_2", None)
    others = {name for other in recipe.weights.elsewhere() for name in PARTS_OF_SOURCE[other]}
    named = set(numbers) - others if part == "checkpoint" else set(PARTS_OF_SOURCE[part])  # type: ignore[index]
    names = [name for name in numbers if name in named]
    patterns = frozenset(source.files or PIPELINE_FILES)
    return Need(source.place, patterns, {name: numbers[name] for name in names}, token)


def _both(one: Need, other: Need) -> Need:
    parts = {**one.parts, **other.parts}
    return Need(one.place, one.patterns | other.patterns, parts, one.token or other.token)


def adapters_of(recipes: Iterable[tuple[Recipe, str | None]]) -> list[Need]:
    """The accuracy recovery adapters that are missing here and named as a file on the Hub: owner/repository/file."""
    found = {}
    for recipe, token in recipes:
        adapter = recipe.quantization.adapter
        words = adapter.path.as_posix().split("/") if adapter is not None and adapter.sha256 is None else []
        if len(words) == 3 and is_hub_id("/".join(words[:2])):
            found[adapter] = Need("/".join(words[:2]), frozenset(words[2:]), {}, token)
    return list(found.values())


def downloads(needs: Iterable[Need]) -> list[Download]:
    """The size of each download. Asks the Hub, unless all is cached or HF_HUB_OFFLINE is set.

    Once the Hub is not reached, it is not asked about the others.
    """
    found: list[Download] = []
    why = ""
    for need in needs:
        if not _missing_parts(need) and not _missing_files(need):
            found.append(Download(place=need.place, missing=0, basis="cached"))
            continue
        if not why and offline():
            why = "HF_HUB_OFFLINE is set"
        asked = why if why else _asked(need)
        if isinstance(asked, int):
            found.append(Download(place=need.place, missing=asked, basis="hub"))
            continue
        if "cannot be reached" in asked:
            why = asked
        found.append(Download(place=need.place, missing=_estimated(need), basis="estimate", why_estimated=asked))
    return found


def _asked(need: Need) -> int | str:
    """The bytes that are not cached by the Hub's own listing, or why it gave none."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    try:
        info = HfApi().model_info(need.place, files_metadata=True, timeout=ASK_SECONDS, token=need.token)
    except Exception as error:  # whatever the Hub's library and its HTTP client raise
        if "Timeout" in type(error).__name__:
            return f"the Hub cannot be reached within {ASK_SECONDS:g} s"
        return why_not_fetched(error).partition("\n")[0]
    total = 0
    for file in info.siblings or ():
        wanted = any(fnmatch.fnmatch(file.rfilename, pattern) for pattern in need.patterns)
        if wanted and not isinstance(try_to_load_from_cache(need.place, file.rfilename), str):
            total += file.size or 0
    return total


def _missing_parts(need: Need) -> list[str]:
    """The parts whose weight files are not all in the Hub's cache."""
    folders = {part: folder_of_part(need.place, part) for part in need.parts}
    return [part for part, folder in folders.items() if folder is None or not _is_whole(folder)]


def _missing_files(need: Need) -> list[str]:
    """The single files that are named without a pattern and not in the Hub's cache."""
    from huggingface_hub import try_to_load_from_cache

    names = [name for name in need.patterns if "*" not in name]
    return [name for name in names if not isinstance(try_to_load_from_cache(need.place, name), str)]


def _is_whole(folder: Path) -> bool:
    files = weight_files(folder)
    return bool(files) and all(file.is_file() for file in files)


def _estimated(need: Need) -> int:
    return sum(need.parts[part] * _published_width(need.place, part) for part in _missing_parts(need))


def published_bytes(need: Need) -> int:
    """The size of a whole repository's weights by the published number of parameters; at most."""
    return sum(numbers * _published_width(need.place, part) for part, numbers in need.parts.items())


def _published_width(place: str, part: str) -> int:
    """The bytes of a number in a repository's files; 4 where it is not known, so that no estimate is too small.

    By the Hub's pages (2025): Wan-AI published the transformers and Wan 2.1's text encoder in float32, CLIP and the
    text encoder of Wan 2.2 in 16 bits.
    """
    sixteen = place.endswith(("bf16", "fp16")) or part == "image_encoder"
    return 2 if sixteen or (part == "text_encoder" and place.startswith("Wan-AI/Wan2.2")) else 4
