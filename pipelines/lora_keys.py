"""The keys of LoRA files for Wan, as trainers write them: which module of the model each is for, and what it does.

Facts about diffusers hold for 0.42.1 (`WanLoraLoaderMixin.load_lora_weights`); tests run it beside these rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Part = Literal[
    "down", "up", "bias", "alpha", "diff", "magnitude", "w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b"
]  # fmt: skip
"""What a tensor is in its layer. down, up: LoRA's pair. bias: added to the module's bias. alpha: divided by the rank it
is the scale. diff: the whole difference of a weight. magnitude: DoRA's, in PEFT's layout. w1, w2: LoKr's two factors,
either of which may be a product a @ b."""

_PARTS: dict[str, Part] = {
    "lora_A.weight": "down",
    "lora_down.weight": "down",
    "lora_B.weight": "up",
    "lora_up.weight": "up",
    "lora_B.bias": "bias",
    "diff_b": "bias",
    "diff": "diff",
    "alpha": "alpha",
    "lora_magnitude_vector": "magnitude",
    "lokr_w1": "w1",
    "lokr_w1_a": "w1_a",
    "lokr_w1_b": "w1_b",
    "lokr_w2": "w2",
    "lokr_w2_a": "w2_a",
    "lokr_w2_b": "w2_b",
}
_PART = re.compile(rf"(?P<module>.+)\.(?P<part>{'|'.join(map(re.escape, sorted(_PARTS, key=len, reverse=True)))})")
_PREFIX = re.compile(r"(?:diffusion_model|transformer|base_model\.model)\.")
_FLAT = re.compile(r"(?:lora_unet|lora_transformer|lycoris)_")
"""Prefixes of names whose dots became underscores. musubi and kohya: lora_unet. ai-toolkit's LoKr before 5b5aadad
(2026-01-13, 0.7.17) and with `old_lokr_format`: lycoris."""

_TEXT_ENCODER = re.compile(r"(?:text_encoders?|lora_te\d?)[._]")

# Wan's own module names, and diffusers' for the same. ai-toolkit saves the former for attention and feed-forward and
# the latter for all others (toolkit/models/wan21/wan_lora_convert.py at 27a03a91; `transformer_only: false`).
_ATTENTION = {"self_attn": "attn1", "cross_attn": "attn2"}
_PROJECTIONS = {"q": "to_q", "k": "to_k", "v": "to_v", "o": "to_out.0", "k_img": "add_k_proj", "v_img": "add_v_proj"}
_BLOCK = {
    f"{attention}.{projection}": f"{_ATTENTION.get(attention, attention)}.{_PROJECTIONS.get(projection, projection)}"
    for attention in (*_ATTENTION, *_ATTENTION.values())
    for projection in (*_PROJECTIONS, *_PROJECTIONS.values())
} | {"ffn.0": "ffn.net.0.proj", "ffn.2": "ffn.net.2"}
_OUTSIDE = {
    "head.head": "proj_out",
    "time_projection.1": "condition_embedder.time_proj",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "img_emb.proj.1": "condition_embedder.image_embedder.ff.net.0.proj",
    "img_emb.proj.3": "condition_embedder.image_embedder.ff.net.2",
}


def _flattened(names: Mapping[str, str]) -> dict[str, str]:
    return {name.replace(".", "_"): theirs for pair in names.items() for name, theirs in (pair, (pair[1], pair[1]))}


_FLAT_BLOCK, _FLAT_OUTSIDE = _flattened(_BLOCK), _flattened(_OUTSIDE)


def find_part(key: str) -> tuple[str, Part] | None:
    """Return diffusers' name of the module a key is for, and what it is there; None for a key of no known layout.

    `diffusion_model.blocks.0.self_attn.q.lora_A.weight` gives `("blocks.0.attn1.to_q", "down")`.
    """
    match = _PART.fullmatch(key)
    if match is None:
        return None
    name, flat = match["module"], _FLAT.match(key)
    if flat is not None:
        module = _module(name[flat.end() :], "_", _FLAT_BLOCK, _FLAT_OUTSIDE)
    else:
        while (prefix := _PREFIX.match(name)) is not None:
            name = name[prefix.end() :]
        module = _module(name, ".", _BLOCK, _OUTSIDE)
    return module, _PARTS[match["part"]]


def _module(name: str, dot: str, block: Mapping[str, str], outside: Mapping[str, str]) -> str:
    match = re.fullmatch(rf"blocks{re.escape(dot)}(\d+){re.escape(dot)}(.+)", name)
    return f"blocks.{match[1]}.{block.get(match[2], match[2])}" if match else outside.get(name, name)


@dataclass(frozen=True, slots=True)
class LoraKeys:
    """The keys of a LoRA file for one transformer, in order."""

    layers: Mapping[str, Mapping[Part, str]]
    """For each module, by diffusers' name: the key of each part."""
    ignored: tuple[str, ...]
    """The keys that diffusers leaves out without an error, and so does this project."""
    unknown: tuple[str, ...]


