"""What to change, as the keys of a request."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from parity.factors.code_blocks import is_url
from parity.factors.code_lora import path_of
from pipelines.drift import LORA_FACTORS, Factor
from pipelines.recipe import Recipe
from pipelines.reference.request import LoraItem, PromptItem

_WIDTH = 88
"""JSON that fits is on one line."""


def request_keys(factor: Factor, recipe: Recipe) -> dict[str, Any] | None:
    """The keys that ask for a factor's value; None if the API has none, or does not accept this value."""
    if factor in LORA_FACTORS or factor == "extra_loras":
        return _loras(recipe)
    keys: dict[Factor, dict[str, Any]] = {
        "prompt": {"prompt": recipe.prompt},
        "negative_prompt": {"neg": recipe.negative_prompt},
        "snapping": {"width": recipe.width.applied, "height": recipe.height.applied},
        "frame_count": {"num_frames": recipe.num_frames.applied},
        "steps": {"sample_steps": recipe.steps},
        "guidance": {"guidance_scale": float(recipe.guidance_scale)},
        "fps": {"fps": recipe.fps},
    }
    if recipe.seed is not None and recipe.seed >= 0:  # the API's -1 is a random seed
        keys["seed"] = {"seed": recipe.seed}
    image = recipe.control_image
    if image is not None and is_url(image.source):
        keys["control_image"] = {"ctrl_img": image.source}
    found = keys.get(factor)
    return found if found is not None and _is_accepted(PromptItem, {"prompt": "", **found}) else None


def _loras(recipe: Recipe) -> dict[str, Any] | None:
    """All LoRAs of a recipe: a request has the whole list or none."""
    items = [
        {"path": path_of(file)}
        | ({} if file.expert is None else {"transformer": file.expert})
        | {"network_multiplier": float(scale)}
        for file, scale in zip(recipe.lora_files, recipe.lora_scales, strict=True)
    ]
    return {"loras": items} if items and all(_is_accepted(LoraItem, item) for item in items) else None


def _is_accepted(model: type[PromptItem] | type[LoraItem], keys: dict[str, Any]) -> bool:
    try:
        model.model_validate(keys)
    except ValidationError:
        return False
    return True


def in_one_request(found: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The keys together: those of a prompt item as they are, beside LoRAs in the request's lists."""
    keys: dict[str, Any] = {}
    for more in found:
        keys |= more
    loras = keys.pop("loras", None)
    if loras is None:
        return keys
    return {"loras": loras} | ({"prompts": [keys]} if keys else {})


def to_json(value: dict[str, Any], indent: int | None = 2) -> str:
    """JSON, on one line if it is short. What people cannot see (controls, lone surrogates) is escaped."""
    text = json.dumps(value, ensure_ascii=False)
    if indent is not None and len(text) > _WIDTH:
        text = json.dumps(value, ensure_ascii=False, indent=indent)
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)
