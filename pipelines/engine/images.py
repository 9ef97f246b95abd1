"""Control images to pixels and to CLIP embeddings, as diffusers or ComfyUI make them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pipelines.media.control_image import resized, upright
from pipelines.recipe import ClipImage, ControlImage, Resize

if TYPE_CHECKING:
    import torch

_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def pixels_of(picture: Image.Image) -> torch.Tensor:
    """Return an RGB image as a tensor (1, 3, height, width), float32, 0 to 1."""
    import torch

    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float().div_(255)


def first_frame(image: ControlImage, resize: Resize, width: int, height: int) -> tuple[Image.Image, torch.Tensor]:
    """Return the image at the video's size: in 8 bit, and as float32 pixels (1, 3, height, width) of 0 to 1.

    Pillow's filters give 8 bit, of which the pixels are made; ComfyUI's gives pixels, which the VAE sees unrounded.
    """
    if resize.filter != "bilinear_no_antialias":
        picture = resized(image, resize, width, height)
        return picture, pixels_of(picture)
    pixels = _scaled(pixels_of(upright(image)), resize, width, height)
    return Image.fromarray((pixels[0] * 255).round().byte().permute(1, 2, 0).numpy()), pixels


def _scaled(pixels: torch.Tensor, resize: Resize, width: int, height: int) -> torch.Tensor:
    """Scale as WanImageToVideo does: bilinear without antialiasing, after a centre crop to the target's aspect.

    ComfyUI a125cd84 (0.3.64, 2025-10-12), bit-equal. It crops whole pixels, the same number from both sides.
    """
    from torch.nn.functional import interpolate

    if resize.crop == "center":
        old_height, old_width = pixels.shape[2:]
        old, new = old_width / old_height, width / height
        x = round((old_width - old_width * (new / old)) / 2) if old > new else 0
        y = round((old_height - old_height * (old / new)) / 2) if old < new else 0
        pixels = pixels[:, :, y : old_height - y, x : old_width - x]
    return interpolate(pixels, size=(height, width), mode="bilinear", antialias=False)


def clip_embeddings(pipe: Any, image: ControlImage, clip_image: ClipImage, device: torch.device) -> torch.Tensor:
    """Return what ComfyUI's CLIPVisionEncode gives the transformer: (1, tokens, width), float32, of the original image.

    ComfyUI a125cd84 (0.3.64, 2025-10-12), bit-equal. For `original_center` an image of 96x64 was measured; how the
    longer side is rounded where it does not come out whole is not known.
    """
    import torch
    from torch.nn.functional import interpolate

    side = pipe.image_encoder.config.image_size
    pixels = pixels_of(upright(image))
    height, width = side, side
    if clip_image == "original_center":
        scale = side / min(image.width, image.height)
        height, width = round(scale * pixels.shape[2]), round(scale * pixels.shape[3])
    pixels = interpolate(pixels, size=(height, width), mode="bicubic", antialias=True)
    top, left = (height - side) // 2, (width - side) // 2
    pixels = (pixels[:, :, top : top + side, left : left + side] * 255).clip(0, 255).round() / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (_CLIP_MEAN, _CLIP_STD))
    seen = pipe.image_encoder(pixel_values=((pixels - mean) / std).to(device), output_hidden_states=True)
    embeddings: torch.Tensor = seen.hidden_states[-2].to(device)
    return embeddings
