"""Reads and identifies LoRA files, and checks them against a model. Does not import torch."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from pipelines.errors import UnreproducibleError, WeightsError
from pipelines.files.content import check_file
from pipelines.files.digests import sha256_file, state_of
from pipelines.files.words import cannot_read, shorten
from pipelines.lora_keys import LoraKeys, Part, find_part, sort_keys, why_not_served, why_unreadable
from pipelines.recipe import Expert, LoraApplication, LoraFile

COMBINED: dict[Expert, str] = {"high": ".transformer_1.", "low": ".transformer_2."}
"""The parts of the keys that tell the experts apart in a file for both (`network.split_multistage_loras: false`)."""


_FLOATS = ("BF16", "F16", "F32", "F64", "F8_E4M3", "F8_E5M2")
"""The floating point types of safetensors that torch can convert to float32."""


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a safetensors file, read without its weights."""

    shapes: Mapping[str, tuple[int, ...]]
    metadata: Mapping[str, str]


def read_header(path: Path) -> Header:
    """Read the names and shapes of a safetensors file. Raises WeightsError with the likely reason.

    An unchanged file is not read again: many cases name the same LoRA.
    """
    try:
        check_file(path)
        return _read_header(path, state_of(path))
    except OSError as error:
        raise WeightsError(cannot_read(path, error)) from None


@functools.lru_cache(maxsize=64)
def _read_header(path: Path, _state: tuple[int, ...]) -> Header:
    try:
        with path.open("rb") as file:
            start = file.read(9)  # safetensors: 8 bytes of length, then JSON
        if start[8:] != b"{" and start[:1] in (b"P", b"\x80"):  # zip or pickle protocol 2 and up
            raise WeightsError(
                f"{path}: is a pickle (torch.save), which can run code; only safetensors files are supported"
            )
        with safe_open(path, framework="np") as weights:
            slices = {key: weights.get_slice(key) for key in weights.keys()}  # noqa: SIM118
            for key, tensor in slices.items():
                if find_part(key) is not None and tensor.get_dtype() not in _FLOATS:
                    raise WeightsError(
                        f"{path}: {key} has dtype {tensor.get_dtype()}; LoRA weights must be one of {_FLOATS}"
                    )
            return Header({key: tuple(tensor.get_shape()) for key, tensor in slices.items()}, weights.metadata() or {})
    except SafetensorError as error:
        raise WeightsError(f"{path}: is not a complete safetensors file ({error}); copy it again") from None


def lora_file(path: Path, expert: Expert | None = None) -> LoraFile:
    """Identify a LoRA by content. Raises WeightsError if unreadable, UnreproducibleError for what nobody reads."""
    reason = why_unreadable(read_header(path).shapes)
    if reason is not None:
        raise UnreproducibleError(f"{path}: {reason}")
    return LoraFile(path=path, sha256=sha256_file(path), expert=expert)


def is_lokr(path: Path) -> bool:
    """Return whether a file holds a LoKr network. Raises WeightsError."""
    return any(".lokr_" in key for key in read_header(path).shapes)


def why_not_applied(path: Path, application: LoraApplication, expert: Expert | None = None) -> str | None:
    """Return why a LoRA cannot be applied in this way, and what works; None if it can. Raises WeightsError."""
    keys = expert_keys(read_header(path).shapes, expert)
    if application == "adapter":
        reason = why_not_served(keys) if keys else "holds no tensor, so there is nothing to apply; copy it again"
    elif any("magnitude" in parts for parts in sort_keys(keys).layers.values()):
        reason = "is DoRA (lora_magnitude_vector), which only `lora_application: adapter` applies"
    else:
        return None
    return reason and f"{path}: {reason}"


def left_out(path: Path, expert: Expert | None = None) -> str | None:
    """Return a note on the keys of a LoRA that change nothing in diffusers 0.42.1 nor here, if there are any."""
    keys = sort_keys(expert_keys(read_header(path).shapes, expert)).ignored
    if not keys:
        return None
    return (
        f"{path.name}: {len(keys)} keys are left out, as diffusers 0.42.1 leaves them out (text encoder, norms, whole "
        f"differences of weights): {shorten(', '.join(keys), 160)}"
    )