def sort_keys(keys: Iterable[str]) -> LoraKeys:
    """Sort the keys of a file by the modules they are for.

    Ignored are text encoder keys, differences (`diff`) of norms and weights, and differences of a bias without a LoRA
    of its weight. A `head.head.diff` beside a `head.head.diff_b` is read: diffusers makes a LoRA of the two.
    """
    layers: dict[str, dict[Part, str]] = {}
    ignored: list[str] = []
    unknown: list[str] = []
    for key in keys:
        found = find_part(key)
        if _TEXT_ENCODER.match(key) or (found is not None and found[1] in ("diff", "bias") and "norm" in found[0]):
            ignored.append(key)
        elif found is None:
            unknown.append(key)
        else:
            layers.setdefault(found[0], {})[found[1]] = key
    for module, parts in list(layers.items()):
        keeps_diff = module == "proj_out" and "bias" in parts and "up" not in parts
        if "diff" in parts and not keeps_diff:
            ignored.append(parts.pop("diff"))
        if set(parts) == {"bias"}:
            ignored.append(parts.pop("bias"))
        if not parts:
            del layers[module]
    return LoraKeys(layers, tuple(ignored), tuple(unknown))


_UNREADABLE = (
    (re.compile(r"\.hada_w\d"), "a LoHa network"),
    (re.compile(r"\.b?oft_(?:blocks|R)"), "an OFT network"),
    (re.compile(r"\.[ab][12]\.weight$"), "a GLoRA network"),
    (re.compile(r"\.on_input$|\.lora_l$|\.ia3_l$"), "an (IA)3 network"),
    (re.compile(r"\.lokr_t[12]$|\.lora_mid\."), "a Tucker-decomposed network for convolutions"),
    (re.compile(r"\.dora_scale$"), "a DoRA network (dora_scale, which diffusers 0.42.1 refuses or drops)"),
)

_FAMILIES = (
    (re.compile(r"double_blocks[._]\d+[._]img_attn_(?:qkv|proj)"), "HunyuanVideo"),
    (re.compile(r"(?:double_blocks|single_blocks|single_transformer_blocks)[._]\d"), "FLUX"),
    (re.compile(r"(?:(?:in|out)put_blocks|(?:down|up)_blocks|mid(?:dle)?_block)[._]"), "Stable Diffusion"),
    (re.compile(r"transformer_blocks[._]\d+[._](?:img_mlp|attn[._]add_q_proj)"), "Qwen-Image or Stable Diffusion 3"),
    (re.compile(r"transformer_blocks[._]\d"), "LTX-Video or another model with transformer_blocks"),
    (re.compile(r"(?:^|\.)layers[._]\d+[._](?:attention|feed_forward)"), "Z-Image or Lumina"),
)


def why_unreadable(keys: Iterable[str]) -> str | None:
    """Return what a file is, if nothing here or in diffusers reads it as a LoRA for Wan, and what to do; else None."""
    keys = list(keys)
    for pattern, kind in _UNREADABLE:
        found = next((key for key in keys if pattern.search(key)), None)
        if found is not None:
            return (
                f"is {kind}: {found}; only LoRA and LoKr are read. Save it as a plain LoRA, or merge it into a "
                "checkpoint and name that as `checkpoint`"
            )
    for pattern, family in _FAMILIES:
        found = next((key for key in keys if pattern.search(key)), None)
        if found is not None:
            return f"is a LoRA for {family}, not for Wan: {found}; name a LoRA that was trained on this model"
    if any(key.endswith(".lora_magnitude_vector") and not key.startswith("transformer.") for key in keys):
        return (
            "is DoRA in PEFT's layout (lora_magnitude_vector), which diffusers 0.42.1 loads only under the prefix "
            "transformer.; save it as a plain LoRA"
        )
    return None


