"""Wan's cross-attention to a prompt padded to 512 tokens, at the cost of its real tokens alone; for training.

WanPipeline pads every prompt with zeros, which are attended to like words. They are all alike, so one of them, with the
logarithm of their number added to its score, stands for all: the same numbers but for rounding (diffusers 0.42.1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

TOKENS = 512


class Folded:
    """An attention processor, one for all layers of a transformer. Set `scores` and `pictures` before each pass."""

    scores: torch.Tensor | None = None
    """A bias added to the scores of the text tokens, (B, 1, 1, tokens)."""
    pictures: int = 0
    """The number of image tokens before the text tokens."""

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Attend like WanAttnProcessor, with folded padding. Masks are not supported."""
        assert attention_mask is None
        pictures = text = None
        if encoder_hidden_states is not None:
            pictures, text = encoder_hidden_states[:, : self.pictures], encoder_hidden_states[:, self.pictures :]
        source = hidden_states if text is None else text

        def split(x: torch.Tensor) -> torch.Tensor:
            return x.view(*x.shape[:2], attn.heads, -1).transpose(1, 2)

        query, key = split(attn.norm_q(attn.to_q(hidden_states))), split(attn.norm_k(attn.to_k(source)))
        value = split(attn.to_v(source))
        if rotary_emb is not None:
            query, key = _rotate(query, rotary_emb), _rotate(key, rotary_emb)
        out = scaled_dot_product_attention(query, key, value, attn_mask=None if text is None else self.scores)
        if attn.add_k_proj is not None and pictures is not None:
            image_key, image_value = (
                split(attn.norm_added_k(attn.add_k_proj(pictures))),
                split(attn.add_v_proj(pictures)),
            )
            out = out + scaled_dot_product_attention(query, image_key, image_value)
        projected: torch.Tensor = attn.to_out[0](out.transpose(1, 2).flatten(2))
        return projected


def _rotate(x: torch.Tensor, rotary: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    cos, sin = (item.transpose(1, 2) for item in rotary)  # (1, 1, tokens, head), each value twice
    pairs = x.view(*x.shape[:-1], -1, 2)
    turned = torch.stack((-pairs[..., 1], pairs[..., 0]), -1).flatten(-2)
    return x * cos.to(x.dtype) + turned * sin.to(x.dtype)


def fold(features: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Batch the token features (tokens, dim) of prompts: (B, longest + 1, dim) and scores (B, 1, 1, longest + 1)."""
    longest = max(len(item) for item in features)
    text = torch.zeros(len(features), longest + 1, features[0].shape[1])
    scores = torch.full((len(features), 1, 1, longest + 1), -1e4)
    for row, it in enumerate(features):
        text[row, : len(it)] = it
        scores[row, ..., : len(it)] = 0
        scores[row, ..., -1] = math.log(TOKENS - len(it))
    return text, scores


def use(transformer: Any) -> Folded:
    """Give every attention of a transformer the folded processor."""
    processor = Folded()
    for block in transformer.blocks:
        block.attn1.processor = block.attn2.processor = processor
    return processor


@torch.no_grad()
def check(transformer: Any, features: torch.Tensor, pictures: torch.Tensor | None = None) -> float:
    """Measure the largest difference from diffusers' pass over 512 tokens, on noise. Keeps the folded processor."""
    from diffusers.models.transformers.transformer_wan import WanAttnProcessor

    latents = torch.randn((1, transformer.config.in_channels, 3, 4, 6), generator=torch.Generator().manual_seed(0))
    padded = torch.zeros(1, TOKENS, features.shape[1])
    padded[0, : len(features)] = features
    timestep = torch.tensor([500.0])
    for block in transformer.blocks:
        block.attn1.processor = block.attn2.processor = WanAttnProcessor()
    plain = transformer(latents, timestep, padded, pictures, return_dict=False)[0]
    processor = use(transformer)
    text, processor.scores = fold([features])
    processor.pictures = 0 if pictures is None else pictures.shape[1]
    folded = transformer(latents, timestep, text, pictures, return_dict=False)[0]
    return float((plain - folded).abs().max())
