"""Stage 1: the VAE, AutoencoderKLWan of the real one's shape (8x8 spatial, 4x temporal, 16 channels), much narrower.

python -m cases.training.vae --work WORK --model cases/models/shapes-t2v
python -m cases.training.vae --work WORK --model cases/models/shapes-t2v --decoder

The second goes on with the decoder alone: latents stay what they are, and whatever was trained on them stays good.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cases.training import haar, loop, whole
from cases.training.clips import Clip, render, scenes

LENGTHS = ((96, 64, 9), (96, 64, 17), (128, 80, 9), (160, 96, 9))
CROPS = (((5, 32, 48), 4, 0.4), ((9, 32, 32), 4, 0.4), ((9, 64, 64), 1, 0.2))
CROPS_DECODER = (((5, 32, 48), 4, 0.4), ((9, 32, 48), 2, 0.2), ((17, 32, 32), 2, 0.2), ((9, 64, 64), 1, 0.2))
"""(frames, height, width), batch size, frequency. Long and large clips are rare, but needed for their quality."""
NOISE = 1e-4
"""The weight of the KL term: high enough that slightly wrong latents still decode well."""


def build() -> Any:
    """Build an untrained VAE. diffusers is imported here, so that the clips need no torchvision.

    One 2x2 step is a patch (as in Wan 2.2's VAE), which spares the convolutions at full size.
    """
    from diffusers import AutoencoderKLWan

    torch.manual_seed(1)
    vae = AutoencoderKLWan(
        base_dim=16,
        z_dim=16,
        dim_mult=[1, 2, 3],
        num_res_blocks=1,
        attn_scales=[],
        temperal_downsample=[True, True],
        patch_size=2,
        in_channels=12,
        out_channels=12,
        scale_factor_spatial=8,
        scale_factor_temporal=4,
    )
    haar.begin(vae)
    return vae


def as_video(clip: Clip) -> torch.Tensor:
    """Turn frames (T, H, W, 3) uint8 into (3, T, H, W) in -1 to 1."""
    return torch.from_numpy(clip).permute(3, 0, 1, 2).float() / 127.5 - 1


def psnr(vae: Any, clips: Sequence[Clip]) -> list[float]:
    """Measure the PSNR in dB of each clip after encode (mode) and decode by diffusers' own code, on uint8."""
    values = []
    for clip in clips:
        latents = vae.encode(as_video(clip)[None]).latent_dist.mode()
        error = np.asarray(as_pixels(vae.decode(latents, return_dict=False)[0][0]), float) - clip
        values.append(10 * np.log10(255**2 / (error**2).mean()))
    return values


def as_pixels(video: torch.Tensor) -> Clip:
    """Turn (3, T, H, W) in -1 to 1 into frames (T, H, W, 3) uint8."""
    return ((video.clamp(-1, 1) + 1) * 127.5 + 0.5).to(torch.uint8).permute(1, 2, 3, 0).numpy()


def _crops(
    pool: Sequence[Clip], random: torch.Generator, kinds: Sequence[tuple[tuple[int, int, int], int, float]]
) -> torch.Tensor:
    """Make a batch of crops, each the one with more motion of two candidates."""

    def pick(limit: int) -> int:
        return int(torch.randint(limit, (), generator=random))

    often = torch.tensor([item[2] for item in kinds])
    (frames, height, width), size, _ = kinds[int(torch.multinomial(often, 1, generator=random))]
    batch = []
    for _ in range(size):
        clip = pool[pick(len(pool))]
        while len(clip) < frames:
            clip = pool[pick(len(pool))]
        candidates = []
        for _ in range(2):
            t, y, x = (
                pick(clip.shape[0] - frames + 1),
                pick(clip.shape[1] - height + 1),
                pick(clip.shape[2] - width + 1),
            )
            crop = clip[t : t + frames, y : y + height, x : x + width]
            candidates.append((float(crop[::2, ::4, ::4].std(axis=(1, 2)).mean()), crop))
        crop = max(candidates, key=lambda item: item[0])[1]
        batch.append(as_video(np.ascontiguousarray(crop)))
    return torch.stack(batch)


def statistics(vae: Any, clips: Sequence[Clip]) -> tuple[list[float], list[float]]:
    """Compute mean and standard deviation of each latent channel: latents_mean, latents_std of the config."""
    latents = [vae.encode(as_video(clip)[None]).latent_dist.mode()[0].flatten(1) for clip in clips]
    values = torch.cat(latents, 1)
    return values.mean(1).tolist(), values.std(1).tolist()


def main() -> None:
    """Train, measure on held-out clips, write the folder."""
    parser = loop.arguments(__doc__ or "")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--steps", type=int, help="default: 2200; of the decoder 1500")
    parser.add_argument("--decoder", action="store_true", help="train a finished VAE's decoder on")
    options = parser.parse_args()
    if options.decoder:
        from diffusers import AutoencoderKLWan

        vae = AutoencoderKLWan.from_pretrained(options.model / "vae", dtype=torch.float32)
        vae.register_to_config(_name_or_path="")  # diffusers would save where it was loaded from
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
    else:
        vae = build()
    print(f"whole clips against chunks: differs by {whole.check(vae):.1e}")
    whole.hasten(vae)
    pool = [render(item) for item in islice(scenes(11, held_out=False, sizes=LENGTHS, framed=0.35), 500)]
    held_out = [render(item) for item in islice(scenes(12, held_out=True, sizes=LENGTHS, framed=0.25), 6)]

    def loss_of(_: int, random: torch.Generator) -> dict[str, torch.Tensor]:
        video = _crops(pool, random, CROPS_DECODER if options.decoder else CROPS)
        mean, spread = whole.encode(vae, video).chunk(2, 1)
        spread = spread.clamp(-30, 20)
        noise = torch.randn(mean.shape, generator=random)
        error = whole.decode(vae, mean + (spread / 2).exp() * noise) - video
        kl = (mean.square() + spread.exp() - 1 - spread).mean() / 2
        square = error.square().mean()
        return {"loss": square + 0.1 * error.abs().mean() + NOISE * kl, "square": square, "kl": kl}

    def watch(step: int) -> None:
        values = psnr(vae, held_out)
        print(f"vae: step {step}: held-out PSNR {np.mean(values):.2f} dB, worst {min(values):.2f}", flush=True)

    name, rate = ("decoder", 1.5e-3) if options.decoder else ("vae", 3e-3)
    steps = options.steps or (1500 if options.decoder else 2200)
    plan = loop.Plan(work=options.work, name=name, steps=steps, rate=rate, seed=1)
    loop.train(plan, vae.parameters(), loss_of, watch=watch)
    if not options.decoder:
        with torch.no_grad():
            mean, spread = statistics(
                vae, [render(item) for item in islice(scenes(13, held_out=False, sizes=LENGTHS), 40)]
            )
        vae.register_to_config(
            latents_mean=[round(item, 4) for item in mean], latents_std=[round(item, 4) for item in spread]
        )
        print(f"latents_std {min(spread):.3f} to {max(spread):.3f}")
    vae.half().save_pretrained(options.model / "vae")


if __name__ == "__main__":
    from pipelines.engine.torch_setup import declare_missing_torchvision_operators

    declare_missing_torchvision_operators()
    main()
