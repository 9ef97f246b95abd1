"""Reads and identifies LoRA files as ai-toolkit saves them, and checks them against a model. Does not import torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from pipelines.errors import UnreproducibleError, WeightsError
from pipelines.files.content import check_file, sha256_file
from pipelines.files.words import cannot_read
from pipelines.recipe import Expert, LoraFile

# ai-toolkit saves Wan LoRAs under the original model's module names (toolkit/models/wan21/wan_lora_convert.py
# at 27a03a91); these are diffusers' names for them.
_PARTS = {
    "self_attn": "attn1",
    "cross_attn": "attn2",
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "o": "to_out.0",
    "k_img": "add_k_proj",
    "v_img": "add_v_proj",
}


_KEY = re.compile(r"(?:diffusion_model|transformer)\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")


_COMBINED: dict[Expert, str] = {"high": ".transformer_1.", "low": ".transformer_2."}
"""The parts of the keys that tell the experts apart in a file for both (`network.split_multistage_loras: false`)."""


_FLOATS = ("BF16", "F16", "F32", "F64", "F8_E4M3", "F8_E5M2")
"""The floating point types of safetensors that torch can convert to float32."""


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a safetensors file, read without its weights."""

    shapes: Mapping[str, tuple[int, ...]]
    metadata: Mapping[str, str]


def read_header(path: Path) -> Header:
    """Read the names and shapes of a safetensors file. Raises WeightsError with the likely reason."""
    try:
        check_file(path)
        with path.open("rb") as file:
            start = file.read(9)  # safetensors: 8 bytes of length, then JSON
        if start[8:] != b"{" and start[:1] in (b"P", b"\x80"):  # zip or pickle protocol 2 and up
            raise WeightsError(
                f"{path}: is a pickle (torch.save), which can run code; only safetensors files are supported"
            )
        with safe_open(path, framework="np") as weights:
            slices = {key: weights.get_slice(key) for key in weights.keys()}  # noqa: SIM118
            for key, tensor in slices.items():
                if _KEY.fullmatch(key) and tensor.get_dtype() not in _FLOATS:
                    raise WeightsError(
                        f"{path}: {key} has dtype {tensor.get_dtype()}; LoRA weights must be one of {_FLOATS}"
                    )
            return Header({key: tuple(tensor.get_shape()) for key, tensor in slices.items()}, weights.metadata() or {})
    except OSError as error:
        raise WeightsError(cannot_read(path, error)) from None
    except SafetensorError as error:
        raise WeightsError(f"{path}: is not a complete safetensors file ({error}); copy it again") from None


def lora_file(path: Path, expert: Expert | None = None) -> LoraFile:
    """Identify a LoRA by content. Raises WeightsError if unreadable, UnreproducibleError for LoKr."""
    header = read_header(path)
    if any("lokr_" in key for key in header.shapes):
        raise UnreproducibleError(f"{path}: is a LoKr network; only LoRA (lora_A / lora_B) is supported so far")
    return LoraFile(path=path, sha256=sha256_file(path), expert=expert)


def module_name(key: str) -> tuple[str, str] | None:
    """Return module and side of a key, None for other keys.

    `diffusion_model.blocks.0.self_attn.q.lora_A.weight` gives `("blocks.0.attn1.to_q", "A")`.
    """
    match = _KEY.fullmatch(key)
    if match is None:
        return None
    name = ".".join(_PARTS.get(part, part) for part in match["module"].split("."))
    name = re.sub(r"\bffn\.0\b", "ffn.net.0.proj", name)
    name = re.sub(r"\bffn\.2\b", "ffn.net.2", name)
    return name, match["side"]


def expert_keys(keys: Iterable[str], expert: Expert | None) -> dict[str, str]:
    """Map the keys that one expert's own file would have to the keys in this file."""
    keys = list(keys)
    if expert is None or not any(tag in key for key in keys for tag in _COMBINED.values()):
        return {key: key for key in keys}
    return {key.replace(_COMBINED[expert], ".", 1): key for key in keys if _COMBINED[expert] in key}


def check_coverage(path: Path, shapes: Mapping[str, tuple[int, ...]], weights: Mapping[str, tuple[int, ...]]) -> None:
    """Check that every LoRA key matches a weight of the model and its shape.

    `weights` maps module names to weight shapes (out, in). Raises WeightsError, which lists the keys that do not match.
    """
    ranks: dict[str, dict[str, tuple[int, ...]]] = {}
    wrong: list[str] = []
    for key, shape in shapes.items():
        found = module_name(key)
        if found is None or found[0] not in weights:
            wrong.append(f"{key}: no such module in the model")
            continue
        ranks.setdefault(found[0], {})[found[1]] = shape
    for name, sides in ranks.items():
        down, up, weight = sides.get("A"), sides.get("B"), weights[name]
        if down is None or up is None:
            wrong.append(f"{name}: has only one of lora_A, lora_B")
        elif up[1:] != down[:1] or (*up[:1], *down[1:]) != weight:
            wrong.append(f"{name}: lora_B {up} x lora_A {down} does not fit the model's weight {weight}")
    if wrong or not ranks:
        shown = "\n  ".join(wrong[:8]) + (f"\n  … and {len(wrong) - 8} more" if len(wrong) > 8 else "")
        raise WeightsError(
            f"{path}: {len(wrong)} of {len(shapes)} keys do not match; is it a LoRA of another model?\n  {shown}"
        )
