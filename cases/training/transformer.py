"""Stages 3 and 4: the transformers, trained on encoded clips by flow matching with shift 3.

    python -m cases.training.transformer t2v --work WORK --model cases/models/shapes-t2v
    python -m cases.training.transformer i2v --work WORK --model cases/models/shapes-i2v --start cases/models/shapes-t2v

I2V starts from the T2V transformer: 20 more input channels (mask, first frame) and attention to the image's features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cases.training import folded, latents, loop
from cases.training.clips import shortened
from cases.training.encoders import IMAGE_DIM, NEGATIVE, TEXT_DIM, encode_text
from cases.training.latents import Encoded

SHIFT = 3.0
DROPOUT = 0.1
"""The share of prompts that are replaced by a negative one, so that guidance works."""
SHORTENED = 0.3
"""The share of prompts that omit one word, so that words are learnt independently, not as memorised combinations."""
PLAN = {"small": (20, 0.55), "long": (12, 0.1), "large": (8, 0.35)}
"""For each group of clips: batch size, frequency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The inputs of one step."""

    latents: torch.Tensor
    prompts: list[str]
    start: torch.Tensor | None
    """The condition of I2V: mask and first frame, (B, 20, T, H / 8, W / 8)."""
    pictures: torch.Tensor | None


def build(*, i2v: bool) -> Any:
    """Build an untrained transformer."""
    from diffusers import WanTransformer3DModel

    torch.manual_seed(4)
    transformer = WanTransformer3DModel(
        num_attention_heads=4,
        attention_head_dim=32,
        in_channels=36 if i2v else 16,
        out_channels=16,
        text_dim=TEXT_DIM,
        freq_dim=128,
        ffn_dim=384,
        num_layers=6,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=1024,
        image_dim=IMAGE_DIM if i2v else None,
        added_kv_proj_dim=128 if i2v else None,
    )
    with torch.no_grad():
        transformer.proj_out.weight.zero_()
        for block in transformer.blocks:
            # Otherwise ten words among 500 padding tokens are ignored for a long time.
            block.attn2.norm_q.weight.fill_(2)
            block.attn2.norm_k.weight.fill_(2)
    return transformer


@torch.no_grad()
def grow(t2v: Any, i2v: Any) -> None:
    """Copy a T2V transformer into an I2V one, which then generates the same and ignores the image."""
    weights = t2v.state_dict()
    patches = weights.pop("patch_embedding.weight")
    missing, unexpected = i2v.load_state_dict(weights, strict=False)
    assert not unexpected
    i2v.patch_embedding.weight.zero_()
    i2v.patch_embedding.weight[:, : patches.shape[1]] = patches
    for name in missing:
        if name.endswith("add_v_proj.weight"):
            i2v.get_parameter(name).mul_(0.1)


def starts(encoded: Encoded, rows: torch.Tensor) -> torch.Tensor:
    """Join the mask (1 for the given frame) and its latents like WanImageToVideoPipeline.prepare_latents."""
    given = encoded.starts[rows].float()
    mask = torch.zeros_like(given[:, :4])
    mask[:, :, 0] = 1
    return torch.cat([mask, given], 1)


class Clips:
    """Batches of encoded clips of one size."""

    def __init__(self, groups: Sequence[tuple[Encoded, int, float]], *, i2v: bool) -> None:
        """`groups`: clips, batch size, frequency."""
        self._groups = [(encoded, batch) for encoded, batch, _ in groups]
        self._often = torch.tensor([often for _, _, often in groups])
        self._i2v = i2v

    def batch(self, random: torch.Generator) -> Batch:
        """Return the next batch, which depends on `random` alone."""
        encoded, size = self._groups[int(torch.multinomial(self._often, 1, generator=random))]
        rows = torch.randint(len(encoded.starts if self._i2v else encoded.latents), (size,), generator=random)
        prompts = [encoded.captions[row] for row in rows]
        for index in range(size):
            if torch.rand((), generator=random) < DROPOUT:
                picked = int(torch.randint(2 * len(NEGATIVE), (), generator=random))
                prompts[index] = NEGATIVE[picked] if picked < len(NEGATIVE) else ""
            elif torch.rand((), generator=random) < SHORTENED:
                prompts[index] = shortened(prompts[index], int(torch.randint(4, (), generator=random)))
        return Batch(
            latents=encoded.latents[rows].float(),
            prompts=prompts,
            start=starts(encoded, rows) if self._i2v else None,
            pictures=encoded.pictures[rows].float() if self._i2v else None,
        )


def prompts_of(groups: Sequence[tuple[Encoded, int, float]]) -> list[str]:
    """List every prompt that a batch of these clips can contain."""
    captions = sorted({caption for encoded, _, _ in groups for caption in encoded.captions})
    return [*captions, *{shortened(item, part): None for item in captions for part in range(4)}, *NEGATIVE, ""]


def flow_loss(
    transformer: Any, processor: folded.Folded, words: dict[str, torch.Tensor], batch: Batch, random: torch.Generator
) -> torch.Tensor:
    """Compute the mean squared error of the velocity (noise - clip), at times distributed like sigmas with shift 3."""
    noise = torch.randn(batch.latents.shape, generator=random)
    time = torch.rand(len(noise), generator=random)
    sigma = SHIFT * time / (1 + (SHIFT - 1) * time)
    mixed = torch.lerp(batch.latents, noise, sigma.view(-1, 1, 1, 1, 1))
    if batch.start is not None and batch.pictures is not None:
        mixed = torch.cat([mixed, batch.start], 1)
        processor.pictures = batch.pictures.shape[1]
    text, processor.scores = folded.fold([words[prompt] for prompt in batch.prompts])
    velocity = transformer(mixed, sigma * 1000, text, batch.pictures, return_dict=False)[0]
    loss: torch.Tensor = (velocity - (noise - batch.latents)).square().mean()
    return loss


def main() -> None:
    """Train and write the transformer."""
    parser = loop.arguments(__doc__ or "")
    parser.add_argument("kind", choices=("t2v", "i2v"))
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="the T2V checkpoint that I2V starts from")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--groups", nargs="+", choices=tuple(PLAN), default=list(PLAN), help="sizes to train on")
    options = parser.parse_args()
    i2v = options.kind == "i2v"
    transformer = build(i2v=i2v)
    if options.start is not None:
        from diffusers import WanTransformer3DModel

        grow(WanTransformer3DModel.from_pretrained(options.start / "transformer", dtype=torch.float32), transformer)
    groups = [(latents.load(options.work / f"latents-{name}.pt"), *PLAN[name]) for name in options.groups]
    words = encode_text(options.model, prompts_of(groups))
    picture = groups[0][0].pictures[:1].float() if i2v else None
    print(f"folded padding: differs by {folded.check(transformer, words[groups[0][0].captions[0]], picture):.1e}")
    processor = folded.use(transformer)
    clips = Clips(groups, i2v=i2v)

    def loss_of(_: int, random: torch.Generator) -> dict[str, torch.Tensor]:
        return {"loss": flow_loss(transformer, processor, words, clips.batch(random), random)}

    def watch(_: int) -> None:
        write(transformer, options.model)

    steps = options.steps or (450 if i2v else 7000)
    plan = loop.Plan(work=options.work, name=options.kind, steps=steps, rate=1.5e-3, seed=5, average=0.998, warmup=100)
    loop.train(plan, transformer.parameters(), loss_of, watch=watch)


def write(transformer: Any, model: Path) -> None:
    """Save in half precision."""
    from copy import deepcopy

    deepcopy(transformer).half().save_pretrained(model / "transformer")


if __name__ == "__main__":
    from pipelines.engine.torch_setup import declare_missing_torchvision_operators

    declare_missing_torchvision_operators()
    main()
