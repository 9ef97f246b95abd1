"""Stage 0: tokenizer, text encoder and image encoder, small, random and never trained; scheduler and model_index.

    python -m cases.training.encoders --model cases/models/shapes-t2v --image-model cases/models/shapes-i2v

Random features are enough: every word of a caption is a token of its own, and what its features mean is learnt by the
transformer. A word the captions lack falls into letters.
"""

from __future__ import annotations

import argparse
import json
import string
from pathlib import Path
from typing import Any

import torch

from cases.training.clips import COLORS, DIRECTIONS, PLACES, SHAPES

TEXT_DIM = 64
IMAGE_DIM = 32
NEGATIVE = ("blurry", "low quality", "distorted", "flickering")
"""Words that are likely in a negative prompt; in training they replace the empty prompt."""


def tokenizer() -> Any:
    """Build a T5 tokenizer of the captions' words, letters, digits and punctuation."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
    from tokenizers.models import Unigram
    from transformers import T5Tokenizer

    words = sorted(
        {
            word
            for text in (*COLORS, *SHAPES, *DIRECTIONS, *PLACES, *NEGATIVE, "a moving across")
            for word in text.split()
        }
    )
    signs = string.ascii_letters + string.digits + ".,:;!?'\"-_()[]"
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += (
        [(f"\u2581{word}", -4.0) for word in words]
        + [("\u2581", -6.0)]
        + [(sign, -8.0) for sign in signs if f"\u2581{sign}" != "\u2581a"]
    )
    core = Tokenizer(Unigram(pieces, unk_id=2, byte_fallback=False))
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    core.decoder = decoders.Metaspace()
    core.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return T5Tokenizer(tokenizer_object=core, eos_token="</s>", unk_token="<unk>", pad_token="<pad>", extra_ids=0)


def text_encoder(words: int) -> Any:
    """Build a UMT5 encoder with fixed random weights for a vocabulary of `words`."""
    from transformers import UMT5Config, UMT5EncoderModel

    torch.manual_seed(2)
    config = UMT5Config(
        vocab_size=words,
        d_model=TEXT_DIM,
        d_kv=16,
        d_ff=128,
        num_layers=2,
        num_heads=4,
        relative_attention_num_buckets=32,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=True,
        is_encoder_decoder=False,
        use_cache=False,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )
    return UMT5EncoderModel(config).eval()


def image_encoder() -> tuple[Any, Any]:
    """Build a CLIP vision tower with fixed random weights, and its image processor."""
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(3)
    config = CLIPVisionConfig(
        hidden_size=IMAGE_DIM,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=32,
        patch_size=8,
    )
    return CLIPVisionModel(config).eval(), CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )


@torch.no_grad()
def encode_text(model: Path, prompts: list[str]) -> dict[str, torch.Tensor]:
    """Encode each prompt as (tokens, TEXT_DIM), as WanPipeline does before it pads with zeros."""
    from transformers import AutoTokenizer, UMT5EncoderModel

    words = AutoTokenizer.from_pretrained(model / "tokenizer")
    encoder = UMT5EncoderModel.from_pretrained(model / "text_encoder", dtype=torch.float32).eval()
    features = {}
    for prompt in prompts:
        tokens = words(prompt, padding="max_length", max_length=512, truncation=True, return_tensors="pt")
        count = int(tokens.attention_mask.sum())
        hidden = encoder(tokens.input_ids, tokens.attention_mask).last_hidden_state
        features[prompt] = hidden[0, :count].clone()
    return features


def write(model: Path, kind: str) -> None:
    """Write a checkpoint folder without VAE and transformer. `kind`: the pipeline's class."""
    from diffusers import UniPCMultistepScheduler

    words = tokenizer()
    words.save_pretrained(model / "tokenizer")
    text_encoder(len(words)).half().save_pretrained(model / "text_encoder")
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    scheduler.save_pretrained(model / "scheduler")
    parts = {
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "tokenizer": ["transformers", "T5TokenizerFast"],
        "transformer": ["diffusers", "WanTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLWan"],
    }
    if kind == "WanImageToVideoPipeline":
        tower, processor = image_encoder()
        tower.half().save_pretrained(model / "image_encoder")
        processor.save_pretrained(model / "image_processor")
        parts |= {
            "image_encoder": ["transformers", "CLIPVisionModel"],
            "image_processor": ["transformers", "CLIPImageProcessor"],
        }
    index = {"_class_name": kind, "_diffusers_version": "0.42.1", **parts}
    (model / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Write both folders and print how different the captions' features are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--image-model", type=Path, required=True)
    options = parser.parse_args()
    write(options.model, "WanPipeline")
    write(options.image_model, "WanImageToVideoPipeline")
    prompts = [f"a {color} circle moving {way} across a meadow" for color in COLORS for way in DIRECTIONS]
    features = torch.stack([item[:10].flatten() for item in encode_text(options.model, prompts).values()])
    distances = torch.cdist(features, features) / features.norm(dim=1).mean()
    nearest = float(distances[~torch.eye(len(prompts), dtype=torch.bool)].min())
    print(f"{len(prompts)} captions: the nearest two differ by {nearest:.2f} of their length")


if __name__ == "__main__":
    from pipelines.engine.torch_setup import declare_missing_torchvision_operators

    declare_missing_torchvision_operators()
    main()
