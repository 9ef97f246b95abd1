"""The initial latents of a Wan 2.2 video from a control image: noise, and the image's latents.

ai-toolkit computes both itself (add_first_frame_conditioning and add_first_frame_conditioning_v22 in
toolkit/models/wan21/wan_utils.py, wan22_14b_i2v_model.py and wan22_5b_model.py at 27a03a91), and the reference server
calls the same functions (wan22_i2v.py and wan22_5b.py at af4aec1).
Neither does what WanImageToVideoPipeline of diffusers 0.42.1 does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipelines.recipe import Conditioning

if TYPE_CHECKING:
    import torch


def latents_and_condition(
    pipe: Any,
    pixels: torch.Tensor,
    conditioning: Conditioning | None,
    seed: int,
    original: Callable[..., Any],
    image: torch.Tensor,
    *arguments: Any,
) -> tuple[torch.Tensor, ...]:
    """Replace WanImageToVideoPipeline.prepare_latents, whose arguments follow after `original`.

    `pixels` is the control image at the video's size: (1, 3, height, width), 0 to 1.
    Returns noise (1, 16, latent frames, height / 8, width / 8) and mask and image latents (1, 20, …),
    both float32 on the device the pipeline runs on. For 5B: noise (1, 48, latent frames, height / 16, width / 16), the
    image's latents (1, 48, 1, …) and a mask (1, 1, latent frames, …) that is 0 in the first frame; the mask's dtype
    decides whether the timestep, multiplied by it, is rounded.
    """
    import torch
    from diffusers.utils.torch_utils import randn_tensor

    if conditioning is None or conditioning == Conditioning(latents="mode", rounded=False):
        prepared: tuple[torch.Tensor, ...] = original(pixels.to(image) * 2.0 - 1.0, *arguments)
        return prepared
    _, channels, height, width, num_frames, _, device, generator = arguments[:8]
    dtype: torch.dtype = pipe.vae.dtype if conditioning.rounded else torch.float32
    frames = (num_frames - 1) // pipe.vae_scale_factor_temporal + 1
    scale = pipe.vae_scale_factor_spatial
    shape = (1, channels, frames, height // scale, width // scale)
    noise = randn_tensor(shape, generator=generator, device=device, dtype=torch.float32).to(dtype)
    first = (pixels.to(device, dtype) * 2.0 - 1.0).unsqueeze(2)
    whole = pipe.config.expand_timesteps  # the image replaces the first latent frame, so it is encoded alone
    video = first if whole else torch.cat([first, first.new_zeros(1, 3, num_frames - 1, height, width)], dim=2)
    posterior = pipe.vae.encode(video.to(pipe.vae.dtype)).latent_dist
    latents = (
        posterior.mode()
        if conditioning.latents == "mode"
        else posterior.sample(_noise_of(conditioning, generator, seed, device))
    )
    statistics = (1, channels, 1, 1, 1)
    mean = torch.tensor(pipe.vae.config.latents_mean).view(statistics).to(device, dtype)
    std = 1.0 / torch.tensor(pipe.vae.config.latents_std).view(statistics).to(device, dtype)
    latents = (latents.to(device, dtype) - mean) * std
    if whole:
        mask = torch.ones(1, 1, *shape[2:], device=device, dtype=dtype)
        mask[:, :, 0] = 0
        # float32 noise: UniPC computes in the dtype of what it is given, and both systems give it float32.
        return noise.float(), latents, mask
    # Four mask channels, one per frame of the four in a latent frame; the first latent frame stands for one frame.
    mask = torch.zeros(1, pipe.vae_scale_factor_temporal, *latents.shape[2:], device=device, dtype=dtype)
    mask[:, :, 0] = 1
    return noise.float(), torch.cat([mask, latents], dim=1).float()


def _noise_of(
    conditioning: Conditioning, generator: torch.Generator, seed: int, device: torch.device
) -> torch.Generator | None:
    """Return the generator for sampling the posterior; None means torch's global one, which is not seeded."""
    import torch

    if conditioning.noise == "unseeded":
        return None
    if conditioning.noise == "cuda" and device.type == "cuda":
        return torch.Generator(device).manual_seed(seed)
    return generator
