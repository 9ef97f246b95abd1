"""Stage 2: clips encoded once, so that the transformers' training needs no VAE.

python -m cases.training.latents --work WORK --model cases/models/shapes-t2v --image-model cases/models/shapes-i2v
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cases.training import loop, whole
from cases.training.clips import Clip, Scene, render, scenes
from cases.training.vae import as_video

GROUPS = {
    "small": (21, (96, 64, 9), 314, 314),
    "long": (22, (96, 64, 17), 160, 80),
    "large": (24, (160, 96, 9), 160, 80),
}
"""For each group: seed, (width, height, frames), number of clips, number of those also used for I2V."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Clips of one size, normalised as the pipelines do."""

    captions: list[str]
    latents: torch.Tensor
    """The clips' latents, (N, 16, T, H / 8, W / 8)."""
    starts: torch.Tensor
    """The first frame followed by zeros, encoded by the VAE: the condition of I2V. Shaped like the first `latents`."""
    pictures: torch.Tensor
    """The CLIP features of the first frame, (N, 17, 32)."""


def first_frames(image_model: Path) -> Any:
    """Compute the CLIP features of each clip's first frame like WanImageToVideoPipeline.encode_image."""
    from PIL import Image
    from transformers import CLIPImageProcessor, CLIPVisionModel

    processor = CLIPImageProcessor.from_pretrained(image_model / "image_processor")
    tower = CLIPVisionModel.from_pretrained(image_model / "image_encoder", dtype=torch.float32).eval()

    def features(clip: Clip) -> torch.Tensor:
        inputs = processor(images=Image.fromarray(clip[0]), return_tensors="pt")
        hidden: torch.Tensor = tower(**inputs, output_hidden_states=True).hidden_states[-2][0]
        return hidden

    return features


@torch.no_grad()
def encode(vae: Any, chosen: Iterable[Scene], picture_of: Any | None = None, begun: int = 0) -> Encoded:
    """Render scenes of one size and encode them, the first `begun` of them for I2V too. `vae` in float32."""
    mean = torch.tensor(vae.config.latents_mean).view(1, -1, 1, 1, 1)
    std = torch.tensor(vae.config.latents_std).view(1, -1, 1, 1, 1)

    def latent(video: torch.Tensor) -> torch.Tensor:
        return ((whole.encode(vae, video[None])[:, :16] - mean) / std)[0].half()

    captions: list[str] = []
    latents: list[torch.Tensor] = []
    starts: list[torch.Tensor] = []
    pictures: list[torch.Tensor] = []
    for scene in chosen:
        clip = render(scene)
        video = as_video(clip)
        captions.append(scene.caption)
        latents.append(latent(video))
        if picture_of is not None and len(starts) < begun:
            starts.append(latent(torch.cat([video[:, :1], torch.zeros_like(video[:, 1:])], 1)))
            pictures.append(picture_of(clip).half())
    empty = torch.empty(0)
    return Encoded(
        captions=captions,
        latents=torch.stack(latents),
        starts=torch.stack(starts) if starts else empty,
        pictures=torch.stack(pictures) if pictures else empty,
    )


def load_vae(model: Path) -> Any:
    """Load the trained VAE in float32, with faster norms."""
    from diffusers import AutoencoderKLWan

    vae = AutoencoderKLWan.from_pretrained(model / "vae", dtype=torch.float32).eval()
    whole.hasten(vae)
    return vae


def save(encoded: Encoded, path: Path) -> None:
    """Write a file for `load`."""
    torch.save({name: getattr(encoded, name) for name in ("captions", "latents", "starts", "pictures")}, path)


def load(path: Path) -> Encoded:
    """Read what `save` wrote."""
    return Encoded(**torch.load(path, weights_only=True))


def main() -> None:
    """Encode every group."""
    parser = loop.arguments(__doc__ or "")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--image-model", type=Path, required=True)
    options = parser.parse_args()
    vae, picture_of = load_vae(options.model), first_frames(options.image_model)
    for name, (seed, size, count, begun) in GROUPS.items():
        path = options.work / f"latents-{name}.pt"
        if path.exists():
            continue
        encoded = encode(vae, islice(scenes(seed, held_out=False, sizes=(size,)), count), picture_of, begun)
        save(encoded, path)
        spread = np.asarray(encoded.latents.float().std(dim=(0, 2, 3, 4)))
        print(f"{name}: {tuple(encoded.latents.shape)}, spread {spread.min():.2f} to {spread.max():.2f}", flush=True)


if __name__ == "__main__":
    from pipelines.engine.torch_setup import declare_missing_torchvision_operators

    declare_missing_torchvision_operators()
    main()
