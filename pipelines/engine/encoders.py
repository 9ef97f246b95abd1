"""The encoders of text and images that a recipe runs as ComfyUI does.

Their weights are stored in float16 and everything is computed in float32: measured on ComfyUI a125cd84 (0.3.64,
2025-10-12). Its options `--fp8_e4m3fn-text-enc`, `--bf16-text-enc` and `--fp32-text-enc` change the storage, and no
file says which was given.
"""

from __future__ import annotations

from typing import Any

from pipelines.engine.checkpoint import folders, load_image_encoder, load_text_encoder
from pipelines.engine.lora import Undo, nothing
from pipelines.phases import OnPhase
from pipelines.recipe import Recipe


def apply(pipe: Any, recipe: Recipe, token: str | None, on_phase: OnPhase) -> Undo:
    """Replace a recipe's `float16_encoders`, for now; the returned function puts the pipeline's own back.

    They are read from their files again, because the pipeline's own are rounded to another dtype. Those wait on the
    CPU. A quantized text encoder is quantized from the weights in float16.
    """
    if not recipe.float16_encoders:
        return nothing
    import torch

    from pipelines.engine.float16_storage import store_in_float16

    originals: dict[str, Any] = {}
    for part in recipe.float16_encoders:
        original = getattr(pipe, part, None)
        if original is None:
            continue  # Wan 2.2 has no CLIP
        found = folders(recipe, token)
        if part == "image_encoder":
            on_phase("load", "the image encoder in float16")
            encoder = store_in_float16(load_image_encoder(found["checkpoint"]))
        else:
            on_phase("load", "the text encoder in float16")
            place = found.get("text_encoder", found["checkpoint"])
            encoder = store_in_float16(load_text_encoder(place, torch.float16))
            if recipe.quantization.text_encoder is not None:
                from pipelines.engine.quantized import quantize

                quantize(encoder, recipe.quantization.text_encoder)
        originals[part] = original.to("cpu")
        setattr(pipe, part, encoder)

    def undo() -> None:
        for part, original in originals.items():
            setattr(pipe, part, original)

    return undo