# The keys that diffusers 0.42.1 converts (_convert_non_diffusers_wan_lora_to_diffusers).
_CONVERTED = re.compile(
    r"diffusion_model\.(?:"
    r"blocks\.\d+\.(?:(?:self_attn|cross_attn)\.(?:q|k|v|o|k_img|v_img)|ffn\.[02])\."
    r"(?:lora_(?:A|B|down|up)\.weight|alpha|diff_b)"
    r"|(?:time_projection\.1|head\.head|(?:text|time)_embedding\.[02]|img_emb\.proj\.[13])\."
    r"(?:lora_(?:A|B|down|up)\.weight|diff_b)"
    r"|head\.head\.diff)"
)


_NOT_DIFFUSERS = re.compile(r"\.lora_(?:down|up)\.|\.(?:self|cross)_attn\.|\.ffn\.[02]\.")

_REFUSED_ALONE = re.compile(
    rf"{_TEXT_ENCODER.pattern}|diffusion_model\.(?:(?:text|time)_embedding\.[02]\.diff_b|head\.head\.diff|blocks\.\d+\.(?!.*norm).*\.diff_b)$"
)
"""Keys that are left out here, and which diffusers refuses when the pair they belong to is missing."""


def why_not_served(keys: Iterable[str]) -> str | None:
    """Return why the reference server cannot load a file that this project reads, and what does; None if it can."""
    keys = list(keys)
    reason = _why_not_served(keys, sort_keys(keys))
    return reason and f"the reference server (diffusers 0.42.1) {reason}; `lora_application: merged` reads it"


def _why_not_served(keys: list[str], found: LoraKeys) -> str | None:
    if any(".lokr_" in key for key in keys):
        return "cannot load LoKr: its loader for Wan takes keys that contain `lora` alone"
    if len({"bias" in parts for parts in found.layers.values()}) == 2:  # PEFT's lora_bias is for all layers or none
        return "leaves biases without a value and then fails, because only some of the layers have a bias difference"
    if any(key.startswith("diffusion_model.") for key in keys):
        refused = [key for key in keys if not _CONVERTED.fullmatch(key) and key not in found.ignored]
        refused += [key for key in found.ignored if _REFUSED_ALONE.match(key)]
        if refused:
            return f"refuses it for {refused[0]}" + (f" and {len(refused) - 1} more keys" if len(refused) > 1 else "")
        if not any(key.startswith("diffusion_model.blocks.") for key in keys):
            return "refuses it, because no key is of a block"
        return None
    if any(key.startswith("lora_unet_") for key in keys):
        return _why_not_converted(keys, found)
    if not any(key.startswith("transformer.") for key in keys):
        return (
            "loads nothing of it without a word, because its keys begin neither with diffusion_model. nor with "
            f"transformer.: {keys[0]}"
        )
    other = next((key for key in keys if "lora" not in key), None)
    if other is not None:
        return f"refuses it for {other}, because under the prefix transformer. every key must contain `lora`"
    other = next((key for key in keys if _NOT_DIFFUSERS.search(key)), None)
    return f"refuses it for {other}: under the prefix transformer. it takes diffusers' names alone" if other else None


def _why_not_converted(keys: list[str], found: LoraKeys) -> str | None:
    """_convert_musubi_wan_lora_to_diffusers: every linear of every block, each with its alpha, and nothing else."""
    outside = next((key for key in keys if not key.startswith("lora_unet_blocks_")), None)
    if outside is not None:
        return f"fails on {outside}, because a musubi file must hold blocks alone"
    blocks = {module.split(".")[1] for module in found.layers if module.startswith("blocks.")}
    names = set(_BLOCK.values()) - {f"attn1.{name}" for name in ("add_k_proj", "add_v_proj")}
    if not any("add_k_proj" in module for module in found.layers):
        names -= {"attn2.add_k_proj", "attn2.add_v_proj"}
    for number in range(len(blocks)):
        for name in sorted(names):
            parts = found.layers.get(f"blocks.{number}.{name}", {})
            for part in ("down", "up", "alpha"):
                if part not in parts:
                    return (
                        "fails on it, because a musubi file must hold every linear of each block, with alpha: "
                        f"blocks.{number}.{name} has no {part}"
                    )
    return None
