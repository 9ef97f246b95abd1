"""Which tensors the published Wan models have, counted from their classes: `python -m tests.census` prints census.json.

The classes of diffusers 0.42.1 and transformers 5.23.0 are built without memory, with the configs of diffusers'
scripts/convert_wan_to_diffusers.py (at 58eb52c0); UMT5's and CLIP's are those of google/umt5-xxl and of
laion/CLIP-ViT-H-14-laion2B-s32B-b79K, which that script names.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from typing import Any
from unittest.mock import DEFAULT, patch

from pipelines.engine.torch_setup import declare_missing_torchvision_operators

_14B = {
    "attention_head_dim": 128,
    "ffn_dim": 13824,
    "in_channels": 16,
    "num_attention_heads": 40,
    "num_layers": 40,
    "out_channels": 16,
    "text_dim": 4096,
}
TRANSFORMERS: dict[str, dict[str, Any]] = {
    "wan21-1.3b": _14B | {"ffn_dim": 8960, "num_attention_heads": 12, "num_layers": 30},
    "wan21-14b": _14B,
    "wan21-i2v-14b": _14B | {"in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 5120},
    "wan22-i2v-14b": _14B | {"in_channels": 36},
    "wan22-5b": _14B
    | {"ffn_dim": 14336, "in_channels": 48, "out_channels": 48, "num_attention_heads": 24, "num_layers": 30},
}
_VAES: dict[str, dict[str, Any]] = {
    "wan21-vae": {},
    "wan22-vae": {
        "base_dim": 160,
        "z_dim": 48,
        "is_residual": True,
        "in_channels": 12,
        "out_channels": 12,
        "decoder_base_dim": 256,
        "scale_factor_temporal": 4,
        "scale_factor_spatial": 16,
        "patch_size": 2,
    },
}
_UMT5 = {"d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64, "vocab_size": 256384}
_CLIP = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "projection_dim": 1024,
    "image_size": 224,
    "patch_size": 14,
}


def census() -> dict[str, list[list[Any]]]:
    """The tensors of each part, alike ones counted: `[name with * for numbers, shape, count]`."""
    declare_missing_torchvision_operators()
    import torch
    from diffusers import AutoencoderKLWan, WanTransformer3DModel
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, UMT5Config, UMT5EncoderModel

    skipped = dict.fromkeys(("kaiming_uniform_", "uniform_", "normal_", "ones_", "zeros_"), DEFAULT)
    with torch.device("meta"), patch.multiple(torch.nn.init, **skipped):  # there is nothing to initialize
        models = {
            **{name: WanTransformer3DModel(**config) for name, config in TRANSFORMERS.items()},
            **{name: AutoencoderKLWan(**config) for name, config in _VAES.items()},
            "umt5-xxl": UMT5EncoderModel(UMT5Config(**_UMT5)),
            "clip-vit-h": CLIPVisionModelWithProjection(CLIPVisionConfig(**_CLIP)),
        }
    return {name: _counted(model) for name, model in models.items()}


def _counted(model: Any) -> list[list[Any]]:
    counts: Counter[tuple[str, tuple[int, ...]]] = Counter()
    for name, parameter in model.named_parameters():  # a shared one once
        counts[re.sub(r"\.\d+(?=\.)", ".*", name), tuple(parameter.shape)] += 1
    return [[name, list(shape), count] for (name, shape), count in counts.items()]


def text() -> str:
    """The file, one line for each kind of tensor."""
    parts = []
    for name, rows in census().items():
        lines = ",\n  ".join(json.dumps(row) for row in rows)
        parts.append(f" {json.dumps(name)}: [\n  {lines}\n ]")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    sys.stdout.write(text())
