"""Prompts to embeddings, as diffusers or ComfyUI encode them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipelines.comfyui_text import segments
from pipelines.errors import UnreproducibleError
from pipelines.prompts import why_too_long
from pipelines.recipe import TextEncoding

if TYPE_CHECKING:
    import torch

TOKENS = 512
"""The text length of both pipelines' `__call__` (`max_sequence_length`; the default of `encode_prompt` is 226), and
the least of ComfyUI."""

MAX_TOKENS = 4096
"""The most tokens of a prompt that is encoded as ComfyUI does, which cuts none. The encoder's memory grows with their
square: umT5-xxl in float32 needs 0.2 GiB at 512, 0.65 at 1024 and so about 10 at this limit, beside its weights."""


def encode(pipe: Any, text: str, encoding: TextEncoding, device: torch.device) -> torch.Tensor:
    """Return the embeddings of a prompt: (1, 512, width), in the text encoder's dtype; the rows of no token are zero.

    Those of ComfyUI are float32, and of a longer text they are as many as its tokens. `pipe.text_encoder` must be the
    one that `encoding` asks for.
    """
    # Every reader of prompts refuses such a text by its file; no way leads a tokenizer to it, Python's API included.
    if (reason := why_too_long(text)) is not None:
        raise UnreproducibleError(f"a prompt {reason}")
    if encoding == "comfyui":
        return _as_comfyui(pipe, text, device)
    embeddings: torch.Tensor = pipe.encode_prompt(
        text, do_classifier_free_guidance=False, max_sequence_length=TOKENS, device=device
    )[0]
    return embeddings


def _as_comfyui(pipe: Any, text: str, device: torch.device) -> torch.Tensor:
    """Encode as ComfyUI a125cd84 (0.3.64, 2025-10-12): text not cleaned, tokens never cut, rows weighted.

    The weights' rule is exact to 5e-7 in its recordings. How it weights a text of more than 512 tokens, whose rows have
    no counterpart in the empty prompt's 512, is not known: here these counterparts are zero, like all behind the first.
    """
    import torch

    ids: list[int] = []
    weights: list[float] = []
    for segment in segments(text):
        tokens = pipe.tokenizer(segment.text, add_special_tokens=False, verbose=False).input_ids
        ids += tokens
        weights += [segment.weight] * len(tokens)
    ids.append(pipe.tokenizer.eos_token_id)
    weights.append(1.0)
    if len(ids) > MAX_TOKENS:
        raise UnreproducibleError(
            f"the prompt has {len(ids)} tokens, of which ComfyUI cuts none; more than {MAX_TOKENS} are not supported "
            "yet: shorten the prompt"
        )
    if len(ids) > TOKENS and getattr(pipe.transformer.config, "image_dim", None) is not None:
        raise UnreproducibleError(
            f"the prompt has {len(ids)} tokens, of which ComfyUI cuts none; for a Wan 2.1 I2V model more than {TOKENS} "
            "are not supported yet: shorten the prompt"
        )
    rows = _rows(pipe, ids, device)
    if any(weight != 1 for weight in weights):
        empty = torch.zeros_like(rows)
        empty[:, :TOKENS] = _rows(pipe, [pipe.tokenizer.eos_token_id], device)
        for place, weight in enumerate(weights):
            if weight != 1:
                rows[:, place] = (rows[:, place] - empty[:, place]) * weight + empty[:, place]
    return rows


def _rows(pipe: Any, ids: list[int], device: torch.device) -> torch.Tensor:
    """Return the encoder's rows for these tokens, float32 (1, 512 or more, width)."""
    import torch

    length = max(TOKENS, len(ids))
    tokens = torch.full((1, length), pipe.tokenizer.pad_token_id, device=device)
    tokens[0, : len(ids)] = torch.tensor(ids, device=device)
    mask = (torch.arange(length, device=device) < len(ids)).long()[None]
    rows: torch.Tensor = pipe.text_encoder(tokens, mask).last_hidden_state
    return rows.to(device, torch.float32) * mask[..., None]