def expert_keys(keys: Iterable[str], expert: Expert | None) -> dict[str, str]:
    """Map the keys that one expert's own file would have to the keys in this file."""
    keys = list(keys)
    if expert is None or not any(tag in key for key in keys for tag in COMBINED.values()):
        return {key: key for key in keys}
    return {key.replace(COMBINED[expert], ".", 1): key for key in keys if COMBINED[expert] in key}


def check_coverage(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    weights: Mapping[str, tuple[int, ...]],
    biases: Mapping[str, tuple[int, ...]],
) -> LoraKeys:
    """Check that every LoRA key matches a module of the model and its shape, and return the keys by module.

    `weights` and `biases` map module names to shapes: (out, in) and (out,). Raises WeightsError, which lists the keys
    that do not match.
    """
    found = sort_keys(shapes)
    wrong = [f"{key}: no known layout of LoRA keys" for key in found.unknown]
    for name, parts in found.layers.items():
        weight = weights.get(name)
        if weight is None:
            wrong += [f"{key}: no such module in the model" for key in parts.values()]
            continue
        problem = _misfit({part: shapes[key] for part, key in parts.items()}, weight, biases.get(name))
        if problem is not None:
            wrong.append(f"{name}: {problem}")
    if wrong or not found.layers:
        shown = "\n  ".join(wrong[:8]) + (f"\n  … and {len(wrong) - 8} more" if len(wrong) > 8 else "")
        foreign = not any(name in weights for name in found.layers)
        question = "; is it a LoRA of another model?" if foreign else "; was it trained on another size of the model?"
        raise WeightsError(f"{path}: {len(wrong)} of {len(shapes)} keys do not match{question}\n  {shown}")
    return found


def _misfit(parts: Mapping[Part, tuple[int, ...]], weight: tuple[int, ...], bias: tuple[int, ...] | None) -> str | None:
    """Return why the shapes of one layer's tensors do not fit the model's weight and bias; None if they do."""
    if "bias" in parts and parts["bias"] != bias:
        return f"a difference of its bias {parts['bias']} does not fit the model's bias {bias}"
    if "alpha" in parts and parts["alpha"] not in ((), (1,)):
        return f"alpha is a tensor of shape {parts['alpha']}, not a number"
    if "diff" in parts:
        return None if parts["diff"] == weight else f"diff {parts['diff']} does not fit the model's weight {weight}"
    if any(part.startswith("w") for part in parts):
        return _lokr_misfit(parts, weight)
    down, up = parts.get("down"), parts.get("up")
    if down is None or up is None:
        return "has only one of lora_A, lora_B"
    if up[1:] != down[:1] or (*up[:1], *down[1:]) != weight:
        return f"lora_B {up} x lora_A {down} does not fit the model's weight {weight}"
    return None


def _lokr_misfit(parts: Mapping[Part, tuple[int, ...]], weight: tuple[int, ...]) -> str | None:
    first = _factor(parts.get("w1"), parts.get("w1_a"), parts.get("w1_b"))
    second = _factor(parts.get("w2"), parts.get("w2_a"), parts.get("w2_b"))
    if first is None or second is None or {"down", "up", "bias"} & set(parts):
        return "lacks a factor of LoKr, or one does not fit the other; each is lokr_w or lokr_w_a x lokr_w_b"
    if (first[0] * second[0], first[1] * second[1]) != weight:
        return f"lokr_w1 {first} (x) lokr_w2 {second} does not fit the model's weight {weight}"
    return None


def _factor(
    whole: tuple[int, ...] | None, left: tuple[int, ...] | None, right: tuple[int, ...] | None
) -> tuple[int, int] | None:
    """The shape of a factor, whole or a product; None if it is missing, doubled, or not a matrix."""
    if whole is not None:
        return (whole[0], whole[1]) if len(whole) == 2 and left is None and right is None else None
    if left is None or right is None or len(left) != 2 or len(right) != 2 or left[1] != right[0]:
        return None
    return left[0], right[1]
