"""Which keys of a LoRA file ComfyUI loads: measured with 0.3.64 on LoRAs of 60 weights, all or none of which it took.

What it skips it says on its console alone ("lora key not loaded").
"""

from __future__ import annotations

import re
from collections.abc import Collection

from pipelines.files.words import shorten
from pipelines.lora_files import COMBINED

_LOADED = re.compile(
    r"(?:diffusion_model\.(?:blocks\.\d+\.(?:self_attn|cross_attn|ffn)\..+|head\.head|(?:text|time)_embedding\.\d"
    r"|time_projection\.1|img_emb\.proj\.\d)|lora_unet_{1,2}.+)"
    r"\.(?:lora_(?:A|B|down|up)(?:\.default)?\.weight|alpha)"
)
"""The layouts of which ComfyUI loaded all weights (run: 60 of 60), as far as they name modules of Wan's own code."""
_SHOULD_LOAD = re.compile(r"diffusion_model\..+\.(?:lokr_\w+|alpha)")
_NOT_LOADED = re.compile(r"(?!diffusion_model\.|lora_unet_|lycoris_)")
_RENAME = "save it with keys like diffusion_model.blocks.0.self_attn.q.lora_A.weight"


def why_nothing_loads(keys: Collection[str]) -> str | None:
    """Why ComfyUI loads nothing of a LoRA file with these keys, and what to do; None if it loads some of them."""
    if any(tag in key for key in keys for tag in COMBINED.values()):
        return (
            "holds both experts (transformer_1, transformer_2), of which ComfyUI loads nothing; split it into a file "
            "for each expert, or train with split_multistage_loras: true"
        )
    if keys and all(map(_NOT_LOADED.match, keys)):
        return f"ComfyUI loads nothing of keys like {shorten(next(iter(keys)), 80)}; {_RENAME}"
    return None


def what_else_does_not_load(keys: Collection[str]) -> str | None:
    """The keys that ComfyUI skips, or of which it is not known, in a file of which it loads others; None: all load."""
    if skipped := [key for key in keys if _NOT_LOADED.match(key)]:
        return f"ComfyUI loads nothing of {len(skipped)} keys like {shorten(skipped[0], 80)}; {_RENAME}"
    unknown = [key for key in keys if not (_LOADED.fullmatch(key) or _SHOULD_LOAD.fullmatch(key))]
    if not unknown:
        return None
    return f"whether ComfyUI loads {len(unknown)} of its keys is not known, e.g. {shorten(unknown[0], 80)}"


def why_not_loaded(keys: Collection[str]) -> str | None:
    """Which keys of a LoRA file ComfyUI does not load, or may not; None: it loads all."""
    return why_nothing_loads(keys) or what_else_does_not_load(keys)
